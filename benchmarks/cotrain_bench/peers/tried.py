"""Every call of the libraries that is tried where such losses fail, with the loss it is; not timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .problems import RHO

Named = dict[str, tuple[str | None, Callable[..., Any]]]


def all_of_ours(eps: float) -> Named:
    """Every plain term."""
    from cotrain_losses import MMD, OptimalTransport, Sinkhorn
    from cotrain_losses.terms.mmd import CORAL, EnergyDistance

    return {
        "ours MMD": ("mmd", MMD()),
        "ours CORAL": ("coral", CORAL()),
        "ours energy distance": ("energy", EnergyDistance()),
        "ours entropic": ("balanced", OptimalTransport(eps)),
        "ours unbalanced": ("unbalanced", OptimalTransport(eps, unbalanced=RHO)),
        "ours exact": ("exact", OptimalTransport(0.0)),
        "ours divergence": ("divergence", Sinkhorn((eps / 2) ** 0.5)),
    }


def all_of_pot(eps: float) -> Named:
    import ot  # type: ignore[import-untyped]
    import torch

    def masses(x: Any, y: Any) -> list[Any]:
        return [torch.full((len(side),), 1.0 / len(side), dtype=x.dtype) for side in (x, y)]

    def sinkhorn2(method: str) -> Callable[..., Any]:
        return lambda x, y: ot.sinkhorn2(*masses(x, y), ot.dist(x, y), eps, method=method, numItermax=1000)

    def emd2(metric: str) -> Callable[..., Any]:
        return lambda x, y: ot.emd2(*masses(x, y), ot.dist(x, y, metric))

    def sample(x: Any, y: Any, **options: Any) -> Any:
        return ot.solve_sample(x, y, reg=eps, grad="envelope", **options).value

    def linear(x: Any, y: Any) -> Any:
        return ot.unbalanced.sinkhorn_unbalanced2(*masses(x, y), ot.dist(x, y), eps, RHO)

    def batch(x: Any, y: Any) -> Any:
        return ot.solve_sample_batch(x[None], y[None], reg=eps, grad="envelope").value.sum()

    def sliced(x: Any, y: Any) -> Any:
        axes = torch.randn(x.shape[1], 50, generator=torch.Generator().manual_seed(0))
        return ot.sliced_wasserstein_distance(x, y, projections=(axes / axes.norm(dim=0)).to(x))

    return {
        "POT sinkhorn2": (None, sinkhorn2("sinkhorn")),
        "POT sinkhorn2 log": (None, sinkhorn2("sinkhorn_log")),
        "POT sinkhorn2 stabilized": (None, sinkhorn2("sinkhorn_stabilized")),
        "POT solve_sample": ("balanced", sample),
        "POT solve_sample_batch": (None, batch),
        "POT solve_sample unbalanced": ("unbalanced", lambda x, y: sample(x, y, unbalanced=RHO)),
        "POT sinkhorn_unbalanced2": (None, linear),
        "POT emd2": ("exact", emd2("sqeuclidean")),
        "POT emd2 euclidean": (None, emd2("euclidean")),
        "POT sliced": (None, sliced),
        "POT empirical divergence": (None, lambda x, y: ot.bregman.empirical_sinkhorn_divergence(x, y, eps)),
    }


def all_of_geomloss(eps: float) -> Named:
    from geomloss import SamplesLoss  # type: ignore[import-untyped]
    from geomloss.ot import solve_sample  # type: ignore[import-untyped]

    def samples(name: str, **options: Any) -> Callable[..., Any]:
        loss = SamplesLoss(name, **options)
        return lambda x, y: loss(x, y)

    blur = (eps / 2) ** 0.5
    energy = samples("energy")
    return {
        "geomloss sinkhorn": ("divergence", samples("sinkhorn", p=2, blur=blur)),
        "geomloss sinkhorn .9": ("divergence", samples("sinkhorn", p=2, blur=blur, scaling=0.9)),
        "geomloss sinkhorn p=1": (None, samples("sinkhorn", p=1, blur=blur)),
        "geomloss energy": ("energy", lambda x, y: 2 * energy(x, y)),
        "geomloss gaussian": (None, samples("gaussian", blur=1.0)),
        "geomloss.ot solve_sample": (None, lambda x, y: solve_sample(x, y, reg=eps, max_iter=1000).value),
    }


def all_of_skada(eps: float) -> Named:
    from skada.deep.losses import dan_loss, deepcoral_loss

    return {"skada deepcoral": ("coral", deepcoral_loss), "skada dan_loss": (None, dan_loss)}


def all_of_pytorch_adapt(eps: float) -> Named:
    from pytorch_adapt.layers import CORALLoss, MMDLoss

    return {
        "pytorch-adapt MMD linear": (None, MMDLoss()),
        "pytorch-adapt MMD quadratic": (None, MMDLoss(mmd_type="quadratic")),
        "pytorch-adapt CORAL": ("coral", CORALLoss()),
    }


TRIED = {"ours": all_of_ours, "POT": all_of_pot, "geomloss": all_of_geomloss, "skada": all_of_skada}
TRIED["pytorch-adapt"] = all_of_pytorch_adapt
