"""How often `cotrain advise` is wrong about units: false alarms on one dataset split by episodes, and what it misses.

    python -m cotrain_bench.advise_errors [--splits 100] [--source 60] [--most 20]

Datasets of four kinds are drawn and each is split into 1 to 20 target episodes and the rest.  Advice is asked for: of
the split as it is, with values times 57.3 or 1000 (of all dimensions, or of one), and with two dimensions whose means
lie three deviations between episodes apart: as they are, and exchanged in the target.  The last lines are the worst
of all, and what the best test of one episode's means could find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import typer
from numpy.typing import NDArray

from cotrain_losses.cli.advise.findings import compared, views
from cotrain_losses.cli.advise.statistics import summarised
from cotrain_losses.cli.advise.views import View
from cotrain_losses.datasets import Demonstrations, Frames

Array = NDArray[Any]
Episodes: TypeAlias = "list[Array]"
WIDTH, SIZES = 7, (1, 2, 3, 5, 10, 20)


def walks(draws: np.random.Generator, count: int) -> Episodes:
    """Random walks."""
    return [draws.standard_normal((150, WIDTH)).cumsum(0) / 10 for _ in range(count)]


def reaches(draws: np.random.Generator, count: int) -> Episodes:
    """Smooth motions from one home to a goal of each episode, and a gripper that closes once."""
    home, found = draws.normal(0, 1, WIDTH), []
    for _ in range(count):
        s = np.linspace(0, 1, draws.integers(60, 200))[:, None]
        path = home + draws.normal(0, 0.02, WIDTH) + draws.normal(0, 0.4, WIDTH) * s**3 * (10 - 15 * s + 6 * s**2)
        path += draws.normal(0, 0.002, path.shape)
        path[:, -1] = s[:, 0] > draws.uniform(0.3, 0.8)
        found.append(path)
    return found


def rests(draws: np.random.Generator, count: int) -> Episodes:
    """Oscillations around a place of each episode, in which three joints of ten rest."""
    found = []
    for _ in range(count):
        time = np.linspace(0, 6, draws.integers(60, 200))[:, None]
        extent = np.exp(draws.normal(0, 0.7, WIDTH)) * (draws.random(WIDTH) > 0.3)
        swing = np.sin(time * draws.uniform(0.5, 2, WIDTH) + draws.uniform(0, 6, WIDTH))
        found.append(draws.normal(0, 1, WIDTH) + extent * swing + draws.normal(0, 1e-3, (len(time), WIDTH)))
    return found


def noise(draws: np.random.Generator, count: int) -> Episodes:
    """Independent frames around a place of each episode."""
    scale = np.exp(draws.normal(0, 0.5, WIDTH))
    return [draws.normal(0, 0.5, WIDTH) + scale * draws.standard_normal((80, WIDTH)) for _ in range(count)]


KINDS: dict[str, Callable[[np.random.Generator, int], Episodes]] = {
    "walks": walks,
    "reaches": reaches,
    "rests": rests,
    "noise": noise,
}


def main(splits: int = 100, source: int = 60, most: int = 20, seed: int = 0) -> None:
    """Print a row for each kind and size, and the worst of all."""
    worst: dict[str, float] = {}
    for kind in KINDS:
        for size in (size for size in SIZES if size <= most):
            told = [list(_answers(kind, size, source, (seed, size, k))) for k in range(splits)]
            shares = {name: float(np.mean([dict(each)[name] for each in told])) for name, _ in told[0]}
            print(f"{kind} {size}: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()), flush=True)
            worst = {name: _worse(name, share, worst.get(name)) for name, share in shares.items()}
    told_wrongly, found = worst.pop("false alarms"), ", ".join(f"{name} {share:.0%}" for name, share in worst.items())
    print(f"at worst {told_wrongly:.0%} of {splits} splits are told to change units; found at worst: {found}")
    best = ", ".join(f"{best_power(level):.1%} at {level:.0%}" for level in (0.03, 0.05))
    print(f"by the means of one episode alone the best test finds a swap in {best} false alarms")


def best_power(level: float, draws: int = 200_000) -> float:
    """Of the likelihood ratio test, averaged over the six swaps of one axis with others, three deviations away.

    The means of one episode are normal, and all that is known of them is true: no test finds more.
    """
    means = np.random.default_rng(0).standard_normal((2, draws, WIDTH))
    means[[0, 1], :, [0, 1]] += 3.0  # as they are: axis 0 lies apart; exchanged: axis 1 does
    ratios = np.exp(3 * (means[:, :, 1:] - means[:, :, :1])).mean(2)
    return float(np.mean(ratios[1] > np.quantile(ratios[0], 1 - level)))


def _worse(name: str, share: float, before: float | None) -> float:
    if before is None:
        return share
    return max(share, before) if "false" in name else min(share, before)


def _answers(kind: str, size: int, source: int, seed: tuple[int, ...]) -> Iterator[tuple[str, bool]]:
    """What was asked and whether it was found."""
    draws = np.random.default_rng(seed)
    episodes = KINDS[kind](draws, size + source)
    target, others = episodes[:size], episodes[size:]
    one = np.where(np.arange(WIDTH) == draws.integers(WIDTH - 1), 57.3, 1.0)
    yield "false alarms", _told(target, others, "units")
    yield "false swaps", _told(target, others, "swapped")
    yield "x57.3", _told(target, [x * 57.3 for x in others], "units")
    yield "x1000", _told([x * 1000 for x in target], others, "units")
    yield "x57.3 of one", _told(target, [x * one for x in others], "units")
    apart, order = _apart(draws, others)
    yield "false swaps of axes apart", _told([x + apart for x in target], [x + apart for x in others], "swapped")
    yield "swapped", _told([(x + apart)[:, order] for x in target], [x + apart for x in others], "swapped")


def _apart(draws: np.random.Generator, episodes: Episodes) -> tuple[Array, Array]:
    """An offset that puts the means of two dimensions three deviations apart, and the order that exchanges them."""
    means, (i, j) = np.array([x.mean(0) for x in episodes]), draws.permutation(WIDTH - 1)[:2]
    offset, order = np.zeros(WIDTH), np.arange(WIDTH)
    offset[i] = means[:, j].mean() - means[:, i].mean() + 3 * np.sqrt(means[:, [i, j]].var(0).mean())
    order[[i, j]] = j, i
    return offset, order


def _told(target: Episodes, source: Episodes, kind: str) -> bool:
    (found,) = compared([_views(source, "source")], _views(target, "target"))
    return any(finding.kind == kind for finding in found.findings)


def _views(episodes: Episodes, name: str) -> dict[str, View]:
    labels, actions = np.repeat(np.arange(len(episodes)), [len(x) for x in episodes]), np.concatenate(episodes)
    frames = Frames(labels, actions.astype(np.float32), None)
    read = Demonstrations(Path(name), "drawn", len(actions), len(episodes), lambda: iter([frames]))
    return views(summarised(read, sample=3000, seed=0), name)


if __name__ == "__main__":
    typer.run(main)
