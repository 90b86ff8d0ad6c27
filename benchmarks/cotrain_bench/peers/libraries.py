"""Each library's call for each loss: {loss: {name: call(x, y) -> scalar}}, made where the library can be imported.

A torch call gets two float32 tensors that want gradients.  Every factor between definitions is taken out here, so
that gradients can be compared: geomloss's cost is half of |x - y|^2, so its transport is doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .problems import EPS, RHO

Calls = dict[str, dict[str, Callable[..., Any]]]


def ours() -> Calls:
    from cotrain_losses import MMD, OptimalTransport, Sinkhorn

    terms: dict[str, Callable[..., Any]] = {"balanced": OptimalTransport(EPS), "exact": OptimalTransport(0.0)}
    terms |= {"unbalanced": OptimalTransport(EPS, unbalanced=RHO), "divergence": Sinkhorn((EPS / 2) ** 0.5)}
    terms["mmd"] = MMD()
    return {loss: {"ours": term} for loss, term in terms.items()}


def pot() -> Calls:
    import ot  # type: ignore[import-untyped]
    import torch

    def sample(**options: Any) -> Callable[..., Any]:
        return lambda x, y: ot.solve_sample(x, y, reg=EPS, max_iter=100, tol=1e-4, **options).value

    def emd2(x: Any, y: Any) -> Any:
        mass = torch.full((len(x),), 1.0 / len(x), device=x.device)
        return ot.emd2(mass, mass, ot.dist(x, y))

    return {
        "balanced": {"POT envelope": sample(grad="envelope"), "POT autodiff": sample(grad="autodiff")},
        "unbalanced": {"POT envelope": sample(grad="envelope", unbalanced=RHO)},
        "exact": {"POT emd2": emd2},
    }


def _transports(name: str, samples_loss: Callable[..., Any], **options: Any) -> Calls:
    """A library's `SamplesLoss` as the three losses with entropy."""

    def sinkhorn(factor: float, **more: Any) -> Callable[..., Any]:
        loss = samples_loss("sinkhorn", blur=(EPS / 2) ** 0.5, **options, **more)
        return lambda x, y: factor * loss(x, y).squeeze()

    return {
        "balanced": {name: sinkhorn(2.0, debias=False)},
        "unbalanced": {name: sinkhorn(2.0, debias=False, reach=(RHO / 2) ** 0.5)},
        "divergence": {name: sinkhorn(1.0, debias=True)},
    }


def geomloss() -> Calls:
    from geomloss import SamplesLoss  # type: ignore[import-untyped]

    def gaussians(x: Any, y: Any) -> Any:
        return sum(SamplesLoss("gaussian", blur=blur)(x, y) for blur in (0.35, 0.7, 1.4, 2.8, 5.6))

    coarse, fine = (_transports(f"geomloss scaling {s}", SamplesLoss, p=2, scaling=s) for s in (0.5, 0.9))
    return {**{loss: coarse[loss] | fine[loss] for loss in coarse}, "mmd": {"geomloss, 5 gaussians": gaussians}}


def skada() -> Calls:
    from skada.deep.losses import dan_loss

    return {"mmd": {"skada dan_loss": lambda x, y: dan_loss(x, y, sigmas=[0.25, 0.5, 1.0, 2.0, 4.0])}}


def pytorch_adapt() -> Calls:
    from pytorch_adapt.layers import MMDLoss
    from pytorch_adapt.layers.utils import get_kernel_scales

    loss = MMDLoss(kernel_scales=get_kernel_scales(low=-2, high=2, num_kernels=5), mmd_type="quadratic")
    return {"mmd": {"pytorch-adapt, quadratic": loss}}


def ott() -> Calls:
    import jax
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    def jitted(power: float) -> Callable[..., Any]:
        def cost(x: Any, y: Any) -> Any:
            geometry = pointcloud.PointCloud(x, y, epsilon=EPS)
            problem = linear_problem.LinearProblem(geometry, tau_a=power, tau_b=power)
            return sinkhorn.Sinkhorn(threshold=1e-4, max_iterations=100)(problem).reg_ot_cost

        jitted: Callable[..., Any] = jax.jit(jax.value_and_grad(cost, argnums=(0, 1)))
        return jitted

    powers = {"balanced": 1.0, "unbalanced": RHO / (RHO + EPS)}
    return {loss: {"OTT-JAX, jitted": jitted(power)} for loss, power in powers.items()}


def keops() -> Calls:
    import pykeops  # noqa: F401  geomloss says too late that it is missing
    from geomloss import SamplesLoss

    return _transports("KeOps, geomloss .9", SamplesLoss, p=2, scaling=0.9, backend="online")


def flash_sinkhorn() -> Calls:
    from flash_sinkhorn import SamplesLoss

    return _transports("flash-sinkhorn", SamplesLoss, half_cost=True, allow_tf32=False)


def mdot_tnt() -> Calls:
    import torch
    from mdot_tnt import solve_OT

    def envelope(x: Any, y: Any) -> Any:
        cost = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
        most = cost.detach().max()
        mass = torch.full((len(x),), 1.0 / len(x), device=x.device)
        # gamma weighs costs in [0, 1]; the plan of a mirror descent, whose entropy is that of its last step
        plan = solve_OT(mass, mass, cost.detach() / most, gamma_f=float(most / EPS), return_plan=True, round=False)
        return (plan * cost).sum()

    return {"balanced": {"mdot-tnt": envelope}}


def floor(loss: str, x: Any, y: Any) -> None:
    """What any method does at least: for each block of pairs a product, an exponential, products with vectors, pulls.

    Transport has one block and six rounds of two products with a vector; a divergence also has the two blocks of each
    side with itself, where one potential does (six products with a vector, one pull); MMD has all three and no rounds.
    """
    import numpy as np

    exp = np.exp if isinstance(x, np.ndarray) else type(x).exp

    def block(left: Any, right: Any, rounds: int) -> None:
        kernel = exp(left @ right.T)
        v = 0 * right[:, 0] + 1.0 / len(right)
        for _ in range(rounds):
            u = 1.0 / (kernel @ v)
            v = u if left is right else 1.0 / (u @ kernel)
        kernel @ right
        if left is not right:
            kernel.T @ left

    rounds = 0 if loss == "mmd" else 6
    block(x, y, rounds)
    if loss in ("mmd", "divergence"):
        block(x, x, rounds)
        block(y, y, rounds)


LIBRARIES = {"ours": ours, "POT": pot, "geomloss": geomloss, "skada": skada, "pytorch-adapt": pytorch_adapt}
LIBRARIES |= {"OTT-JAX": ott, "KeOps": keops, "flash-sinkhorn": flash_sinkhorn, "mdot-tnt": mdot_tnt}
