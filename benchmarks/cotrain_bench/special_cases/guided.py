"""Methods that tell the policy's head the domain."""

from __future__ import annotations

from cotrain_losses import DomainGuidance, Method, recipes

from .case import Answer, Case, gradients
from .draws import Draw
from .games import classifier, cross_entropy, logit
from .steps import BY_SAMPLES, answer, at_the_seam, data_of, step_written


def guidance_of(method: Method) -> DomainGuidance:
    """The guidance of a method that has one."""
    assert method.guidance is not None
    return method.guidance


def dropped_labels(draw: Draw, method: Method, rate: float) -> list[int]:
    """The labels with those dropped that the method's own generator drops at the published rate."""
    _, is_target = data_of(draw)
    guidance = guidance_of(method)
    guidance.drop = rate
    labels: list[int] = guidance.dropped(is_target.long()).tolist()
    return labels


def one_hot(draw: Draw) -> Method:
    return recipes.one_hot(ratio=draw.ratio)


def cfg(draw: Draw) -> Method:
    return recipes.cfg(draw.width, ratio=draw.ratio)


def wei_cfg(draw: Draw) -> Method:
    return recipes.wei_cfg(ratio=draw.ratio)


def cfg_adda(draw: Draw) -> Method:
    return recipes.cfg_adda(draw.width, ratio=draw.ratio)


def one_hot_written(draw: Draw, method: Method) -> Answer:
    _, is_target = data_of(draw)
    total, guided, policy = step_written(draw, method, [1.0] * len(is_target), labels=is_target.long().tolist())
    return answer(total, guided, gradients(total, list(policy.parameters())))


def cfg_written(draw: Draw, method: Method) -> Answer:
    labels = dropped_labels(draw, method, 0.2)
    total, guided, policy = step_written(draw, method, [1.0] * len(labels), labels=labels, lam=-0.5)
    own = gradients(total, list(guidance_of(method).parameters()))
    return answer(total, guided, gradients(total, list(policy.parameters())), own)


def wei_cfg_written(draw: Draw, method: Method) -> Answer:
    labels = dropped_labels(draw, method, 0.1)
    total, guided, policy = step_written(draw, method, [1.0] * len(labels), labels=labels, lam=1.0)
    return answer(total, guided, gradients(total, list(policy.parameters())))


def cfg_adda_written(draw: Draw, method: Method) -> Answer:
    labels, layers = dropped_labels(draw, method, 0.2), classifier(method)
    total, guided, policy = step_written(draw, method, [1.0] * len(labels), labels=labels, lam=-0.5)
    batch, is_target = data_of(draw)
    z = policy.encoder(batch["observation"])  # before the token: the classifier never sees it
    entropy = cross_entropy(logit(z[~is_target], layers), logit(z[is_target], layers))
    shared = gradients(total - 0.05 * entropy, list(policy.parameters()))
    own = [*gradients(entropy, list(layers.parameters())), *gradients(total, list(guidance_of(method).parameters()))]
    return answer(total - 0.05 * entropy, guided, shared, own)


CASES = (
    Case(
        "one_hot",
        "Wei et al. 2025 (domain one-hot)",
        recipes.one_hot,
        one_hot,
        at_the_seam,
        one_hot_written,
        r"\hat{a} = \pi(a^t, t, (z, e_d)), \quad d = \mathrm{target\ at\ test}",
        BY_SAMPLES,
        "Columns (source, target); Wei et al. number the real dataset 0. Never dropped, scale 1.",
    ),
    Case(
        "cfg",
        "Lei et al. 2026; Ho & Salimans 2022",
        recipes.cfg,
        cfg,
        at_the_seam,
        cfg_written,
        r"\tilde{s} = (1 + \lambda)\, s(a^t, z, d) - \lambda\, s(a^t, z, \emptyset), \quad \lambda = -0.5,"
        r" \quad p_{drop} = 0.2",
        BY_SAMPLES,
        "scale = 1 + lambda, so 0.5. A learned token is added to the condition; the null row is zero. The dropped "
        "labels are those the method's own generator drops.",
    ),
    Case(
        "wei_cfg",
        "Wei et al. 2025 (CFG)",
        recipes.wei_cfg,
        wei_cfg,
        at_the_seam,
        wei_cfg_written,
        r"\tilde{s} = (1 + w)\, s(e_d) - w\, s(0), \quad w = 1, \quad p_{drop} = 0.1",
        BY_SAMPLES,
        "scale = 1 + w, so 2. Labels are dropped per sample here, per batch there.",
    ),
    Case(
        "cfg_adda",
        "Lei et al. 2026 (CFG-ADDA)",
        recipes.cfg_adda,
        cfg_adda,
        at_the_seam,
        cfg_adda_written,
        r"\min_{\phi, \pi, E}\ \max_{D}\ \ L_w(z + E_d) - \lambda_A\, \mathcal{B}(D(z)), \quad \lambda = -0.5",
        BY_SAMPLES + "; two passes",
        "The classifier sees the features without the label; the label reaches the head only.",
    ),
)
