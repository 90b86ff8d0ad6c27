"""The lattice: which setting turns one method into another, each edge checked on drawn inputs.

An equality holds to rounding; a limit is taken at a large (or small) setting and holds to the tolerance that is stated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from cotrain_losses import MMD, DomainGuidance, Method, OptimalTransport, Sinkhorn, recipes
from cotrain_losses.importance import EmpiricalMixture, optimal_score
from cotrain_losses.mixing import natural_ratio
from cotrain_losses.mixing.pairing import Alignment, NearestByDTW, PairedSampler
from cotrain_losses.terms.transport import Block

from . import estimators, seams
from .case import Answer, at_the_features, doubled, gradients, loss, relative_error
from .drawn import Draw, drawn
from .games import classifier
from .kernels import squared
from .transports import CLASSES

Pair = tuple[Answer, Answer]


@dataclass(frozen=True)
class Edge:
    """`start` becomes `end` by `setting`.

    Args:
        kind: "equality" or "limit".
        answers: what both are on a draw.
    """

    start: str
    end: str
    setting: str
    kind: str
    answers: Callable[[Draw], Pair]
    tolerance: float = 1e-6
    paired: bool = False

    def error(self, draws: int, seed: int = 0) -> float:
        """The worst relative difference of values and gradients over the draws."""
        return max(_difference(*self.answers(drawn(seed + k, paired=self.paired))) for k in range(draws))


def _difference(first: Answer, second: Answer) -> float:
    groups = zip(first.gradients, second.gradients, strict=True)
    return max([relative_error([first.value], [second.value]), *(relative_error(*group) for group in groups)])


def made(draw: Draw, recipe: Callable[[], Method]) -> Method:
    """A recipe's method in float64, with the initial weights of the draw."""
    torch.manual_seed(draw.seed)
    return doubled(recipe(), draw)


def at(draw: Draw, method: Method) -> Answer:
    """Value and gradients at the features only."""
    found = at_the_features(draw, method)
    return Answer(found.value, found.gradients[:1])


def transport(draw: Draw, reg: float, **settings: object) -> Answer:
    """<P, C> of one transport problem."""
    settings = {"value": "linear", "tolerance": 1e-9, "max_iterations": 20_000, **settings}
    return at(draw, Method(regularizer=1.0 * OptimalTransport(reg, **settings)))  # type: ignore[arg-type]


STATES = (Block(weight=0.01), Block("state", weight=0.05, detach=True))


def unbalanced_to_balanced(draw: Draw) -> Pair:
    return transport(draw, 0.1, unbalanced=1e6, cost=STATES), transport(draw, 0.1, cost=STATES)


def values(first: Answer, second: Answer) -> Pair:
    """Values only: near an exact plan the gradient jumps wherever two plans tie."""
    return Answer(first.value), Answer(second.value)


def entropic_to_exact(draw: Draw) -> Pair:
    return values(transport(draw, 1e-3), transport(draw, 0.0))


def jumbot_to_deepjdot(draw: Draw) -> Pair:
    cost = (Block(weight=0.01), recipes.LabelCost(**CLASSES, weight=0.5))
    near = transport(draw, 1e-4, unbalanced=1e4, cost=cost, reference="ones")
    return values(near, transport(draw, 0.0, cost=cost))


def references_agree_when_balanced(draw: Draw) -> Pair:
    return transport(draw, 0.1, cost=STATES, reference="ones"), transport(draw, 0.1, cost=STATES)


def diagonal_to_matching(draw: Draw) -> Pair:
    matching = squared(draw.source.features, draw.target.features).diagonal().mean()
    return transport(draw, 0.1, unbalanced=1e8, reference="diagonal"), loss(matching, draw)


def egobridge_to_entropic(draw: Draw) -> Pair:
    pairing = NearestByDTW(discount=1.0, gamma=0.1)
    return transport(draw, 0.5, pairing=pairing), transport(draw, 0.5)


def sinkhorn_to_means(draw: Draw) -> Pair:
    ours = at(draw, Method(regularizer=1.0 * Sinkhorn(blur=1e3, tolerance=1e-12)))
    return ours, loss(means(draw) / 2, draw)


def sinkhorn_to_exact(draw: Draw) -> Pair:
    sharp = at(draw, Method(regularizer=1.0 * Sinkhorn(blur=0.01, tolerance=1e-9)))
    return values(sharp, transport(draw, 0.0, cost=Block(weight=0.5)))


def means(draw: Draw) -> Tensor:
    """|mean x - mean y|^2."""
    return (draw.source.features.mean(0) - draw.target.features.mean(0)).square().sum()


def mmd_to_means(draw: Draw) -> Pair:
    wide = MMD(1e3, scales=(1.0,), estimator="biased")
    return at(draw, Method(regularizer=1e6 * wide)), loss(means(draw), draw)


def jan_to_mmd(draw: Draw) -> Pair:
    constant = [
        replace(r, extras={**r.extras, "action": torch.zeros(len(r), 1).double()}) for r in (draw.source, draw.target)
    ]
    flat = replace(draw, source=constant[0], target=constant[1])
    at_flat, plain = (recipes.jan(strength=0.1).regularizer, recipes.mmd().regularizer)
    sides = draw.source.features, draw.target.features
    answers = [r(flat.source, flat.target) for r in (at_flat, plain)]  # type: ignore[misc]
    first, second = (Answer(value, (gradients(value, sides),)) for value in answers)
    return first, second


def dann_to_adda(draw: Draw) -> Pair:
    end = replace(draw, step=1000)
    peak = 2 / (1 + math.exp(-10)) - 1
    dann, adda = lambda: recipes.dann(draw.width, steps=1000), lambda: recipes.adda(draw.width, strength=peak)
    return at_the_features(end, made(draw, dann)), at_the_features(end, made(draw, adda))


def adda_to_probe(draw: Draw) -> Pair:
    watched = at_the_features(draw, made(draw, lambda: recipes.adda(draw.width, strength=0.0)))
    played = at_the_features(draw, made(draw, lambda: recipes.adda(draw.width)))
    silent = [torch.zeros_like(x) for x in draw.leaves]
    return watched, Answer(torch.zeros_like(played.value), (silent, played.gradients[1]))


def adda_to_discernibility(draw: Draw) -> Pair:
    followed = at_the_features(draw, made(draw, lambda: recipes.adda(draw.width, strength=-0.05)))
    opposed = at_the_features(draw, made(draw, lambda: recipes.adda(draw.width)))
    turned = [-g for g in opposed.gradients[0]]
    return followed, Answer(-opposed.value, (turned, opposed.gradients[1]))


def tzeng_to_adda(draw: Draw) -> Pair:
    answers = []
    for recipe in (recipes.tzeng, recipes.adda):
        method = made(draw, lambda recipe=recipe: recipe(draw.width))  # type: ignore[misc]
        last = classifier(method)[-1]
        assert isinstance(last, nn.Linear)
        last.weight.data.mul_(1e-6)
        last.bias.data.zero_()
        answers.append(at(draw, method)._replace(value=torch.zeros(())))
    return answers[0], answers[1]


def cdan_to_adda(draw: Draw) -> Pair:
    silent = [
        replace(r, extras={**r.extras, "action": torch.zeros(len(r), 3).double()}) for r in (draw.source, draw.target)
    ]
    flat = replace(draw, source=silent[0], target=silent[1])
    adda = made(draw, lambda: recipes.adda(draw.width, strength=1.0))
    cdan = made(draw, lambda: recipes.cdan(draw.width, {"action": 3}))
    plain, joint = classifier(adda), classifier(cdan)
    joint[1:].load_state_dict(plain[1:].state_dict())
    joint[0].weight.data.view(-1, draw.width, 4)[..., 0] = plain[0].weight.data  # type: ignore[union-attr, operator]
    joint[0].bias.data.copy_(plain[0].bias.data)  # type: ignore[union-attr, arg-type]
    sides, answers = (flat.source.features, flat.target.features), []
    for method in (cdan, adda):
        value = method.regularizer(flat.source, flat.target)  # type: ignore[misc]
        answers.append(Answer(value, (gradients(value, sides),)))
    return answers[0], answers[1]


def step(draw: Draw, recipe: Callable[[], Method]) -> Answer:
    """One step at the seam: its value, a guided prediction, and the gradients of the policy's parameters."""
    found = seams.at_the_seam(draw, made(draw, recipe))
    return Answer(found.value, found.gradients[:1])


def plain_step(draw: Draw) -> Answer:
    return step(draw, recipes.cotraining)


def full_ratio_to_real_only(draw: Draw) -> Pair:
    return tuple(seams.at_the_sampler(draw, m) for m in (recipes.cotraining(1.0), recipes.real_only()))  # type: ignore


def weighing_is_sampling(draw: Draw) -> Pair:
    sampled = seams.at_the_sampler(draw, seams.cotraining(draw))
    ratio, share = seams.cotraining(draw).ratio, natural_ratio(source=len(draw.source), target=len(draw.target))
    weighed = step(draw, lambda: recipes.reweighted(ratio, share=share))  # type: ignore[arg-type]
    return Answer(weighed.value[0], weighed.gradients), sampled


def share_at_ratio(draw: Draw) -> Pair:
    return step(draw, lambda: recipes.reweighted(draw.ratio, share=draw.ratio)), plain_step(draw)


def weighted_sum_of_losses(draw: Draw) -> Pair:
    beta, share = draw.ratio / (1 - draw.ratio), natural_ratio(source=len(draw.source), target=len(draw.target))
    ours = step(draw, lambda: recipes.reweighted(beta / (1 + beta), share=share))
    policy, (batch, is_target) = seams.policy_of(draw, recipes.cotraining()), seams.data_of(draw)
    each = policy.compute_loss(batch)
    theirs = each[~is_target].mean() + beta * each[is_target].mean()
    scaled = [(1 + beta) * g for g in ours.gradients[0]]
    return Answer((1 + beta) * ours.value[0], (scaled,)), Answer(
        theirs, (gradients(theirs, list(policy.parameters())),)
    )


def dropped_guidance(draw: Draw) -> Pair:
    return step(draw, lambda: recipes.cfg(draw.width, drop=1.0, scale=0.0)), plain_step(draw)


def guidance_at(scale: float, lam: float) -> Callable[[Draw], Pair]:
    def answers(draw: Draw) -> Pair:
        method = made(draw, lambda: recipes.cfg(draw.width, drop=0.0, scale=scale))
        ours = seams.at_the_seam(draw, method).value[1:]
        _, theirs, _ = seams.step_written(draw, method, [1.0] * (len(draw.source) + len(draw.target)), lam=lam)
        return Answer(ours), Answer(theirs.flatten())

    return answers


def undropped_one_hot(draw: Draw) -> Pair:
    undropped = lambda: Method(guidance=DomainGuidance(drop=0.0, scale=1.0, one_hot=True))  # noqa: E731
    method = made(draw, undropped)
    labels = seams.data_of(draw)[1].long().tolist()
    total, guided, policy = seams.step_written(draw, method, [1.0] * len(labels), labels=labels)
    theirs = seams.answer(total, guided, gradients(total, list(policy.parameters())))
    return step(draw, recipes.one_hot), theirs


def silent_adversary(draw: Draw) -> Pair:
    both = step(draw, lambda: recipes.cfg_adda(draw.width, strength=0.0))
    return both, step(draw, lambda: recipes.cfg(draw.width))


def silent_label(draw: Draw) -> Pair:
    both = step(draw, lambda: recipes.cfg_adda(draw.width, drop=1.0, scale=0.0))
    return both, step(draw, lambda: recipes.adda(draw.width))


def whole_window(draw: Draw) -> Pair:
    return step(draw, lambda: recipes.ambient(low=-math.inf)), plain_step(draw)


def target_only(draw: Draw) -> Answer:
    """The mean over the whole batch of the target's losses: real_only's times the target's share of the batch."""
    ours = seams.at_the_sampler(draw, recipes.real_only())
    share = len(draw.target) / (len(draw.source) + len(draw.target))
    return Answer(share * ours.value, ([share * g for g in ours.gradients[0]],))


def closed_window(draw: Draw) -> Pair:
    ours = step(draw, lambda: recipes.ambient(low=2.0))
    return Answer(ours.value[0], ours.gradients), target_only(draw)


def unsolved_beacon(draw: Draw) -> Pair:
    ours = step(draw, lambda: recipes.beacon(seams.data_of(draw)[1]))
    return Answer(ours.value[0], ours.gradients), target_only(draw)


def unmoved_mixture(draw: Draw) -> Pair:
    return step(draw, lambda: recipes.remix({"source": 1 - draw.ratio, "target": draw.ratio})), plain_step(draw)


def equal_weights(draw: Draw) -> Pair:
    return step(draw, lambda: recipes.importance(torch.ones(len(draw.source) + len(draw.target)))), plain_step(draw)


def score_of_the_target(draw: Draw) -> Pair:
    mixture, queries = estimators.mixture(draw), estimators.queries(draw)
    target = mixture.actions[mixture.is_target]
    alone = EmpiricalMixture(target, torch.ones(len(target), dtype=torch.bool), 1.0)
    level = {"alpha": estimators.ALPHA, "sigma": estimators.SIGMA}
    return tuple(Answer(optimal_score(queries, m, **level)) for m in (replace(mixture, ratio=1.0), alone))  # type: ignore


def wide_kernel(draw: Draw) -> Pair:
    wide = replace(estimators.mixture(draw, latents=True), bandwidth=1e4)
    level = {"alpha": estimators.ALPHA, "sigma": estimators.SIGMA}
    latent = draw.target.features[:2].detach()
    ours = optimal_score(estimators.queries(draw), wide, latent=latent, **level)
    return Answer(ours), Answer(estimators.by_autograd(draw))


def preferences(draw: Draw, sharpness: float) -> Answer:
    distances = draw.generator.uniform(size=4)
    found = [Alignment(k, 0, float(d), np.array([[0, 0]])) for k, d in enumerate(distances)]
    sampler = PairedSampler(found, [[0], [1], [2], [3]], [[4]], 1, sharpness=sharpness)
    return Answer(torch.from_numpy(sampler.probabilities[0]))


def blunt_sampler(draw: Draw) -> Pair:
    return preferences(draw, 0.0), Answer(torch.full((4,), 0.25, dtype=torch.float64))


def sharp_sampler(draw: Draw) -> Pair:
    nearest = int(draw.generator.uniform(size=4).argmin())
    return preferences(draw, 1e6), Answer(torch.nn.functional.one_hot(torch.tensor(nearest), 4).double())


EDGES = (
    Edge("uot", "entropic OT", "unbalanced -> inf", "limit", unbalanced_to_balanced, 1e-4),
    Edge("entropic OT", "exact OT", "reg -> 0", "limit", entropic_to_exact, 1e-3),
    Edge("jumbot", "deepjdot", "reg -> 0, unbalanced -> inf", "limit", jumbot_to_deepjdot, 1e-3),
    Edge("entropic OT, ones", "entropic OT", "reference", "equality", references_agree_when_balanced, 1e-6),
    Edge("uot, diagonal", "paired matching", "unbalanced -> inf", "limit", diagonal_to_matching, 1e-6, paired=True),
    Edge("egobridge", "entropic OT", "pairing discount = 1", "equality", egobridge_to_entropic, 1e-9),
    Edge("ot", "exact OT", "blur -> 0", "limit", sinkhorn_to_exact, 1e-3),
    Edge("ot", "mean matching", "blur -> inf", "limit", sinkhorn_to_means, 1e-4),
    Edge("wei_mmd", "mean matching", "bandwidth -> inf", "limit", mmd_to_means, 1e-4),
    Edge("jan", "mmd", "extras constant", "equality", jan_to_mmd, 1e-9),
    Edge("dann", "adda", "warm-up over", "equality", dann_to_adda, 1e-9),
    Edge("adda", "probe", "weight = 0", "equality", adda_to_probe, 1e-9),
    Edge("adda", "discernibility", "sign of the weight", "equality", adda_to_discernibility, 1e-9),
    Edge("tzeng", "adda", "D -> 0 (encoder gradient)", "limit", tzeng_to_adda, 1e-4),
    Edge("cdan", "adda", "condition = 0", "equality", cdan_to_adda, 1e-9),
    Edge("cotraining", "real_only", "ratio = 1", "equality", full_ratio_to_real_only, 1e-9),
    Edge("reweighted", "cotraining", "share = ratio", "equality", share_at_ratio, 1e-6),
    Edge("reweighted", "cotraining", "whole passes (expectation)", "equality", weighing_is_sampling, 1e-6),
    Edge("loss S + beta loss T", "cotraining", "ratio = beta / (1 + beta)", "equality", weighted_sum_of_losses, 1e-6),
    Edge("cfg", "cotraining", "drop = 1, scale = 0", "equality", dropped_guidance, 1e-9),
    Edge("cfg", "conditional policy", "scale = 1 (lambda = 0)", "equality", guidance_at(1.0, 0.0), 1e-9),
    Edge("cfg", "unconditional policy", "scale = 0 (lambda = -1)", "equality", guidance_at(0.0, -1.0), 1e-9),
    Edge("wei_cfg", "one_hot", "drop = 0, scale = 1", "equality", undropped_one_hot, 1e-9),
    Edge("cfg_adda", "cfg", "weight = 0", "equality", silent_adversary, 1e-9),
    Edge("cfg_adda", "adda", "drop = 1, scale = 0", "equality", silent_label, 1e-9),
    Edge("ambient", "cotraining", "window = all times", "equality", whole_window, 1e-9),
    Edge("ambient", "real_only", "window = no time", "equality", closed_window, 1e-9),
    Edge("beacon", "real_only", "before its first solve", "equality", unsolved_beacon, 1e-9),
    Edge("remix", "cotraining", "before its first update", "equality", unmoved_mixture, 1e-9),
    Edge("importance", "cotraining", "weights = 1", "equality", equal_weights, 1e-9),
    Edge("co-trained score", "target's score", "ratio = 1", "equality", score_of_the_target, 1e-9),
    Edge("co-trained score, latents", "co-trained score", "K -> 1", "limit", wide_kernel, 1e-6),
    Edge("paired sampling", "unpaired sampling", "sharpness = 0", "equality", blunt_sampler, 1e-9),
    Edge("paired sampling", "nearest demonstration", "sharpness -> inf", "limit", sharp_sampler, 1e-6),
)
