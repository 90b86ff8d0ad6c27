"""One voice for errors: the rule, what was received, the remedy.

Value checks (finiteness, ranges) run where they cost nothing: eagerly on the CPU; on other devices
as flags, so that a training step never waits for them; under torch.compile not at all.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .device import eager
from .flags import Flags, common


def check_features(name: str, source: Tensor, target: Tensor, flags: Flags = common) -> None:
    """Two feature matrices that can be compared: 2-D, floating, of one width, one device, finite."""
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
    check_finite(f"{name}: the source features", source, flags)
    check_finite(f"{name}: the target features", target, flags)


def check_finite(what: str, values: Tensor, flags: Flags = common) -> None:
    """No NaN and no infinity: on the CPU at once, with their number and the first row that holds one."""
    if torch.compiler.is_compiling() or values.numel() == 0:
        return
    if not eager(values):
        flags.post(f"{what} finite", (~torch.isfinite(values)).sum(), lambda count: _not_finite(what, f"{count:g}"))
    elif not math.isfinite(_sum(values)):  # a sum is finite only if its parts are
        bad = ~torch.isfinite(values)
        if bad.any():
            row = int(bad.reshape(len(values), -1).any(1).nonzero()[0])
            _not_finite(what, int(bad.sum()), f" of {values.numel()}, the first in row {row}")


def _not_finite(what: str, count: object, where: str = "") -> None:
    raise ValueError(
        f"{what} must be finite, got {count} NaN or infinite values{where}.\n"
        "Look upstream: the encoder diverged or its input holds NaN; "
        "a lower learning rate or gradient clipping usually helps."
    )


@np.errstate(over="ignore", invalid="ignore")
def _sum(x: Tensor) -> float:
    """A sum of all entries or of their squares, whichever is sooner had."""
    try:
        flat = x.detach().numpy().ravel()
    except (RuntimeError, TypeError):  # inside torch.func, or a type that numpy lacks
        return x.sum().item()
    return float(flat.dot(flat))


def check_mass(what: str, mass: Tensor, flags: Flags = common) -> None:
    """Masses of rows: (n,), floating, finite and not negative."""
    if mass.ndim != 1 or not mass.is_floating_point():
        raise ValueError(f"{what} is one floating-point number per row, got {_describe(mass)}.\nUse weights.float().")
    check_finite(what, mass, flags)
    if mass.numel() == 0 or torch.compiler.is_compiling():
        return
    where = f" in row {int(mass.argmin())}" if eager(mass) else ""
    flags.post(f"{what} negative", (-mass.min()).clamp_min(0), lambda value: _negative(what, -value, where))


def _negative(what: str, value: float, where: str) -> None:
    raise ValueError(
        f"{what} counts rows and must not be negative, got {value:.4g}{where}.\n"
        "Clip estimated weights at zero first: weights.clamp_min(0)."
    )


def check_share(name: str, value: float) -> float:
    """A share of target samples, in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        remedy = "Use 0.5 for halves."
        if _is_odds(value):
            remedy = f'For "{value:g} source to 1 target" use {1 / (1 + value):g}.'
        raise ValueError(f"{name} is the share of target samples and lies in [0, 1], got {value!r}. {remedy}")
    return float(value)


def _is_odds(value: object) -> bool:
    return isinstance(value, (int, float)) and 1.0 < value < float("inf")


def _received(source: Tensor, target: Tensor) -> str:
    return f"got source {_describe(source)} and target {_describe(target)}"


def _describe(x: Tensor) -> str:
    dtype = "" if x.is_floating_point() else f" {str(x.dtype).removeprefix('torch.')}"
    return f"{tuple(x.shape)}{dtype}"
