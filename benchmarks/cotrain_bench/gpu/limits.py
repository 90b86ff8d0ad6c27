"""What a term holds at many rows, and what a batch that is not finite does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from unittest import mock

import torch

import cotrain_losses as ctl

from .machine import Machine, Row
from .problems import made, placed, sides, terms

LARGE = ("MMD()", "EnergyDistance()", "CORAL()", "Sinkhorn()", "OptimalTransport()", "DomainClassifier")


def memory(on: Machine) -> Iterator[Row]:
    """The peak of each term at n = m = 4096, d = 512, in (n, m) float32 matrices, with kernels and by torch alone."""
    for name in LARGE:
        if on.cuda:
            yield on.tried(f"{name}, n = m = 4096, d=512", partial(_peak, on, name))
        yield on.tried(f"{name}, by torch alone", partial(_alone, on, name))


def _peak(on: Machine, name: str) -> Row:
    n, held = _held(on, name, on.device)
    return {"figure": "(n, m) matrices held", "value": held / (4 * n * n), "wanted": 8, "MiB": held / 2**20}


def _alone(on: Machine, name: str) -> Row:
    """Without kernels; off a GPU counted on the meta device, where nothing is computed."""
    with mock.patch.dict(os.environ, COTRAIN_LOSSES_TRITON="0"):
        n, held = _held(on, name, on.device if on.cuda else "meta")
    return {"figure": "(n, m) matrices held by torch alone", "value": held / (4 * n * n), "MiB": held / 2**20}


def _held(on: Machine, name: str, device: str) -> tuple[int, int]:
    n, d = (64, 16) if on.tiny and on.cuda else (4096, 512)
    term = made(terms(d)[name], device)
    pair = [placed(ctl.Rows(side.features), device, torch.float32) for side in sides(n, n, d)]
    return n, on.peak(lambda: torch.autograd.grad(term(*pair), [side.features for side in pair]))


def bad_batches(on: Machine) -> Iterator[Row]:
    """A NaN and an infinity give a loss that is not finite, and the device goes on; a scaler skips the step."""
    for name in terms(8):
        if name not in ("OptimalTransport(0)", "MMD, linear"):
            for bad in (float("nan"), float("inf")):
                yield on.tried(f"{name}, {bad}", partial(_bad, on, name, bad))
    yield on.tried("an overflowing float16 step under a GradScaler", partial(_skipped, on))


def _bad(on: Machine, name: str, bad: float) -> Row:
    source, target = sides(6, 5, 8)
    source.features[1, 2] = bad
    regularizer = 0.1 * made(terms(8)[name], on.device)
    pair = [placed(side, on.device, torch.float32) for side in (source, target)]
    said, finite = "", False
    try:
        finite = bool(regularizer(*pair).isfinite())
        regularizer.flags.read()
    except ValueError as error:
        said = str(error).splitlines()[0]
    alive = float(torch.ones(3, device=on.device).sum()) == 3.0
    right = not finite and "must be finite" in said and alive
    return {"figure": "bad batches told", "value": int(right), "wanted": 1, "said": said}


def _skipped(on: Machine) -> Row:
    torch.manual_seed(0)
    net = torch.nn.Linear(8, 16).to(on.device)
    optimizer, regularizer = torch.optim.SGD(net.parameters(), 1e-3), 0.1 * ctl.MMD()
    scaler = torch.amp.GradScaler(on.device, init_scale=2.0**16)
    before = net.weight.detach().clone()
    z = net(torch.full((8, 8), float("inf"), device=on.device))
    try:
        scaler.scale(z.square().mean() + regularizer(z[:4], z[4:])).backward()
        scaler.step(optimizer)
        scaler.update()
    except ValueError:
        if not on.device == "cpu":  # there the message comes at once
            raise
    return {"figure": "bad batches told", "value": int(torch.equal(net.weight, before)), "wanted": 1}
