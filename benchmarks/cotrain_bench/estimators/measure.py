"""One estimator on one problem: how near the truth, and at what cost.

The problems are pairs of distributions whose density ratio is known:

shift      N(0, I) and N(mu, I), |mu| = 1               ln r = x.mu - |mu|^2 / 2: linear
scale      N(0, I) and N(0, .8^2 I)                     ln r quadratic
mixture    N(0, I) and (N(c, .7^2 I) + N(-c, .7^2 I)) / 2, |c| = 1      neither
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from cotrain_losses.importance import KLIEP, KMM, ULSIF, GaussianRatio, LogisticRatio, RuLSIF, effective_sample_size

from ..results import Row
from .peers import PEERS

OURS: dict[str, Callable[[], Any]] = {
    "uLSIF": ULSIF,
    "RuLSIF": RuLSIF,
    "KLIEP": KLIEP,
    "KMM": KMM,
    "logistic": LogisticRatio,
    "logistic, degree 2": lambda: LogisticRatio(degree=2),
    "Gaussian": GaussianRatio,
}
ESTIMATORS = (*OURS, *PEERS)
LIMITS = {
    "KMM": ("n", 2000),
    "skada KMM": ("n", 2000),
    "logistic, degree 2": ("dim", 16),
    "densratio KLIEP": ("n", 1000),
}
"""beyond these an estimator is not run: its cost is cubic in n, or quadratic in the inputs"""
PEER_LIMIT = 10_000
"""peers are given at most this many samples, and a minute"""


def measured(estimator: str, name: str, dim: int, n: int, seed: int, repeats: int, python: str) -> Row:
    """The row of one cell; `status` says why when there are no numbers."""
    cell = {"estimator": estimator, "problem": name, "dim": dim, "n": n, "seed": seed}
    kind, limit = LIMITS.get(estimator, ("n", PEER_LIMIT if estimator in PEERS else 10**9))
    if {"n": n, "dim": dim}[kind] > limit:
        return {**cell, "status": f"not run above {kind} = {limit}"}
    posed = problem(name, dim, n, seed)
    seconds = []
    for _ in range(repeats):
        answer = _ours(estimator, posed) if estimator in OURS else _peer(estimator, posed, python)
        if isinstance(answer, str):
            return {**cell, "status": answer}
        spent, weights = answer
        seconds.append(spent)
    return {**cell, "status": "ok", **quality(estimator, weights, posed.ratio), "cpu_s": float(np.median(seconds))}


def quality(estimator: str, weights: Tensor, truth: Tensor) -> Row:
    """Error, mean and effective sample size; a relative ratio is held to the relative truth."""
    if estimator == "RuLSIF":
        truth = truth / (0.1 * truth + 0.9)
    if not weights.isfinite().all() or weights.sum() <= 0:
        return {"finite": False}
    scaled, reference = weights / weights.mean(), truth / truth.mean()
    return {
        "finite": True,
        "mean": float(weights.mean()),
        "true_mean": float(truth.mean()),
        "correlation": float(torch.corrcoef(torch.stack([weights, truth]))[0, 1]) if weights.std() > 0 else 0.0,
        "normalised_mse": float((scaled - reference).square().mean()),
        "ess": float(effective_sample_size(weights)) / len(weights),
        "true_ess": float(effective_sample_size(truth)) / len(truth),
    }


def _ours(estimator: str, posed: Problem) -> tuple[float, Tensor]:
    begin = time.process_time()
    weights = OURS[estimator]().fit(posed.source, posed.target).at_source
    return time.process_time() - begin, weights


def _peer(estimator: str, posed: Problem, python: str) -> tuple[float, Tensor] | str:
    """The peer in a process of its own, with our uLSIF's grid, or why there is no answer."""
    median = float(torch.cdist(posed.target[:1000], posed.source[:1000]).median())
    bandwidths = [median * 2.0 ** (k / 2) for k in range(-4, 5)]
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.npz"
        source, target = posed.source.numpy(), posed.target.numpy()
        np.savez(given, bandwidths=bandwidths, penalties=ULSIF().penalties, source=source, target=target)
        return _asked([python, str(Path(__file__).with_name("peers.py")), estimator, str(given)], PEERS[estimator])


def _asked(command: list[str], library: str) -> tuple[float, Tensor] | str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return "over a minute"
    if ran.returncode:
        last = ran.stderr.strip().splitlines()[-1] if ran.stderr.strip() else f"exit {ran.returncode}"
        return f"{library} is not installed" if f"No module named '{library}'" in last else last[:200]
    answer = json.loads(ran.stdout)
    return answer["seconds"], torch.tensor(answer["weights"], dtype=torch.float64)


NAMES = ("shift", "scale", "mixture")


class Problem(NamedTuple):
    """Samples of both sides and the true ratio at the source."""

    source: Tensor
    target: Tensor
    ratio: Tensor


def problem(name: str, dim: int, n: int, seed: int) -> Problem:
    """n samples of each side in `dim` dimensions, float64."""
    generator = torch.Generator().manual_seed(seed)
    source, noise = (torch.randn(n, dim, generator=generator, dtype=torch.float64) for _ in range(2))
    direction = torch.zeros(dim, dtype=torch.float64)
    direction[: min(2, dim)] = 1 / math.sqrt(min(2, dim))
    if name == "shift":
        centres, spread = [direction], 1.0
    elif name == "scale":
        centres, spread = [torch.zeros_like(direction)], 0.8
    else:
        centres, spread = [direction, -direction], 0.7
    which = torch.randint(len(centres), (n,), generator=generator)
    target = spread * noise + torch.stack(centres)[which]
    return Problem(source, target, (_log(source, centres, spread) - _log(source, [direction * 0], 1.0)).exp())


def _log(x: Tensor, centres: list[Tensor], spread: float) -> Tensor:
    parts = [Normal(c, spread).log_prob(x).sum(1) for c in centres]  # type: ignore[no-untyped-call]
    return torch.stack(parts).logsumexp(0) - math.log(len(centres))
