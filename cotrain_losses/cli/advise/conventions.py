"""Conventions that differ between robots' datasets, each a function of the source's and the target's view.

    rates     frames a second                 relative    absolute against relative actions
    grippers  0/1 against -1/1, open 1 or 0   quaternions order and sign
    wrapping  angles that jump by a turn      padding     dimensions that never move

Every check looks at all dimensions of a kind together and says how sure it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from ...datasets.fields import Array
from .spread import Spread
from .views import Finding, View, gripper, listed, two_values

Check: TypeAlias = Callable[[View, View, Spread], Iterator[Finding]]


def rates(source: View, target: View, apart: Spread) -> Iterator[Finding]:
    """Frames a second, as the datasets say; else from how far a frame moves at equal extent of motion."""
    do = "Resample one dataset to the other's control rate, or give chunks an equal length in seconds."
    if source.rate and target.rate:
        if abs(math.log(source.rate / target.rate)) > math.log(1.2):
            because = f"{source.name} has {source.rate:g} frames a second and the target {target.rate:g}"
            because += ": a chunk of as many steps lasts another time."
            yield Finding("control rate", source.what, source.name, (), 1.0, do, because)
        return
    known = np.isfinite(apart.log_steps.value) & np.isfinite(apart.log_factor.value)
    smooth = _smooth(source) & _smooth(target) & known
    if smooth.sum() < 2:
        return
    steps, extent = apart.log_steps.value[smooth], apart.log_factor.value[smooth]
    frames = [float(np.median(side.episodes.frames)) for side in (source, target)]
    pace, length = float(np.median(steps - extent)), math.log(frames[1] / frames[0])
    alike = np.mean(np.abs(steps - extent - pace) < 0.35)
    if abs(pace) > math.log(2) and alike > 0.7 and abs(length - pace) < 0.5 and apart.log_steps.certain[smooth].any():
        because = (
            f"A frame of {source.name} moves {math.exp(abs(pace)):.2g} times {'more' if pace > 0 else 'less'} than the "
            f"target's over an equal range, and its episodes have {math.exp(abs(length)):.2g} times "
            f"{'fewer' if length > 0 else 'more'} frames: the control rates seem to differ, like 10 Hz and 50 Hz."
        )
        yield Finding("control rate", source.what, source.name, (), 0.8, do, because)


def relative(source: View, target: View, apart: Spread) -> Iterator[Finding]:
    """Actions that are changes on one side: rougher, around zero, and as large as the other side's changes."""
    if source.what != "action":
        return
    factors = apart.log_factor.value
    rougher = apart.log_steps.value - factors  # how much more the source's frames change at equal extent of motion
    for one, other, factor, more in ((source, target, factors, rougher), (target, source, -factors, -rougher)):
        rough, smooth = more > math.log(1.5), _smooth(other)
        asked = np.flatnonzero(one.moves & other.moves & np.isfinite(factor))
        pairs = asked[(rough & smooth & (factor < -math.log(2)))[asked]]
        centred = np.abs(one.moments.mean) < one.moments.std
        of_changes = np.log(_typical(one.episodes.deviation) / _typical(other.episodes.step))
        fits = [k for k in pairs if centred[k] and abs(of_changes[k]) < math.log(4)]
        if len(fits) >= max(2, 0.6 * len(asked)):
            because = (
                f"The actions of {one.name} vary around zero as much as those of {other.name} change from frame to "
                f"frame ({listed(one.names[k] for k in fits)}): one looks relative (deltas) and the other absolute."
            )
            do = f"First give both datasets the same kind of action: changes in {other.name}, or sums in {one.name}."
            certainty = 0.95 if len(fits) > 0.9 * len(asked) else 0.8
            yield Finding("relative actions", "action", source.name, _names(one, fits), certainty, do, because)


def grippers(source: View, target: View, apart: Spread) -> Iterator[Finding]:
    """Ends of a gripper's range, 0 and 1 against -1 and 1, and which of them is open."""
    for k in sorted(set(gripper(source)) & set(gripper(target))):
        if not all(side.moves[k] and two_values(side, k) for side in (source, target)):
            continue
        ends, way = _other_range(source, target, k), _other_way(source, target, k)
        if ends or way:
            do = "Map both grippers to one range, and check whether open is the larger number in both."
            sure, because = 0.95 if ends else 0.8, f"{ends} {way}".strip()
            yield Finding("gripper", source.what, source.name, (source.names[k],), sure, do, because)


def _other_range(source: View, target: View, k: int) -> str:
    sides = [(side.name, side.moments.low[k], side.moments.high[k]) for side in (source, target)]
    forms = {(round(low, 1) + 0.0, round(high, 1) + 0.0): name for name, low, high in sides}
    if set(forms) != {(0.0, 1.0), (-1.0, 1.0)}:
        return ""
    return f"{source.names[k]} goes from 0 to 1 in {forms[(0.0, 1.0)]} and from -1 to 1 in {forms[(-1.0, 1.0)]}."


def _other_way(source: View, target: View, k: int) -> str:
    """Episodes of one side begin where those of the other end: one task begins with one state of the hand."""
    shares = [_begins_high(side, k) for side in (source, target)]
    if abs(shares[0] - shares[1]) < 0.9:
        return ""
    high, low = (source, target) if shares[0] > shares[1] else (target, source)
    return (
        f"{source.names[k]} begins at the larger number in the episodes of {high.name} and at the smaller one in those "
        f"of {low.name}: open is 1 in one and 0 in the other, or the episodes begin with another state of the hand."
    )


def _begins_high(view: View, k: int) -> float:
    """The share of the first episodes that begin at the upper end of a dimension's range."""
    first = np.flatnonzero(np.diff(view.episode, prepend=view.episode[:1] - 1))
    return float(np.mean(view.stretch[first, k] > (view.moments.low[k] + view.moments.high[k]) / 2))


def quaternions(source: View, target: View, apart: Spread) -> Iterator[Finding]:
    """Four dimensions of norm one: which comes first, and whether a sign is fixed."""
    for first in _of_norm_one(source, target):
        part = slice(first, first + 4)
        names = _names(source, range(first, first + 4))
        sizes = [np.abs(side.sample[:, part]).mean(0) for side in (source, target)]
        as_it_is = float(np.abs(sizes[0] - sizes[1]).sum())
        turned = min(float(np.abs(np.roll(sizes[0], by) - sizes[1]).sum()) for by in (1, -1))
        if as_it_is > 0.5 and turned < 0.4 * as_it_is:
            do = "Write both quaternions in one order (x y z w, or w x y z)."
            places = [_large(side, size, first) for side, size in zip((source, target), sizes, strict=True)]
            because = (
                f"{listed(names)} has its large component at {places[0]} in {source.name} and at {places[1]} in the "
            )
            because += "target. Moved by one place they agree."
            yield Finding("quaternion order", source.what, source.name, names, 0.9, do, because)
        fixed = [_fixed_sign(side, part) for side in (source, target)]
        if fixed[0] != fixed[1]:
            do = "Fix the sign of the quaternions in both datasets (w >= 0, continuous within an episode)."
            because = f"q and -q are one rotation: {listed(names)} keeps the sign of a component in "
            because += f"{(source if fixed[0] else target).name} and not in {(target if fixed[0] else source).name}."
            yield Finding("quaternion sign", source.what, source.name, names, 0.7, do, because)


def wrapping(source: View, target: View, apart: Spread) -> Iterator[Finding]:
    """Angles that jump by a turn in one dataset and not in the other."""
    wraps = [wrapped(side) for side in (source, target)]
    differ = np.flatnonzero((wraps[0] != wraps[1]) & source.moves & target.moves)
    if len(differ):
        names, side = _names(source, differ), source if wraps[0][differ[0]] else target
        do = "Unwrap the angles of both datasets, or give the policy sine and cosine."
        because = (
            f"{listed(names)} jumps by a whole turn between frames of {side.name}, and never in the other dataset."
        )
        yield Finding("wrapped angle", source.what, source.name, names, 0.9, do, because)


def padding(source: View, target: View, apart: Spread) -> Iterator[Finding]:
    """Dimensions that are zero everywhere on one side."""
    for one, other in ((source, target), (target, source)):
        zero = np.flatnonzero(~one.moves & (one.moments.mean == 0) & other.moves)
        if len(zero):
            trailing = zero[-1] == one.width - 1 and np.all(np.diff(zero) == 1)
            names = _names(one, zero)
            do = f"Leave the padded dimensions of {one.name} out of the loss (a mask). They teach the policy zeros."
            because = f"{listed(names)} is 0 in every frame of {one.name} and moves in {other.name}."
            yield Finding("padding", one.what, source.name, names, 0.9 if trailing else 0.6, do, because)


def wrapped(view: View) -> Array:
    """(d,) whether an angle in radians or degrees jumps by about a turn inside its range of one turn."""
    span, jump = view.moments.high - view.moments.low, view.episodes.jump.max(0)
    turns = [(span <= 1.02 * turn) & (jump > 0.9 * turn) for turn in (2 * math.pi, 360.0)]
    return np.asarray(turns[0] | turns[1])


CHECKS: tuple[Check, ...] = (relative, rates, grippers, quaternions, wrapping, padding)
"""in the order in which they are told"""


def rotations(source: View, target: View) -> Array:
    """(d,) whether a dimension is of a quaternion in both datasets: it has no unit."""
    found = np.zeros(source.width, bool)
    for first in _of_norm_one(source, target):
        found[first : first + 4] = True
    return found


def _of_norm_one(source: View, target: View) -> list[int]:
    """Where four dimensions of norm one begin."""
    return [k for k in range(source.width - 3) if _unit_norm(source, k) and _unit_norm(target, k)]


def _smooth(view: View) -> Array:
    """(d,) whether a frame moves little against the extent of its episode's motion."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_typical(view.episodes.step) < 0.35 * _typical(view.episodes.deviation))


def _typical(values: Array) -> Array:
    """Root mean square over episodes: resting episodes count little."""
    return np.asarray(np.sqrt(np.square(values).mean(0)) + 1e-30)


def _names(view: View, dimensions: Any) -> tuple[str, ...]:
    return tuple(view.names[k] for k in dimensions)


def _unit_norm(view: View, first: int) -> bool:
    norms = np.linalg.norm(view.sample[:, first : first + 4], axis=1)
    return bool(np.mean(np.abs(norms - 1) < 0.02) > 0.98 and view.moves[first : first + 4].sum() > 1)


def _fixed_sign(view: View, part: slice) -> bool:
    return bool(((view.moments.low[part] >= -1e-6) | (view.moments.high[part] <= 1e-6)).any())


def _large(view: View, sizes: Array, first: int) -> str:
    return view.names[first + int(np.argmax(sizes))]
