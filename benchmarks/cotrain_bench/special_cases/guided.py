"""Methods that tell the policy's head the domain."""

from __future__ import annotations

from cotrain_losses import DomainGuidance, Method, recipes

from .case import Answer, case, gradients
from .draws import Draw
from .games import classifier, cross_entropy, logit
from .steps import answer, at_the_seam, data_of, step_answer, step_written


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


@case("one_hot", lambda draw: recipes.one_hot(ratio=draw.ratio), measured=at_the_seam)
def one_hot_written(draw: Draw, method: Method) -> Answer:
    r"""Wei et al. 2025 (domain one-hot) against the step written sample by sample

    \hat{a} = \pi(a^t, t, (z, e_d)), \quad d = \mathrm{target\ at\ test}

    Columns (source, target); Wei et al. number the real dataset 0. Never dropped, scale 1.
    """
    _, is_target = data_of(draw)
    return step_answer(draw, method, labels=is_target.long().tolist())


@case("cfg", lambda draw: recipes.cfg(draw.width, ratio=draw.ratio, scale=0.5), measured=at_the_seam)
def cfg_written(draw: Draw, method: Method) -> Answer:
    r"""Lei et al. 2026; Ho & Salimans 2022 against the step written sample by sample

    \tilde{s} = (1 + \lambda)\, s(a^t, z, d) - \lambda\, s(a^t, z, \emptyset), \quad \lambda = -0.5, \quad p_{drop} =
    0.2

    scale = 1 + lambda, so 0.5. A learned token is added to the condition; the null row is zero. The dropped labels are
    those the method's own generator drops.
    """
    total, guided, policy = step_written(draw, method, labels=dropped_labels(draw, method, 0.2), lam=-0.5)
    own = gradients(total, list(guidance_of(method).parameters()))
    return answer(total, guided, gradients(total, list(policy.parameters())), own)


@case("wei_cfg", lambda draw: recipes.wei_cfg(ratio=draw.ratio), measured=at_the_seam)
def wei_cfg_written(draw: Draw, method: Method) -> Answer:
    r"""Wei et al. 2025 (CFG) against the step written sample by sample

    \tilde{s} = (1 + w)\, s(e_d) - w\, s(0), \quad w = 1, \quad p_{drop} = 0.1

    scale = 1 + w, so 2. Labels are dropped per sample here, per batch there.
    """
    return step_answer(draw, method, labels=dropped_labels(draw, method, 0.1), lam=1.0)


@case("cfg_adda", lambda draw: recipes.cfg_adda(draw.width, ratio=draw.ratio, scale=0.5), measured=at_the_seam)
def cfg_adda_written(draw: Draw, method: Method) -> Answer:
    r"""Lei et al. 2026 (CFG-ADDA) against the step written sample by sample; two passes

    \min_{\phi, \pi, E}\ \max_{D}\ \ L_w(z + E_d) - \lambda_A\, \mathcal{B}(D(z)), \quad \lambda = -0.5

    The classifier sees the features without the label; the label reaches the head only.
    """
    labels, layers = dropped_labels(draw, method, 0.2), classifier(method)
    total, guided, policy = step_written(draw, method, labels=labels, lam=-0.5)
    batch, is_target = data_of(draw)
    z = policy.encoder(batch["observation"])  # before the token: the classifier never sees it
    entropy = cross_entropy(logit(z[~is_target], layers), logit(z[is_target], layers))
    shared = gradients(total - 0.05 * entropy, list(policy.parameters()))
    own = [*gradients(entropy, list(layers.parameters())), *gradients(total, list(guidance_of(method).parameters()))]
    return answer(total - 0.05 * entropy, guided, shared, own)
