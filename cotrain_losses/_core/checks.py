"""One voice for errors: the rule, what was received, the remedy.

Value checks (finiteness, ranges) run where they cost nothing: eagerly on the CPU; on other devices
as flags, so that a training step never waits for them; under torch.compile not at all.
"""

from __future__ import annotations

import math
from typing import SupportsFloat, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from .device import eager
from .flags import Flags, common, least, not_finite
from .rows import SIDES


def check_features(name: str, source: Tensor, target: Tensor) -> bool:
    """Two feature matrices that can be compared: 2-D, floating, of one width, one device, and on the CPU finite.

    Returns whether both are computed with op by op on the CPU; elsewhere their values are the caller's care.
    """
    if source.ndim != 2 or target.ndim != 2:
        raise ValueError(
            f"{name} compares features of shape (samples, width), {_received(source, target)}.\n"
            "Fold observation steps into the width first: einops.rearrange(z, 'b t d -> b (t d)')."
        )
    if source.shape[1] != target.shape[1]:
        raise ValueError(
            f"{name} compares features of one width, {_received(source, target)}.\n"
            "Take both sides from the same layer, or project them to a common width first."
        )
    if not (source.is_floating_point() and target.is_floating_point()):
        received = _received(source, target)
        raise TypeError(f"{name} compares floating-point features, {received}.\nConvert them first: z.float().")
    if source.device != target.device:
        raise ValueError(
            f"{name} compares features on one device, got source on {source.device} and target on {target.device}.\n"
            "Move one of them: z.to(other.device)."
        )
    at_once = eager(source) and eager(target)
    if not at_once or math.isfinite(_squares(source, target)):
        return at_once
    for side, features in zip(SIDES, (source, target), strict=True):
        if not check_finite(f"{name}: the {side} features", features):
            raise ValueError(
                f"{name}: the {side} features are so large that their squares overflow {_type(features)}, got up to "
                f"{float(features.abs().max()):.1e}.\nNormalise them first, or put the seam behind a LayerNorm."
            )
    return at_once


def check_finite(what: str, values: Tensor, flags: Flags = common) -> bool:
    """No NaN and no infinity: on the CPU at once, with their number and the first row that holds one.

    Returns whether the sum of their squares is finite too, as far as it is known.
    """
    if torch.compiler.is_compiling() or values.numel() == 0:
        return True
    if not eager(values):
        post_length(what, length(values), flags)
        return True
    if math.isfinite(_squares(values)):  # a sum is finite only if its parts are
        return True
    bad = ~torch.isfinite(values)
    if bad.any():
        row = int(bad.reshape(len(values), -1).any(1).nonzero()[0])
        _not_finite(what, int(bad.sum()), f" of {values.numel()}, the first in row {row}")
    return False


def length(values: Tensor) -> Tensor:
    """The root of the sum of squares, in one launch: finite only if all values are, and their squares too."""
    found: Tensor = torch.linalg.vector_norm(values.detach(), dtype=torch.promote_types(values.dtype, torch.float32))
    return found


def post_length(what: str, found: Tensor, flags: Flags) -> None:
    """Values whose length is not finite are told when the flags are read."""

    def told(batches: float) -> None:
        _not_finite(what, "some", f" or values whose squares overflow, in {batches:g} batches")

    flags.post(f"{what} finite", found, told, not_finite)


def post_counts(what: str, counts: Tensor, flags: Flags) -> None:
    """Counts of values that are not finite are told when the flags are read."""
    flags.post(f"{what} finite", counts, lambda count: _not_finite(what, f"{count:g}"), torch.sum)


def post_least(what: str, values: Tensor, flags: Flags, where: str = "") -> None:
    """Masses of which one is negative."""
    flags.post(f"{what} negative", values, lambda value: _negative(what, -value, where), least)


def _not_finite(what: str, count: object, where: str = "") -> None:
    raise ValueError(
        f"{what} must be finite, got {count} NaN or infinite values{where}.\n"
        "Look upstream: the encoder diverged or its input holds NaN; "
        "a lower learning rate or gradient clipping usually helps."
    )


@np.errstate(over="ignore", invalid="ignore")
def _squares(*parts: Tensor) -> float:
    """The sum of all squares; inside torch.func, or of a type that numpy lacks or rounds, of all entries."""
    total = 0.0
    for x in parts:
        try:
            flat = (x.detach() if x.requires_grad else x).numpy().ravel()
            total += float(flat.dot(flat)) if flat.dtype.itemsize >= 4 else x.sum().item()
        except (RuntimeError, TypeError):
            total += x.sum().item()
    return total


def check_mass(what: str, mass: Tensor, flags: Flags | None = common) -> None:
    """Masses of rows: (n,), floating, finite and not negative; without `flags` their values are the caller's care."""
    if mass.ndim != 1 or not mass.is_floating_point():
        raise ValueError(f"{what} is one floating-point number per row, got {_describe(mass)}.\nUse weights.float().")
    if flags is None:
        return
    check_finite(what, mass, flags)
    if mass.numel() == 0 or torch.compiler.is_compiling():
        return
    where = f" in row {int(mass.argmin())}" if eager(mass) else ""
    post_least(what, mass, flags, where)


def _negative(what: str, value: float, where: str) -> None:
    raise ValueError(
        f"{what} counts rows and must not be negative, got {value:.4g}{where}.\n"
        "Clip estimated weights at zero first: weights.clamp_min(0)."
    )


def check_share(name: str, value: object) -> float:
    """A share of target samples, in [0, 1], as a plain number."""
    share = _number(value)
    if share is None or not 0.0 <= share <= 1.0:
        remedy = "Use 0.5 for halves."
        if share is not None and 1.0 < share < math.inf:
            remedy = f'For "{share:g} source to 1 target" use {1 / (1 + share):g}.'
        raise ValueError(f"{name} is the share of target samples and lies in [0, 1], got {value!r}. {remedy}")
    return share


def whole(name: str, value: object, least: int = 0) -> int:
    """A whole number of at least `least`, as a plain integer."""
    number = _number(value)
    if number is None or not number.is_integer() or number < least:
        remedy = "" if number is None or number < least else f" Pass int({name})."
        raise ValueError(f"{name} is a whole number, {least} or more, got {name}={value!r}.{remedy}")
    return int(value) if isinstance(value, SupportsIndex) else int(number)


def _number(value: object) -> float | None:
    """A number of Python, numpy or torch; None for anything else, bool and arrays of several included."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, SupportsFloat):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _received(source: Tensor, target: Tensor) -> str:
    return f"got source {_describe(source)} and target {_describe(target)}"


def _describe(x: Tensor) -> str:
    return f"{tuple(x.shape)}{'' if x.is_floating_point() else f' {_type(x)}'}"


def _type(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
