"""The time of each term in this checkout over its time in an earlier one.

git worktree add ../before 9fc3bb2
python -m cotrain_bench.before ../before [--sizes 32,128,512] [--repeats 41]

Each checkout has a process of its own, on one thread.  The two take turns, so that a busy machine slows both alike;
each counts its own CPU time, forward and backward.  Medians; the ratio is the median of the turns' ratios.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

WIDTH = 64
TERMS: dict[str, Callable[[Any], Any]] = {
    "MMD": lambda ctl: ctl.MMD(),
    "EnergyDistance": lambda ctl: kernels().EnergyDistance(),
    "CORAL": lambda ctl: kernels().CORAL(),
    "Sinkhorn": lambda ctl: ctl.Sinkhorn(0.5),
    "Sinkhorn, reach": lambda ctl: ctl.Sinkhorn(0.5, reach=10.0),
    "OptimalTransport": lambda ctl: ctl.OptimalTransport(0.1),
    "OptimalTransport, unbalanced": lambda ctl: ctl.OptimalTransport(0.1, unbalanced=10.0),
    "OptimalTransport, exact": lambda ctl: ctl.OptimalTransport(0.0),
    "DomainClassifier": lambda ctl: ctl.DomainClassifier(WIDTH),
    "0.1 * MMD + 0.1 * Sinkhorn": lambda ctl: 0.1 * ctl.MMD() + 0.1 * ctl.Sinkhorn(0.5),
    "a step of cfg + 0.1 * MMD": lambda ctl: step(ctl),
}
"""made from either checkout's package: names that both have"""


def kernels() -> Any:
    """The module of CORAL and the energy distance, where that checkout keeps it."""
    for name in ("cotrain_losses.terms.mmd", "cotrain_losses.mmd"):
        if importlib.util.find_spec(name.rpartition(".")[0]) and importlib.util.find_spec(name):
            return importlib.import_module(name)
    raise ModuleNotFoundError("No module of that checkout has CORAL and the energy distance.")


def step(ctl: Any) -> Callable[[Any, Any], Any]:
    """One training step of a small policy: everything between the policy's loss and the total."""
    policy = torch.nn.ModuleDict({"head": torch.nn.Linear(WIDTH, WIDTH)})
    seam = ctl.Seam(head="head", condition=0, width=WIDTH)
    method = ctl.Method(guidance=ctl.DomainGuidance(WIDTH), regularizer=0.1 * ctl.MMD())
    cotrain = ctl.CoTrain(policy, method, seam=seam, loss=lambda policy, rows: policy["head"](rows).square().mean(1))

    def total(x: Any, y: Any) -> Any:
        torch.manual_seed(0)
        return cotrain(torch.cat([x, y]), domain=torch.arange(len(x) + len(y)) >= len(x)).total

    return total


def main() -> None:
    """Print the table."""
    import typer

    typer.run(compare)


def compare(earlier: Path, sizes: str = "32,128,512", repeats: int = 41) -> None:
    """Print the table of every term at every size."""
    checkouts = [worker(earlier), worker(Path(__file__).parents[2])]
    heads = f"{'before, ms':>12}{'now, ms':>10}{'now / before':>14}{'quartiles':>14}{'gradients differ':>18}"
    print(f"{'term':30}{'rows':>6}{heads}")
    for name in TERMS:
        for n in map(int, sizes.split(",")):
            turns = [[asked(each, name, n) for each in checkouts] for _ in range(repeats + 2)][2:]
            before, now = (1e3 * median(turn[k]["seconds"] for turn in turns) for k in (0, 1))
            low, ratio, high = np.quantile([new["seconds"] / old["seconds"] for old, new in turns], (0.25, 0.5, 0.75))
            old, new = (np.array(each["gradient"]) for each in turns[0])
            gap = np.linalg.norm(new - old) / np.linalg.norm(old)
            times = f"{before:>12.2f}{now:>10.2f}{ratio:>14.2f}{f'{low:.2f} to {high:.2f}':>14}"
            print(f"{name:30}{n:>6}{times}{gap:>18.1e}", flush=True)


def worker(checkout: Path) -> subprocess.Popen[str]:
    """A process that has that checkout's library and answers for the terms of this file."""
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(checkout.resolve())!r}); runpy.run_path({__file__!r})['answer']()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def asked(process: subprocess.Popen[str], *task: Any) -> dict[str, Any]:
    """What a worker says of one task."""
    assert process.stdin and process.stdout
    print(json.dumps(task), file=process.stdin, flush=True)
    answered: dict[str, Any] = json.loads(process.stdout.readline())
    return answered


def answer() -> None:
    """Time what each line of the standard input asks for, until it ends."""
    for line in sys.stdin:
        name, n = json.loads(line)
        x, y = sides(n)
        begin = time.process_time()
        term(name)(x, y).backward()
        seconds = time.process_time() - begin
        print(json.dumps({"seconds": seconds, "gradient": x.grad.flatten()[:200].tolist()}), flush=True)


@cache
def term(name: str) -> Callable[..., Any]:
    """A term, made once: with the same parameters in both checkouts."""
    torch.manual_seed(0)
    made: Callable[..., Any] = TERMS[name](importlib.import_module("cotrain_losses"))
    return made


def sides(n: int) -> tuple[Any, Any]:
    """n rows of each side, the target moved by half a deviation."""
    x, y = torch.randn(2, n, WIDTH, generator=torch.Generator().manual_seed(n))
    return x.requires_grad_(), (y + 0.5).requires_grad_()


if __name__ == "__main__":
    main()
