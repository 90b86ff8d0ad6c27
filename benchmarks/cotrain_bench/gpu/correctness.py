"""Every term on the device against itself in float64 on the CPU, solved to 1e-9."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

import cotrain_losses as ctl

from .machine import Machine, Row
from .problems import gradients, made, off, placed, sides, terms

PRECISIONS = {"float32": torch.float32, "TF32": torch.float32, "bfloat16": torch.bfloat16}
WITHIN = {"float32": 1e-3, "TF32": 1e-2, "bfloat16": 1e-2}
DEFAULTS: dict[str, Callable[..., ctl.Term]] = {
    "Sinkhorn()": ctl.Sinkhorn,
    "OptimalTransport()": ctl.OptimalTransport,
    "OptimalTransport(0.01)": lambda **k: ctl.OptimalTransport(0.01, **k),
}


def measured(on: Machine) -> Iterator[Row]:
    """The worst error of each term's value and gradient, by precision; then the defaults of transport by width."""
    for name in terms(32):
        for precision in PRECISIONS:
            yield on.tried(f"{name}, {precision}", lambda name=name, p=precision: _worst(on, name, p))  # type: ignore[misc]
    for name, make in DEFAULTS.items():
        for d in (8,) if on.tiny else (32, 64, 512):
            yield on.tried(f"{name}, d={d}", lambda make=make, d=d: _default(on, make, d))  # type: ignore[misc]


def _worst(on: Machine, name: str, precision: str) -> Row:
    d, sizes, dtype = (
        (8, [(5, 3)], PRECISIONS[precision]) if on.tiny else (32, [(58, 6), (64, 64)], PRECISIONS[precision])
    )
    errors = []
    for n, m in sizes:
        given = [side.map(lambda x: x.to(dtype).double()) for side in sides(n, m, d)]  # what is left after rounding
        expected, at = gradients(
            made(terms(d, True)[name], "cpu", torch.float64), *_leaves(given, "cpu", torch.float64)
        )
        with tf32(precision == "TF32"):
            value, found = gradients(made(terms(d)[name], on.device), *_leaves(given, on.device, dtype))
        errors.append((off(found, at), float((value - expected).abs() / expected.abs().clamp_min(1e-3))))
    gradient, value_off = (max(each) for each in zip(*errors, strict=True))
    within = WITHIN[precision]
    return {"figure": "gradient error", "value": gradient, "wanted": within, "value error": value_off}


def _default(on: Machine, make: Callable[..., ctl.Term], d: int) -> Row:
    n, m = (5, 3) if on.tiny else (128, 64)
    given = list(sides(n, m, d))
    _, at = gradients(make(tolerance=1e-9), *_leaves(given, "cpu", torch.float64))
    _, found = gradients(make(), *_leaves(given, on.device, torch.float32))
    return {"figure": "gradient error, defaults", "value": off(found, at), "wanted": 1e-3}


def _leaves(given: list[ctl.Rows], device: str, dtype: torch.dtype) -> list[ctl.Rows]:
    return [placed(side, device, dtype) for side in given]


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Whether products of float32 may be rounded to TF32, as LeRobot's trainer lets them."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
