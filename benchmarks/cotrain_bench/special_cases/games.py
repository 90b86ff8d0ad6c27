"""Games with a domain classifier, written as two passes: one gradient for the encoder, one for the classifier."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotrain_losses import Method, recipes

from .case import Answer, case, gradients
from .draws import Draw


def classifier(method: Method) -> nn.Sequential:
    """The classifier's layers, of which only the weights are taken."""
    (head,) = (module for module in method.regularizer.modules() if isinstance(module, nn.Sequential))  # type: ignore
    return head


def logit(z: Tensor, layers: nn.Sequential) -> Tensor:
    """W x + b, standardised over the width, scaled, rectified, and so on: one row at a time."""
    logits = []
    for h in z:
        for layer in layers:
            if isinstance(layer, nn.Linear):
                h = layer.weight @ h + layer.bias
            elif isinstance(layer, nn.LayerNorm):
                h = (h - h.mean()) / (h.var(correction=0) + layer.eps).sqrt() * layer.weight + layer.bias
            else:
                h = h * (h > 0)
        logits.append(h.squeeze())
    return torch.stack(logits)


def cross_entropy(of_source: Tensor, of_target: Tensor) -> Tensor:
    """- 1/2 mean log(1 - sigmoid(D(x))) - 1/2 mean log sigmoid(D(y)): target is the class 1."""
    return -0.5 * torch.log(1 - torch.sigmoid(of_source)).mean() - 0.5 * torch.log(torch.sigmoid(of_target)).mean()


def game(draw: Draw, layers: nn.Sequential, value: Tensor, encoder: Tensor, head: Tensor) -> Answer:
    """What is reported, what the encoder descends, what the classifier descends."""
    return Answer(value, (gradients(encoder, draw.leaves), gradients(head, list(layers.parameters()))))


@case("adda", lambda draw: recipes.adda(draw.width, ratio=draw.ratio))
def adda_written(draw: Draw, method: Method) -> Answer:
    r"""Lei et al. 2026 (ADDA: reversal on a shared encoder) against two autograd passes through a classifier written
    row by row

    \dot\phi = +\lambda \nabla_\phi \mathcal{B}, \quad \dot{D} = -\nabla_D \mathcal{B}, \quad \mathcal{B} =
    -\frac{1}{2n}\sum_i \log(1 - \sigma(D(x_i))) - \frac{1}{2m}\sum_j \log \sigma(D(y_j))

    Labels target 1, source 0, each domain averaged by itself. The weight scales what the encoder receives; the
    classifier learns at unit rate.
    """
    layers = classifier(method)
    entropy = cross_entropy(logit(draw.source.features, layers), logit(draw.target.features, layers))
    return game(draw, layers, -0.05 * entropy, encoder=-0.05 * entropy, head=entropy)


@case("tzeng", lambda draw: recipes.tzeng(draw.width, ratio=draw.ratio))
def tzeng_written(draw: Draw, method: Method) -> Answer:
    r"""Tzeng et al. 2017 (ADDA, inverted labels), one encoder against two autograd passes through a classifier written
    row by row

    \dot\phi = \frac{\lambda}{2} \nabla_\phi [\mathrm{E}_x \log \sigma(D(x)) + \mathrm{E}_y \log (1 - \sigma(D(y)))],
    \quad \dot{D} = -\nabla_D \mathcal{B}

    Labels target 1, source 0, each domain averaged by itself. Published for a frozen source encoder and a target
    encoder; here one encoder moves on both sides.
    """
    layers = classifier(method)
    of_source, of_target = logit(draw.source.features, layers), logit(draw.target.features, layers)
    inverted = cross_entropy(of_target, of_source)
    return game(draw, layers, 0.05 * inverted, encoder=0.05 * inverted, head=cross_entropy(of_source, of_target))


class Reversal(torch.autograd.Function):
    """Ganin and Lempitsky 2015: x -> x, gradient times -lambda."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


@case("dann", lambda draw: recipes.dann(draw.width, ratio=draw.ratio, steps=1000))
def dann_written(draw: Draw, method: Method) -> Answer:
    r"""Ganin et al. 2016 (DANN) against a gradient reversal layer, written

    \dot\phi = +\lambda_p \nabla_\phi \mathcal{B}, \quad \lambda_p = \frac{2}{1 + e^{-10 p}} - 1, \quad p =
    \frac{step}{steps}

    Labels target 1, source 0, each domain averaged by itself. Some label source 1: the logit's sign turns and nothing
    else. The step is drawn, 0 and the end included.
    """
    layers, strength = classifier(method), 2 / (1 + math.exp(-10 * min(draw.step / 1000, 1))) - 1
    source, target = (Reversal.apply(r.features, strength) for r in (draw.source, draw.target))  # type: ignore
    entropy = cross_entropy(logit(source, layers), logit(target, layers))
    return game(draw, layers, -strength * entropy, encoder=entropy, head=entropy)


@case("cdan", lambda draw: recipes.cdan(draw.width, {"action": 8}, ratio=draw.ratio))
def cdan_written(draw: Draw, method: Method) -> Answer:
    r"""Long et al. 2018 (CDAN), actions as the condition against two autograd passes through a classifier written
    row by row, outer products

    \mathcal{B}(D \circ h), \quad h = z \otimes \mathrm{sg}(1, a)

    Labels target 1, source 0, each domain averaged by itself. The condition carries a 1, so features alone are seen
    too; it carries no gradient.
    """
    layers = classifier(method)
    joined = []
    for rows in (draw.source, draw.target):
        conditions = [torch.cat([torch.ones(1, dtype=a.dtype), a.flatten()]) for a in rows.extras["action"]]
        outer = [torch.outer(z, c).flatten() for z, c in zip(rows.features, conditions, strict=True)]
        joined.append(logit(torch.stack(outer), layers))
    entropy = cross_entropy(*joined)
    return game(draw, layers, -entropy, encoder=-entropy, head=entropy)


@case("wei_adversarial", lambda draw: recipes.wei_adversarial(draw.width, ratio=draw.ratio))
def wei_adversarial_written(draw: Draw, method: Method) -> Answer:
    r"""Wei et al. 2025 against torch binary_cross_entropy_with_logits, simulation = 1, pos_weight

    \dot\phi = +\nabla_\phi \mathcal{B}, \quad 2\,\frac{m}{n + m}\,\mathcal{B} = \mathrm{BCE}(-D, [\mathrm{sim}];
    \mathrm{pos\ weight} = \frac{m}{n})

    Labels simulation 1 there, target 1 here; the positive class weighted by m / n is this cross-entropy times 2 m / (n
    + m). The classifier's hidden layers are normalised here.
    """
    layers = classifier(method)
    n, m = len(draw.source.features), len(draw.target.features)
    is_simulated = torch.cat([-logit(draw.source.features, layers), -logit(draw.target.features, layers)])
    labels = torch.cat([torch.ones(n), torch.zeros(m)]).double()
    weighted = F.binary_cross_entropy_with_logits(is_simulated, labels, pos_weight=labels.new_tensor(m / n))
    entropy = weighted / (2 * m / (n + m))
    return game(draw, layers, -entropy, encoder=-entropy, head=entropy)


@case("probe", lambda draw: recipes.probe(draw.width, ratio=draw.ratio))
def probe_written(draw: Draw, method: Method) -> Answer:
    r"""a classifier that only watches against two autograd passes through a classifier written
    row by row

    \dot\phi = 0, \quad \dot{D} = -\nabla_D \mathcal{B}

    Labels target 1, source 0, each domain averaged by itself. Weight 0: the value added to the loss is 0.
    """
    layers = classifier(method)
    entropy = cross_entropy(*(logit(rows.features.detach(), layers) for rows in (draw.source, draw.target)))
    return game(draw, layers, 0.0 * entropy, encoder=entropy, head=entropy)
