"""Forward and backward of each loss, eager calls back to back, ours beside the peers that are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses.terms.mmd import CORAL, EnergyDistance

from ..peers.libraries import LIBRARIES
from ..peers.problems import EPS
from .machine import Machine, Row
from .problems import SIZES, WIDTHS, gradients, made, off, placed, sides

PEERS = ("POT", "geomloss", "flash-sinkhorn", "mdot-tnt")
LATE = "flash-sinkhorn"
NAMED = {"balanced": "OT", "divergence": "divergence", "mmd": "MMD", "energy": "energy", "coral": "CORAL"}
WANTED = {"OT": 1.0, "divergence": 1.5, "MMD": 0.7, "energy": 0.7, "CORAL": 0.7, "classifier": 2.0, "adversary": 2.0}
LAUNCHES = {"OT": 15, "MMD": 10}
Call = Callable[[Tensor, Tensor], Tensor]


def measured(on: Machine) -> Iterator[Row]:
    """Kernels of one call first, then times by size and width; last what compiles for long."""
    calls, missing = peers()
    for name, why in missing.items():
        yield {"what": name, "status": f"not run: {why}"}
    late = {
        loss: {peer: each.pop(peer) for peer in list(each) if peer.startswith(LATE)} for loss, each in calls.items()
    }
    for kept in (calls, late):
        yield from _every(on, kept)


def _every(on: Machine, calls: dict[str, dict[str, Call]]) -> Iterator[Row]:
    for loss, each in calls.items():
        _with_ours(each, loss, 64)
        for peer, call in each.items():
            yield on.tried(f"{loss}: {peer}, 256 x 256, d=64", partial(_launches, on, loss, peer, call))
    for n, m in [(6, 5)] if on.tiny else SIZES:
        for d in (8,) if on.tiny else WIDTHS:
            for loss, each in calls.items():
                _with_ours(each, loss, d)
                yield from _compared(on, loss, each, n, m, d)


def _with_ours(each: dict[str, Call], loss: str, d: int) -> None:
    if "ours" in each:
        ours(each, loss, d)


def ours(each: dict[str, Call], loss: str, d: int) -> None:
    """Put our term for features of width d among the calls of a loss."""
    makes: dict[str, Callable[[], ctl.Term]] = {
        "OT": lambda: ctl.OptimalTransport(EPS),
        "divergence": lambda: ctl.Sinkhorn((EPS / 2) ** 0.5),
        "MMD": lambda: ctl.MMD(),
        "energy": lambda: EnergyDistance(),
        "CORAL": lambda: CORAL(),
        "classifier": lambda: ctl.DomainClassifier(d),
        "adversary": lambda: ctl.DomainAdversary(d),
    }
    each["ours"] = made(makes[loss], "cpu")


def peers() -> tuple[dict[str, dict[str, Call]], dict[str, str]]:
    """{loss: {peer: call}} with ours first, and the libraries that are missing."""
    calls: dict[str, dict[str, Call]] = {loss: {"ours": torch.dist} for loss in WANTED}
    missing = {}
    for name in PEERS:
        try:
            for loss, each in LIBRARIES[name]().items():
                calls.get(NAMED.get(loss, ""), {}).update(each)
        except Exception as error:  # whatever another library raises is a row, not an end
            missing[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    for loss, call in PLAIN.items():
        calls[loss]["plain torch"] = call
    return calls, missing


def _launches(on: Machine, loss: str, peer: str, call: Any) -> Row:
    job = _job(on, call, *_rows(on, 256, 256, 64), torch.float32)
    wanted = {"wanted": LAUNCHES[loss]} if peer == "ours" and loss in LAUNCHES else {}
    return {"figure": f"kernels, {loss}", "peer": peer, "value": on.kernels(job), **wanted}


def _compared(on: Machine, loss: str, each: dict[str, Call], n: int, m: int, d: int) -> Iterator[Row]:
    if not each:
        return
    x, y = _rows(on, n, m, d)
    at = on.tried("reference", lambda: {"at": _reference(loss, x, y)}).get("at")
    for peer, call in each.items():
        for dtype in (torch.float32, torch.bfloat16) if peer == "ours" else (torch.float32,):
            name = f"{loss}: {peer}, {n} x {m}, d={d}, {str(dtype).removeprefix('torch.')}"
            yield on.tried(name, partial(_time, on, loss, peer, call, x, y, dtype, at))


def _time(
    on: Machine, loss: str, peer: str, call: Any, x: Tensor, y: Tensor, dtype: torch.dtype, at: Tensor | None
) -> Row:
    job = _job(on, call, x, y, dtype)
    found = torch.cat(job()).cpu().double()
    row: Row = {
        "figure": f"ms, {loss}",
        "peer": peer,
        "value": on.milliseconds(job, *((10, 5) if peer == "ours" else (3, 3))),
    }
    row |= {"gradient error": off(found, at)} if at is not None and dtype == torch.float32 else {}
    return row | ({"wanted": WANTED[loss]} if peer == "ours" else {})


def job_of(on: Machine, loss: str, d: int, dtype: torch.dtype = torch.float32) -> Callable[[], Any]:
    """Forward and backward of our term for a loss, at 64 rows a side of width d."""
    each: dict[str, Call] = {}
    ours(each, loss, d)
    return _job(on, each["ours"], *_rows(on, 64, 64, d), dtype)


def _job(on: Machine, call: Any, x: Tensor, y: Tensor, dtype: torch.dtype) -> Callable[[], Any]:
    left, right = (side.to(on.device, dtype).requires_grad_() for side in (x, y))
    call = call.to(on.device) if isinstance(call, torch.nn.Module) else call
    return lambda: torch.autograd.grad(call(left, right), [left, right])


def _rows(on: Machine, n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    n, m, d = (min(x, 8) if on.tiny else x for x in (n, m, d))
    x, y = (side.features / d**0.5 for side in sides(n, m, d))
    return x.detach(), y.detach()


def _reference(loss: str, x: Tensor, y: Tensor) -> Tensor | None:
    tight = {"tolerance": 1e-9, "max_iterations": 20000}
    terms = {"OT": ctl.OptimalTransport(EPS, **tight), "divergence": ctl.Sinkhorn((EPS / 2) ** 0.5, **tight)}  # type: ignore[arg-type]
    term = terms.get(loss)
    pair = (placed(ctl.Rows(side), "cpu", torch.float64) for side in (x, y))
    return None if term is None else gradients(term, *pair)[1]


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """What other libraries do: five Gaussians of all pooled pairs, about the mean distance."""
    n, pooled = len(x), torch.cat([x, y])
    squared = torch.cdist(pooled, pooled).square()
    width = squared.detach().sum() / (len(pooled) * (len(pooled) - 1))
    kernel = torch.stack([torch.exp(-squared / (2 * s * s * width)) for s in (0.25, 0.5, 1.0, 2.0, 4.0)]).mean(0)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def energy(x: Tensor, y: Tensor) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'|."""
    return 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()


def coral(x: Tensor, y: Tensor) -> Tensor:
    """|C_x - C_y|^2 / (4 d^2)."""
    apart = torch.cov(x.T) - torch.cov(y.T)
    return apart.square().sum() / (4 * x.shape[1] ** 2)


PLAIN: dict[str, Call] = {"MMD": mmd, "energy": energy, "CORAL": coral}
