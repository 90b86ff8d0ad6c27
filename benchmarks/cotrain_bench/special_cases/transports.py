"""Transport losses: POT's and geomloss's plans, costs entry by entry."""

from __future__ import annotations

import math
import warnings

import numpy as np
import ot  # type: ignore[import-untyped]
import torch
from torch import Tensor

from cotrain_losses import Method, recipes

from .case import Answer, case, loss
from .draws import Draw
from .kernels import squared

CLASSES = {"label": "label", "prediction": "logits", "loss": "cross_entropy"}


@case("ot", lambda draw: recipes.ot(ratio=draw.ratio, blur=draw.blur, tolerance=1e-9), tolerance=1e-4)
def ot_written(draw: Draw, method: Method) -> Answer:
    r"""Lei et al. 2026 (as a Sinkhorn divergence) against POT sinkhorn, three problems

    S_\epsilon(\alpha, \beta) = OT_\epsilon(\alpha, \beta) - \frac{1}{2} OT_\epsilon(\alpha, \alpha) - \frac{1}{2}
    OT_\epsilon(\beta, \beta), \quad c = \frac{1}{2}|x - y|^2,\ \epsilon = \mathrm{blur}^2

    Cost |x - y|^2 / 2 and eps = blur^2, as geomloss has them; POT's reg for the full cost is 2 eps and its value twice.
    The publication names OT without its form.
    """
    x, y = draw.source.features, draw.target.features
    cross, own, others = (entropic_value(squared(*pair) / 2, draw.blur**2) for pair in ((x, y), (x, x), (y, y)))
    return loss(0.1 * (cross - own / 2 - others / 2), draw)


@case("ot, wide blur", lambda draw: recipes.ot(ratio=draw.ratio, blur=2.5 * draw.blur, tolerance=1e-9), tolerance=1e-4)
def ot_geomloss(draw: Draw, method: Method) -> Answer:
    r"""Lei et al. 2026 (as a Sinkhorn divergence) against geomloss SamplesLoss, scaling 0.999

    S_\epsilon(\alpha, \beta)

    geomloss follows a fixed schedule of blurs instead of a tolerance, so values are compared; POT's converged plans are
    the oracle for gradients (row above).
    """
    from geomloss import SamplesLoss  # type: ignore[import-untyped]

    divergence = SamplesLoss("sinkhorn", p=2, blur=2.5 * draw.blur, scaling=0.999, backend="tensorized")
    return Answer(0.1 * divergence(draw.source.features, draw.target.features))


def state_cost(draw: Draw) -> Tensor:
    """0.01 |z_i - z_j|^2 + 0.05 |s_i - s_j|^2, states held fixed."""
    states = squared(draw.source.extras["state"], draw.target.extras["state"])
    return 0.01 * squared(draw.source.features, draw.target.features) + 0.05 * states.detach()


@case("uot", lambda draw: recipes.uot(ratio=draw.ratio, tolerance=1e-9), tolerance=1e-4)
def uot_written(draw: Draw, method: Method) -> Answer:
    r"""Cheng et al. 2025 (dense) against POT sinkhorn_knopp_unbalanced, reg_type='kl'

    0.1\,\langle \mathrm{sg}\,P, C\rangle, \quad C_{ij} = 0.01\,|z_i - z_j|^2 + 0.05\,|\mathrm{sg}(s_i - s_j)|^2, \quad
    P = \arg\min_{P \geq 0} \langle P, C\rangle + \epsilon\,KL(P|R) + \tau KL(P1|a) + \tau KL(P^T1|b), \quad R = a b^T

    The published loss holds the plan fixed: value="linear". Reference a b', POT's default since 0.9.5; cost |x - y|^2;
    states carry no gradient.
    """
    cost = state_cost(draw)
    return loss(0.1 * (unbalanced_plan(cost, 0.1, 0.05, "kl") * cost).sum(), draw)


@case("uot, ones", lambda draw: recipes.uot(ratio=draw.ratio, reference="ones", tolerance=1e-9), tolerance=1e-4)
def uot_ones_written(draw: Draw, method: Method) -> Answer:
    r"""Cheng et al. 2025 (dense, reference 1 1') against POT sinkhorn_knopp_unbalanced, reg_type='entropy'

    0.1\,\langle \mathrm{sg}\,P, C\rangle, \quad R = 1 1^T

    The published loss holds the plan fixed: value="linear". Reference 1 1': what the same call meant in POT before
    0.9.5.
    """
    cost = state_cost(draw)
    return loss(0.1 * (unbalanced_plan(cost, 0.1, 0.05, "entropy") * cost).sum(), draw)


@case("uot, diagonal", lambda draw: recipes.uot(ratio=draw.ratio, reference="diagonal"), paired=True)
def uot_diagonal_written(draw: Draw, method: Method) -> Answer:
    r"""Cheng et al. 2025 (paired) against the closed form, which POT with c = I / n is asserted to be

    0.1 \cdot \frac{1}{n}\sum_i C_{ii}\, e^{-\mathrm{sg}\,C_{ii} / (\epsilon + \tau_1 + \tau_2)}, \quad R = I / n

    The published loss holds the plan fixed: value="linear". Row i goes to row i or nowhere, so n = m here. In POT since
    0.9.5 a given c is the reference.
    """
    cost = state_cost(draw)
    n = len(cost)
    by_pot = unbalanced_plan(cost, 0.1, 0.05, "kl", torch.eye(n, dtype=cost.dtype) / n)
    closed = torch.diag(torch.exp(-cost.diagonal().detach() / (0.1 + 0.05 + 0.05)) / n)
    if not torch.allclose(by_pot, closed, rtol=1e-9, atol=0.0):
        raise ArithmeticError("POT with c = I / n is the closed form, which this run does not find.")
    return loss(0.1 * (closed * cost).sum(), draw)


def cross_entropies(draw: Draw) -> Tensor:
    """- sum_c y_ic log softmax(f_j)_c for all source labels and target predictions."""
    probabilities = torch.exp(draw.target.extras["logits"])
    probabilities = probabilities / probabilities.sum(1, keepdim=True)
    labels = draw.source.extras["label"]
    return torch.stack([torch.stack([-(y * p.log()).sum() for p in probabilities]) for y in labels])


@case("deepjdot", lambda draw: recipes.deepjdot(labels=recipes.LabelCost(**CLASSES, weight=1e-4)))
def deepjdot_written(draw: Draw, method: Method) -> Answer:
    r"""Damodaran et al. 2018 (DeepJDOT) against POT emd

    \langle \mathrm{sg}\,P, C\rangle, \quad C_{ij} = \alpha |z_i - z_j|^2 - \lambda\, y_i^T \log \mathrm{softmax}(f_j)

    The published loss holds the plan fixed: value="linear". One cost finds and weighs the plan, as in the paper;
    predictions are live.
    """
    features = squared(draw.source.features, draw.target.features)
    cost = 0.001 * features + 1e-4 * cross_entropies(draw)
    return loss((exact_plan(cost) * cost).sum(), draw)


@case(
    "deepjdot, actions",
    lambda draw: recipes.deepjdot(features=0.1, labels=recipes.LabelCost("action", "action_hat", weight=0.5)),
)
def jdot_actions_written(draw: Draw, method: Method) -> Answer:
    r"""Courty et al. 2017 (JDOT with the squared loss) against POT emd

    \langle \mathrm{sg}\,P, C\rangle, \quad C_{ij} = \alpha |z_i - z_j|^2 + \lambda\, |a_i - \hat{a}_j|^2

    The published loss holds the plan fixed: value="linear". Actions in place of labels: squared error, chunks summed
    over steps.
    """
    labels = squared(draw.source.extras["action"], draw.target.extras["action_hat"])
    cost = 0.1 * squared(draw.source.features, draw.target.features) + 0.5 * labels
    return loss((exact_plan(cost) * cost).sum(), draw)


@case(
    "jumbot",
    lambda draw: recipes.jumbot(labels=recipes.LabelCost(**CLASSES, weight=0.5), tolerance=1e-9),
    tolerance=1e-4,
)
def jumbot_written(draw: Draw, method: Method) -> Answer:
    r"""Fatras et al. 2021 (JUMBOT) against POT sinkhorn_knopp_unbalanced, reg_type='entropy'

    \langle \mathrm{sg}\,P, C\rangle, \quad C_{ij} = \alpha |z_i - z_j|^2 - \lambda\, y_i^T \log \mathrm{softmax}(f_j),
    \quad R = 1 1^T

    The published loss holds the plan fixed: value="linear". Reference 1 1', that of the POT versions it was published
    with.
    """
    features = squared(draw.source.features, draw.target.features)
    cost = 0.01 * features + 0.5 * cross_entropies(draw)
    return loss((unbalanced_plan(cost, 0.01, 0.5, "entropy") * cost).sum(), draw)


@case("egobridge", lambda draw: recipes.egobridge(ratio=draw.ratio, tolerance=1e-9), tolerance=1e-4, scale=0.07)
def egobridge_written(draw: Draw, method: Method) -> Answer:
    r"""Punamiya et al. 2025 (EgoBridge) against POT sinkhorn; soft-DTW as a loop

    \langle \mathrm{sg}\,P, C\rangle, \quad C_{ij} = \frac{1}{2} |z_i - z_j|^2 \cdot (\lambda\ \mathrm{if}\ i =
    \arg\min_k DTW(a_k, a_j)\ \mathrm{else}\ 1)

    The published loss holds the plan fixed: value="linear". The paper's form; cost |x - y|^2 / 2 and eps = 0.05^2. One
    discounted source row per target row.
    """
    source, target = draw.source.extras["action"], draw.target.extras["action"]
    factor = torch.ones(len(source), len(target), dtype=torch.float64)
    for j, y in enumerate(target):
        factor[int(np.argmin([soft_dtw(x, y) for x in source])), j] = 0.5
    cost = factor * squared(draw.source.features, draw.target.features) / 2
    return loss(0.7 * (balanced_plan(cost, 0.05**2) * cost).sum(), draw)


def entropic_value(cost: Tensor, eps: float) -> Tensor:
    """<P, C> + eps KL(P | a b') at POT's plan, which is held fixed."""
    plan = balanced_plan(cost, eps)
    return (plan * cost).sum() + eps * (plan * torch.log(plan.clamp_min(1e-300) * cost.numel())).sum()


def balanced_plan(cost: Tensor, eps: float) -> Tensor:
    """POT's entropic plan between uniform masses."""
    a, b = (np.full(n, 1 / n) for n in cost.shape)
    return torch.from_numpy(ot.sinkhorn(a, b, cost.detach().numpy(), eps, numItermax=20_000, stopThr=1e-9))


def unbalanced_plan(cost: Tensor, reg: float, tau: float, entropy: str, reference: Tensor | None = None) -> Tensor:
    """POT's plan between uniform masses."""
    a, b = (np.full(n, 1 / n) for n in cost.shape)
    settings = {"reg_type": entropy, "c": None if reference is None else reference.numpy(), "numItermax": 100_000}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "If reg_type = entropy")  # said whenever that entropy is asked for
        plan = ot.unbalanced.sinkhorn_knopp_unbalanced(a, b, cost.detach().numpy(), reg, tau, stopThr=1e-14, **settings)
    return torch.from_numpy(plan)


def exact_plan(cost: Tensor) -> Tensor:
    """POT's optimal plan between uniform masses."""
    a, b = (np.full(n, 1 / n) for n in cost.shape)
    return torch.from_numpy(ot.emd(a, b, cost.detach().numpy()))


def soft_dtw(x: Tensor, y: Tensor, gamma: float = 0.1) -> float:
    """r_ij = |x_i - y_j|^2 - gamma log sum exp(-{r_i-1,j-1, r_i-1,j, r_i,j-1} / gamma)."""
    r = np.full((len(x) + 1, len(y) + 1), np.inf)
    r[0, 0] = 0.0
    for i in range(len(x)):
        for j in range(len(y)):
            before = np.array([r[i, j], r[i, j + 1], r[i + 1, j]])
            least = before.min()
            soft = least - gamma * math.log(np.exp(-(before - least) / gamma).sum())
            r[i + 1, j + 1] = float((x[i] - y[j]).square().sum()) + soft
    return float(r[-1, -1])
