"""Edges between steps: mixing, weights, guidance, the closed form of the score, paired sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np
import torch

from cotrain_losses import DomainGuidance, Method, recipes
from cotrain_losses.importance import EmpiricalMixture, optimal_score
from cotrain_losses.mixing import natural_ratio
from cotrain_losses.mixing.pairing import Alignment, PairedSampler

from . import estimators
from .case import Answer, gradients
from .draws import Draw
from .edges import Pair, edge, made
from .sampled import at_the_sampler, cotraining
from .steps import at_the_seam, data_of, policy_of, step_answer, step_written

FromDraw: TypeAlias = Callable[[Draw], Method]


def step(draw: Draw, recipe: Callable[[], Method]) -> Answer:
    """One step at the seam: its value, a guided prediction, and the gradients of the policy's parameters."""
    whole = at_the_seam(draw, made(draw, recipe))
    return Answer(whole.value, whole.gradients[:1])


def plain(draw: Draw) -> Method:
    return recipes.cotraining()


def same_step(start: str, end: str, setting: str, recipe: FromDraw, simpler: FromDraw = plain) -> None:
    """Adds a definition: one step is the same under both recipes."""
    sides = (recipe, simpler)
    edge(start, end, setting, kind="definition")(lambda draw: tuple(step(draw, partial(r, draw)) for r in sides))  # type: ignore


@edge("cotraining", "real_only", "ratio = 1", kind="definition")
def full_ratio_to_real_only(draw: Draw) -> Pair:
    return tuple(at_the_sampler(draw, m) for m in (recipes.cotraining(1.0), recipes.real_only()))  # type: ignore


same_step("reweighted", "cotraining", "share = ratio", lambda draw: recipes.reweighted(draw.ratio, share=draw.ratio))


@edge("reweighted", "cotraining", "whole passes (expectation)", tolerance=1e-6)
def weighing_is_sampling(draw: Draw) -> Pair:
    sampled = at_the_sampler(draw, cotraining(draw))
    ratio, share = cotraining(draw).ratio, natural_ratio(source=len(draw.source), target=len(draw.target))
    weighed = step(draw, lambda: recipes.reweighted(ratio, share=share))  # type: ignore[arg-type]
    return Answer(weighed.value[0], weighed.gradients), sampled


@edge("loss S + beta loss T", "cotraining", "ratio = beta / (1 + beta)", tolerance=1e-6)
def weighted_sum_of_losses(draw: Draw) -> Pair:
    beta, share = draw.ratio / (1 - draw.ratio), natural_ratio(source=len(draw.source), target=len(draw.target))
    ours = step(draw, lambda: recipes.reweighted(beta / (1 + beta), share=share))
    policy, (batch, is_target) = policy_of(draw, recipes.cotraining()), data_of(draw)
    each = policy.compute_loss(batch)
    theirs = each[~is_target].mean() + beta * each[is_target].mean()
    scaled = Answer((1 + beta) * ours.value[0], ([(1 + beta) * g for g in ours.gradients[0]],))
    return scaled, Answer(theirs, (gradients(theirs, list(policy.parameters())),))


same_step("cfg", "cotraining", "drop = 1, scale = 0", lambda draw: recipes.cfg(draw.width, drop=1.0, scale=0.0))


def guided(draw: Draw, scale: float, lam: float) -> Pair:
    """A guided prediction at a scale, and (1 + lam) conditional - lam unconditional."""
    method = made(draw, lambda: recipes.cfg(draw.width, drop=0.0, scale=scale))
    ours = at_the_seam(draw, method).value[1:]
    _, theirs, _ = step_written(draw, method, lam=lam)
    return Answer(ours), Answer(theirs.flatten())


edge("cfg", "conditional policy", "scale = 1 (lambda = 0)")(lambda draw: guided(draw, 1.0, 0.0))


edge("cfg", "unconditional policy", "scale = 0 (lambda = -1)")(lambda draw: guided(draw, 0.0, -1.0))


@edge("wei_cfg", "one_hot", "drop = 0, scale = 1")
def undropped_one_hot(draw: Draw) -> Pair:
    undropped = lambda: Method(guidance=DomainGuidance(drop=0.0, scale=1.0, one_hot=True))  # noqa: E731
    method = made(draw, undropped)
    return step(draw, recipes.one_hot), step_answer(draw, method, labels=data_of(draw)[1].long().tolist())


same_step(
    "cfg_adda",
    "cfg",
    "strength = 0",
    lambda draw: recipes.cfg_adda(draw.width, strength=0.0),
    lambda draw: recipes.cfg(draw.width),
)
same_step(
    "cfg_adda",
    "adda",
    "drop = 1, scale = 0",
    lambda draw: recipes.cfg_adda(draw.width, drop=1.0, scale=0.0),
    lambda draw: recipes.adda(draw.width),
)
same_step("ambient", "cotraining", "window = all times", lambda draw: recipes.ambient(low=-math.inf))


def target_only(draw: Draw) -> Answer:
    """The mean over the whole batch of the target's losses: real_only's times the target's share of the batch."""
    ours = at_the_sampler(draw, recipes.real_only())
    share = len(draw.target) / (len(draw.source) + len(draw.target))
    return Answer(share * ours.value, ([share * g for g in ours.gradients[0]],))


@edge("ambient", "real_only", "window = no time")
def closed_window(draw: Draw) -> Pair:
    ours = step(draw, lambda: recipes.ambient(low=2.0))
    return Answer(ours.value[0], ours.gradients), target_only(draw)


@edge("beacon", "real_only", "before its first solve")
def unsolved_beacon(draw: Draw) -> Pair:
    ours = step(draw, lambda: recipes.beacon(data_of(draw)[1]))
    return Answer(ours.value[0], ours.gradients), target_only(draw)


same_step(
    "remix",
    "cotraining",
    "before its first update",
    lambda draw: recipes.remix({"source": 1 - draw.ratio, "target": draw.ratio}),
)
same_step(
    "importance",
    "cotraining",
    "weights = 1",
    lambda draw: recipes.importance(torch.ones(len(draw.source) + len(draw.target))),
)


@edge("co-trained score", "target's score", "ratio = 1")
def score_of_the_target(draw: Draw) -> Pair:
    mixture, queries = estimators.mixture(draw), estimators.queries(draw)
    target = mixture.actions[mixture.is_target]
    alone = EmpiricalMixture(target, torch.ones(len(target), dtype=torch.bool), 1.0)
    return tuple(Answer(optimal_score(queries, m, **estimators.LEVEL)) for m in (replace(mixture, ratio=1.0), alone))  # type: ignore


@edge("co-trained score, latents", "co-trained score", "K -> 1", kind="limit", tolerance=1e-6)
def wide_kernel(draw: Draw) -> Pair:
    wide = replace(estimators.mixture(draw, latents=True), bandwidth=1e4)
    latent = draw.target.features[:2].detach()
    ours = optimal_score(estimators.queries(draw), wide, latent=latent, **estimators.LEVEL)
    return Answer(ours), Answer(estimators.by_autograd(draw))


def preferences(draw: Draw, sharpness: float) -> Answer:
    distances = draw.generator.uniform(size=4)
    aligned = [Alignment(k, 0, float(d), np.array([[0, 0]])) for k, d in enumerate(distances)]
    sampler = PairedSampler(aligned, [[0], [1], [2], [3]], [[4]], 1, sharpness=sharpness)
    return Answer(torch.from_numpy(sampler.probabilities[0]))


edge("paired sampling", "unpaired sampling", "sharpness = 0", kind="definition")(
    lambda draw: (preferences(draw, 0.0), Answer(torch.full((4,), 0.25, dtype=torch.float64)))
)


@edge("paired sampling", "nearest demonstration", "sharpness -> inf", kind="limit", tolerance=1e-6)
def sharp_sampler(draw: Draw) -> Pair:
    nearest = int(draw.generator.uniform(size=4).argmin())
    return preferences(draw, 1e6), Answer(torch.nn.functional.one_hot(torch.tensor(nearest), 4).double())
