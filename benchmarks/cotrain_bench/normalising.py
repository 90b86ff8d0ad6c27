"""By what to normalise when a source is mixed in: `cotrain lerobot-train --stats target | pooled | per-domain`.

    error = mean over held-out windows of |a_hat - a|^2 / var(a)        in the target's own units, so that all compare

The demonstrations are LeRobot-like frames of a state and an action; in both domains the action is one function of the
state.  A small network predicts chunks by regression; what it is normalised by is what the command gives LeRobot.
Runs without LeRobot:

    python -m cotrain_bench.normalising
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses.cli.lerobot.settings import STATISTICS
from cotrain_losses.cli.lerobot.statistics import ENDS, Moved, pooled

from .paired import t_interval

Array = NDArray[np.float32]
STATE, ACTION, LENGTH, HORIZON = 4, 3, 40, 4
MODES = ("MEAN_STD", "MIN_MAX")
"""LeRobot's: of its vision-language-action policies, and of its diffusion policy"""


class Source(NamedTuple):
    """How a source differs: where its states lie and how wide, then the units its numbers are written in."""

    centre: float = 0.0
    spread: float = 1.0
    factor: float = 1.0
    offset: float = 0.0


CASES = {
    "alike": Source(),
    "elsewhere": Source(centre=1.5),
    "wider": Source(spread=3.0),
    "other units": Source(factor=3.0, offset=2.0),
}


def run(seeds: int = 8, steps: int = 1000, ratio: float = 0.3, cases: str = ",".join(CASES)) -> None:
    """The target's held-out error for each `--stats`, and its difference from `target` over pairs of runs."""
    torch.set_num_threads(1)
    for case in cases.split(","):
        for mode in MODES:
            found = errors(CASES[case], mode, seeds, steps, ratio)
            for how in STATISTICS:
                row = f"{case:<12} {mode:<9} {how:<11} {_mean(found[how])}"
                print(f"{row}   minus target {_mean(found[how] - found['target'])}", flush=True)


def errors(source: Source, mode: str, seeds: int, steps: int, ratio: float) -> dict[str, Tensor]:
    """(seeds,) errors for each `--stats`, each seed's on the same demonstrations, batches and first weights.

    All runs are trained at once, as one stack of networks.
    """
    frames = [{"real": _frames(random, 3, Source()), "sim": _frames(random, 20, source)} for random in _randoms(seeds)]
    held_out = _windows(_frames(np.random.default_rng(10_000), 20, Source()))
    runs = [_normalised_both(each, how, mode, ratio) for how in STATISTICS for each in frames]
    data = {key: torch.stack([windows[key] for windows, _ in runs]) for key in ("state", "action")}
    networks = _trained(data, len(_windows(frames[0]["sim"])["state"]), seeds, steps, ratio)
    seen = torch.stack([_normalised(held_out, scale)["state"].flatten(1) for _, scale in runs])
    predicted = _predicted(networks, seen).view(len(runs), -1, HORIZON, ACTION)
    each = [_error(p, scale["action"], held_out["action"]) for p, (_, scale) in zip(predicted, runs, strict=True)]
    return dict(zip(STATISTICS, torch.tensor(each).view(len(STATISTICS), seeds), strict=True))


def _randoms(seeds: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(seeds)]


def _normalised_both(frames: Any, how: str, mode: str, ratio: float) -> tuple[dict[str, Tensor], Any]:
    """The source's windows and the target's, normalised, and what by."""
    own = {name: _statistics(each) for name, each in frames.items()}
    windows = {name: _windows(each) for name, each in frames.items()}
    if how == "per-domain":
        windows["sim"] = Moved(own["sim"], own["real"], dict.fromkeys(("state", "action"), mode))(windows["sim"])
    used = pooled(own, {"real": ratio, "sim": 1 - ratio}, _aggregate) if how == "pooled" else own["real"]
    scale = {key: _scale(used[key], mode) for key in ("state", "action")}
    both = {key: torch.cat([windows[name][key] for name in ("sim", "real")]) for key in ("state", "action")}
    return {key: x.flatten(1) for key, x in _normalised(both, scale).items()}, scale


def _error(predicted: Tensor, scale: tuple[Tensor, Tensor], actions: Tensor) -> float:
    wrong = (predicted * scale[1] + scale[0] - actions).square().mean((0, 1)) / actions.flatten(0, 1).var(0)
    return float(wrong.mean())


def _trained(data: dict[str, Tensor], sources: int, seeds: int, steps: int, ratio: float) -> list[Tensor]:
    """Weights and biases of a stack of networks, a run each."""
    runs, frames = data["state"].shape[:2]
    is_target = torch.arange(frames) >= sources
    samplers = [ctl.MixedBatchSampler(is_target, 64, ratio, seed=seed) for seed in range(seeds)]
    networks, every = _networks(seeds, runs // seeds), torch.arange(runs)[:, None]
    optimizer = torch.optim.Adam(networks, lr=3e-3)
    for number in range(steps):
        rows = torch.tensor([sampler.batch(number) for sampler in samplers]).repeat(runs // seeds, 1)
        wrong = _predicted(networks, data["state"][every, rows]) - data["action"][every, rows]
        optimizer.zero_grad()
        wrong.square().mean((1, 2)).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return [each.detach() for each in networks]


def _networks(seeds: int, copies: int) -> list[Tensor]:
    sizes, made = (2 * STATE, 64, 64, HORIZON * ACTION), list[Tensor]()
    torch.manual_seed(0)
    for inputs, outputs in pairwise(sizes):
        weight = torch.randn(seeds, inputs, outputs) / math.sqrt(inputs)
        made += [weight.repeat(copies, 1, 1).requires_grad_(), torch.zeros(seeds * copies, 1, outputs).requires_grad_()]
    return made


def _predicted(networks: list[Tensor], x: Tensor) -> Tensor:
    w, b, v, c, u, d = networks
    return torch.baddbmm(d, F.silu(torch.baddbmm(c, F.silu(torch.baddbmm(b, x, w)), v)), u)


def _scale(stats: Any, mode: str) -> tuple[Tensor, Tensor]:
    """What is subtracted and what is divided by."""
    low, high = (torch.as_tensor(np.asarray(stats[end]), dtype=torch.float32) for end in ENDS[mode])
    return (low, high) if mode == "MEAN_STD" else ((low + high) / 2, (high - low) / 2)


def _normalised(windows: dict[str, Tensor], scale: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {key: (x - scale[key][0]) / scale[key][1] for key, x in windows.items()}


def _frames(random: np.random.Generator, episodes: int, source: Source) -> list[dict[str, Array]]:
    """Episodes of states that wander and of the actions that they ask for."""
    mix, made = np.random.default_rng(7).normal(size=(STATE, ACTION)) / 2, []
    for _ in range(episodes):
        state, states = random.normal(size=STATE), []
        for _ in range(LENGTH):
            state = 0.9 * state + math.sqrt(1 - 0.9**2) * random.normal(size=STATE)
            states.append(source.centre + source.spread * state)
        both = {"state": np.array(states), "action": np.tanh(np.array(states) @ mix)}
        made.append({key: (source.factor * x + source.offset).astype(np.float32) for key, x in both.items()})
    return made


def _windows(episodes: Sequence[dict[str, Array]]) -> dict[str, Tensor]:
    """Two observations and the chunk of actions from the second on."""
    places = range(1, LENGTH - HORIZON + 1)
    states = np.stack([each["state"][t - 1 : t + 1] for each in episodes for t in places])
    actions = np.stack([each["action"][t : t + HORIZON] for each in episodes for t in places])
    return {"state": torch.tensor(states), "action": torch.tensor(actions)}


def _statistics(episodes: Sequence[dict[str, Array]]) -> dict[str, dict[str, Any]]:
    joined = {key: np.concatenate([each[key] for each in episodes]) for key in ("state", "action")}
    return {key: {"mean": x.mean(0), "std": x.std(0), "min": x.min(0), "max": x.max(0)} for key, x in joined.items()}


def _aggregate(each: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """LeRobot's aggregate_stats: means and variances weighed by count, the least minimum, the greatest maximum."""
    return {key: _aggregated([stats[key] for stats in each]) for key in each[0]}


def _aggregated(each: Sequence[Any]) -> dict[str, Any]:
    share = [x["count"] / sum(y["count"] for y in each) for x in each]
    mean = sum(w * x["mean"] for w, x in zip(share, each, strict=True))
    variance = sum(w * (x["std"] ** 2 + (x["mean"] - mean) ** 2) for w, x in zip(share, each, strict=True))
    ends = {"min": np.min([x["min"] for x in each], 0), "max": np.max([x["max"] for x in each], 0)}
    return {"mean": mean, "std": np.sqrt(variance), **ends}


def _mean(values: Tensor) -> str:
    """The mean and its 95 % interval, Student's t."""
    mean, low, high = t_interval(values.tolist())
    return f"{mean:+.3f} +- {(high - low) / 2:.3f}"


if __name__ == "__main__":
    typer.run(run)
