"""Edges between terms: transport, kernels and games."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from cotrain_losses import MMD, Method, OptimalTransport, Sinkhorn, recipes
from cotrain_losses.mixing.pairing import NearestByDTW
from cotrain_losses.terms.transport import Block

from .case import Answer, at_the_features, gradients, loss, regularizer_of
from .draws import Draw
from .edges import Pair, at, edge, made
from .games import classifier
from .kernels import squared
from .transports import CLASSES


def transport(draw: Draw, reg: float, **settings: object) -> Answer:
    """<P, C> of one transport problem."""
    settings = {"value": "linear", "tolerance": 1e-9, "max_iterations": 20_000, **settings}
    return at(draw, Method(regularizer=1.0 * OptimalTransport(reg, **settings)))  # type: ignore[arg-type]


STATES = (Block(weight=0.01), Block("state", weight=0.05, detach=True))


edge("uot", "entropic OT", "unbalanced -> inf", kind="limit", tolerance=1e-4)(
    lambda draw: (transport(draw, 0.1, unbalanced=1e6, cost=STATES), transport(draw, 0.1, cost=STATES))
)


def values(first: Answer, second: Answer) -> Pair:
    """Values only: near an exact plan the gradient jumps wherever two plans tie."""
    return Answer(first.value), Answer(second.value)


edge("entropic OT", "exact OT", "reg -> 0", kind="limit", tolerance=1e-3)(
    lambda draw: values(transport(draw, 1e-3), transport(draw, 0.0))
)


@edge("jumbot", "deepjdot", "reg -> 0, unbalanced -> inf", kind="limit", tolerance=1e-3)
def jumbot_to_deepjdot(draw: Draw) -> Pair:
    cost = (Block(weight=0.01), recipes.LabelCost(**CLASSES, weight=0.5))
    near = transport(draw, 1e-4, unbalanced=1e4, cost=cost, reference="ones")
    return values(near, transport(draw, 0.0, cost=cost))


edge("entropic OT, ones", "entropic OT", "reference", tolerance=1e-6)(
    lambda draw: (transport(draw, 0.1, cost=STATES, reference="ones"), transport(draw, 0.1, cost=STATES))
)


@edge("uot, diagonal", "paired matching", "unbalanced -> inf", kind="limit", tolerance=1e-6, paired=True)
def diagonal_to_matching(draw: Draw) -> Pair:
    matching = squared(draw.source.features, draw.target.features).diagonal().mean()
    return transport(draw, 0.1, unbalanced=1e8, reference="diagonal"), loss(matching, draw)


@edge("egobridge", "entropic OT", "pairing discount = 1")
def egobridge_to_entropic(draw: Draw) -> Pair:
    tight = {"tolerance": 1e-10}  # of each solve: the two differ by less than twice as much
    paired = transport(draw, 0.5, pairing=NearestByDTW(discount=1.0, gamma=0.1), **tight)
    return paired, transport(draw, 0.5, **tight)


@edge("ot", "exact OT", "blur -> 0", kind="limit", tolerance=1e-3)
def sinkhorn_to_exact(draw: Draw) -> Pair:
    sharp = at(draw, Method(regularizer=1.0 * Sinkhorn(blur=0.01, tolerance=1e-9)))
    return values(sharp, transport(draw, 0.0, cost=Block(weight=0.5)))


@edge("ot", "mean matching", "blur -> inf", kind="limit", tolerance=1e-4)
def sinkhorn_to_means(draw: Draw) -> Pair:
    ours = at(draw, Method(regularizer=1.0 * Sinkhorn(blur=1e3, tolerance=1e-12)))
    return ours, loss(means(draw) / 2, draw)


def means(draw: Draw) -> Tensor:
    """|mean x - mean y|^2."""
    return (draw.source.features.mean(0) - draw.target.features.mean(0)).square().sum()


@edge("wei_mmd", "mean matching", "bandwidth -> inf", kind="limit", tolerance=1e-4)
def mmd_to_means(draw: Draw) -> Pair:
    wide = MMD(1e3, scales=(1.0,), estimator="biased")
    return at(draw, Method(regularizer=1e6 * wide)), loss(means(draw), draw)


def silenced(draw: Draw, width: int) -> Draw:
    """The draw with actions of that width that are all zero."""
    sides = (draw.source, draw.target)
    source, target = (replace(r, extras={**r.extras, "action": torch.zeros(len(r), width).double()}) for r in sides)
    return replace(draw, source=source, target=target)


def on_features(draw: Draw, method: Method) -> Answer:
    """Value and gradients at both sides' features."""
    value = regularizer_of(method)(draw.source, draw.target)
    return Answer(value, (gradients(value, (draw.source.features, draw.target.features)),))


@edge("jan", "mmd", "extras constant")
def jan_to_mmd(draw: Draw) -> Pair:
    flat = silenced(draw, 1)
    return on_features(flat, recipes.jan(strength=0.1)), on_features(flat, recipes.mmd())


@edge("dann", "adda", "warm-up over")
def dann_to_adda(draw: Draw) -> Pair:
    end = replace(draw, step=1000)
    peak = 2 / (1 + math.exp(-10)) - 1
    dann, adda = lambda: recipes.dann(draw.width, steps=1000), lambda: recipes.adda(draw.width, strength=peak)
    return at_the_features(end, made(draw, dann)), at_the_features(end, made(draw, adda))


@edge("adda", "probe", "strength = 0", kind="definition")
def adda_to_probe(draw: Draw) -> Pair:
    watched = at_the_features(draw, made(draw, lambda: recipes.adda(draw.width, strength=0.0)))
    played = at_the_features(draw, made(draw, lambda: recipes.adda(draw.width)))
    silent = [torch.zeros_like(x) for x in draw.leaves]
    return watched, Answer(torch.zeros_like(played.value), (silent, played.gradients[1]))


@edge("adda", "discernibility", "sign of the strength", kind="definition")
def adda_to_discernibility(draw: Draw) -> Pair:
    followed = at_the_features(draw, made(draw, lambda: recipes.adda(draw.width, strength=-0.05)))
    opposed = at_the_features(draw, made(draw, lambda: recipes.adda(draw.width)))
    turned = [-g for g in opposed.gradients[0]]
    return followed, Answer(-opposed.value, (turned, opposed.gradients[1]))


@edge("tzeng", "adda", "D -> 0 (encoder gradient)", kind="limit", tolerance=1e-4)
def tzeng_to_adda(draw: Draw) -> Pair:
    answers = []
    for recipe in (recipes.tzeng, recipes.adda):
        method = made(draw, partial(recipe, draw.width))
        last = classifier(method)[-1]
        assert isinstance(last, nn.Linear)
        last.weight.data.mul_(1e-6)
        last.bias.data.zero_()
        answers.append(at(draw, method)._replace(value=torch.zeros(())))
    return answers[0], answers[1]


@edge("cdan", "adda", "condition = 0")
def cdan_to_adda(draw: Draw) -> Pair:
    flat = silenced(draw, 3)
    adda = made(draw, lambda: recipes.adda(draw.width, strength=1.0))
    cdan = made(draw, lambda: recipes.cdan(draw.width, {"action": 3}))
    (first, *rest), (joint, *others) = classifier(adda), classifier(cdan)
    for one, other in zip(others, rest, strict=True):
        one.load_state_dict(other.state_dict())
    assert isinstance(first, nn.Linear) and isinstance(joint, nn.Linear)
    joint.weight.data.view(-1, draw.width, 4)[..., 0] = first.weight.data
    joint.bias.data.copy_(first.bias.data)
    return on_features(flat, cdan), on_features(flat, adda)
