"""Which unit: a guess from all dimensions that differ by one factor, and how sure it is.

    P(unit | d) ~ P(unit) N(d; ln factor, se^2)         d the mean of ln(scale source / scale target)

beside any other scale at all (a normalisation) and beside motion that is merely smaller: robots in simulation and in
reality do not move alike, so se is never below 0.3.
"""

from __future__ import annotations

import math

import numpy as np

from ...datasets.fields import Array
from .mismatch import in_other_units
from .spread import Spread
from .views import Finding, View, listed

UNITS = {
    "degrees against radians": (180 / math.pi, 0.35),
    "millimetres against metres": (1000.0, 0.25),
    "centimetres against metres, or per cent": (100.0, 0.15),
    "encoder ticks (4096 a turn) against radians": (4096 / (2 * math.pi), 0.05),
    "8 bits (0 to 255) against 0 to 1": (255.0, 0.05),
    "inches against metres": (39.37, 0.02),
}
"""each with its factor and how often it is met"""
ANOTHER, GAP = 0.15, 0.3


def units(source: View, target: View, apart: Spread, excluded: Array) -> list[Finding]:
    """Dimensions of the source in other units than the target's, one finding for each factor."""
    asked = np.flatnonzero(source.moves & target.moves & ~excluded)
    if not len(asked):
        return []
    found = np.zeros(source.width, bool)
    found[asked] = in_other_units(source.episodes.of(asked), target.episodes.of(asked))
    if apart.log_factor.certain[asked].mean() > 0.5:
        found[asked] |= apart.log_factor.certain[asked]
    value, error = apart.log_factor.value, apart.log_factor.error
    found &= np.abs(np.nan_to_num(value)) > math.log(3)
    return [_finding(source, target, group, value, error) for group in clusters(found, value, error)]


def clusters(found: Array, value: Array, error: Array) -> list[Array]:
    """Dimensions whose factors lie together, up to their errors; the largest group first."""
    groups: list[list[int]] = []
    for k in (k for k in np.argsort(value) if found[k]):
        last = groups[-1][-1] if groups else None
        if last is not None and value[k] - value[last] < 0.6 + error[k] + error[last]:
            groups[-1].append(k)
        else:
            groups.append([k])
    return sorted((np.sort(group) for group in groups), key=len, reverse=True)


def probabilities(log_factor: float, error: float) -> dict[str, float]:
    """Of each unit, and of another scale.

    >>> guess = probabilities(math.log(57.0), 0.1)
    >>> max(guess, key=guess.get)
    'degrees against radians'
    """
    se = math.hypot(GAP, error)
    odds = {
        name: prior * math.exp(-(((abs(log_factor) - math.log(factor)) / se) ** 2) / 2) / (se * math.sqrt(2 * math.pi))
        for name, (factor, prior) in UNITS.items()
    }
    odds["another scale"] = ANOTHER / 10
    return {name: value / sum(odds.values()) for name, value in odds.items()}


def _finding(source: View, target: View, group: Array, value: Array, error: Array) -> Finding:
    middle = float(np.mean(value[group]))
    larger, smaller = (source, target) if middle > 0 else (target, source)
    names, factor = tuple(source.names[k] for k in group), math.exp(abs(middle))
    scales = listed(f"{source.names[k]} x{math.exp(value[k]):.3g}" for k in group)
    told = f"Within an episode {len(group)} of its {source.width} dimensions vary {factor:.3g} times "
    told += f"{'more' if middle > 0 else 'less'} than the target's, more than its episodes differ by: {scales}."
    if _rests(larger, smaller, group, factor):
        do = f"Check {listed(names)}, which hardly moves in {smaller.name}: there a policy learns not to move it."
        why = f"{told} The others have the same scale, so this looks like a joint at rest, not like a unit."
        return Finding("at rest", source.what, source.name, names, 0.8, do, why)
    guess = probabilities(middle, float(np.sqrt(np.square(error[group]).mean() / len(group))))
    best = max(guess, key=lambda name: guess[name])
    normal = _normalised(source, target)
    hint = f"This looks like {best} ({guess[best]:.0%} sure). {larger.name} has the larger numbers."
    if best == "another scale" or (normal and guess[best] < 0.9):
        hint = normal or f"No usual unit fits a factor of {factor:.3g}: one side may be normalised already."
    do = f"First convert the {source.what}s of {source.name} to the target's units and normalisation."
    return Finding("units", source.what, source.name, names, round(guess[best], 3), do, f"{told} {hint}")


def _rests(larger: View, smaller: View, group: Array, factor: float) -> bool:
    """Whether few dimensions are small beside their peers, and their means do not share the factor."""
    peers = np.setdiff1d(np.flatnonzero(larger.moves & smaller.moves), group)
    if len(group) > len(peers) / 2:
        return False
    small, usual = (np.median(smaller.episodes.deviation.mean(0)[rows]) for rows in (group, peers))
    large, normal = (np.median(larger.episodes.deviation.mean(0)[rows]) for rows in (group, peers))
    means = larger.moments.mean[group], smaller.moments.mean[group]
    away = np.abs(means[0]) > 2 * (larger.episodes.mean[:, group].std(0) + larger.moments.std[group])
    with np.errstate(divide="ignore", invalid="ignore"):
        shared = np.abs(np.log(np.abs(means[0] / means[1]) / factor)) < 0.5
    return bool(small < usual / 10 and large < 10 * normal and not (away & shared).any())


def _normalised(source: View, target: View) -> str | None:
    for side, other in ((target, source), (source, target)):
        bounded = (side.moments.low >= -1.001).all() and (side.moments.high <= 1.001).all()
        if bounded and ((other.moments.high > 2) | (other.moments.low < -2)).any():
            return f"{side.name} lies in [-1, 1] and {other.name} does not: one of them looks normalised already."
    return None
