"""The terms that are measured, and rows for them: on the CPU in float64 first, so that every device has the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses import DomainAdversary, DomainClassifier, OptimalTransport, Rows, Sinkhorn
from cotrain_losses.terms import AuxiliaryRegression
from cotrain_losses.terms.mmd import CORAL, EnergyDistance
from cotrain_losses.terms.transport import Block

SIZES = ((58, 6), (230, 26), (64, 64), (256, 256))
"""(source, target)"""
WIDTHS = (64, 512, 2048)
PARTS = ("action", "state")


def terms(d: int, tight: bool = False) -> dict[str, Callable[[], ctl.Term]]:
    """Every term, made for features of width d; `tight`: solved to 1e-9, as a reference is."""
    more: dict[str, Any] = {"tolerance": 1e-9, "max_iterations": 20000} if tight else {}
    blocks = (Block(), Block("action", 0.5), Block("state", 0.2, detach=True))
    conditional = {"action": 12, "state": 5}
    return {
        "MMD()": lambda: ctl.MMD(),
        "MMD(4.0)": lambda: ctl.MMD(4.0),
        'MMD("mean")': lambda: ctl.MMD("mean"),
        "MMD, biased": lambda: ctl.MMD(estimator="biased"),
        "MMD, linear": lambda: ctl.MMD(estimator="linear"),
        "MMD, joint": lambda: ctl.MMD(extras=PARTS),
        "EnergyDistance()": lambda: EnergyDistance(),
        "CORAL()": lambda: CORAL(),
        "CORAL(mean=True)": lambda: CORAL(mean=True),
        "Sinkhorn()": lambda: Sinkhorn(**more),
        "Sinkhorn(0.5)": lambda: Sinkhorn(0.5, **more),
        "Sinkhorn(0.5, reach=1)": lambda: Sinkhorn(0.5, reach=1.0, **more),
        "OptimalTransport()": lambda: OptimalTransport(**more),
        "OptimalTransport(1)": lambda: OptimalTransport(1.0, **more),
        "OptimalTransport(1), linear": lambda: OptimalTransport(1.0, value="linear", **more),
        "OptimalTransport(1), unbalanced": lambda: OptimalTransport(1.0, unbalanced=2.0, **more),
        "OptimalTransport(1), ones": lambda: OptimalTransport(1.0, reference="ones", unbalanced=2.0, **more),
        "OptimalTransport(1), blocks": lambda: OptimalTransport(1.0, cost=blocks, **more),
        "OptimalTransport(0)": lambda: OptimalTransport(0.0),
        "DomainClassifier": lambda: DomainClassifier(d),
        "DomainClassifier, penalty": lambda: DomainClassifier(d, penalty=0.1),
        "DomainClassifier, conditional": lambda: DomainClassifier(d, conditional=conditional),
        "DomainAdversary": lambda: DomainAdversary(d),
        "AuxiliaryRegression": lambda: AuxiliaryRegression(d, "action", 12),
    }


def rows(n: int, d: int, seed: int, shift: float = 0.0) -> Rows:
    """(n, d) N(shift, 1) features, and an action (n, 4, 3) and a state (n, 5), in float64 on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    features, action, state = (
        torch.randn(n, *shape, generator=generator, dtype=torch.float64) for shape in ((d,), (4, 3), (5,))
    )
    return Rows(features + shift, {"action": action, "state": state})


def sides(n: int, m: int, d: int) -> tuple[Rows, Rows]:
    """n source and m target rows of width d."""
    return rows(n, d, 1), rows(m, d, 2, 0.5)


def placed(side: Rows, device: str, dtype: torch.dtype) -> Rows:
    """The same rows on a device; their features are leaves that want a gradient."""
    there = side.map(lambda x: x.to(device, dtype))
    return replace(there, features=there.features.requires_grad_())


def made(make: Callable[[], ctl.Term], device: str, dtype: torch.dtype = torch.float32) -> ctl.Term:
    """A term with the same parameters wherever it is made."""
    torch.manual_seed(0)
    return make().to(device=device, dtype=dtype)


def gradients(term: Any, source: Rows, target: Rows) -> tuple[Tensor, Tensor]:
    """The value, and the gradients at both sides in one (n + m, d), on the CPU in float64."""
    value = term(source, target)
    at = torch.autograd.grad(value, [source.features, target.features])
    return value.detach().cpu().double(), torch.cat(at).cpu().double()


def off(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|."""
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))
