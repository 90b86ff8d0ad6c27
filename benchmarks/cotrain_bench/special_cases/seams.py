"""Methods that act at the seam: a small policy through `CoTrain`, and the same step written sample by sample.

z_i = tanh(W o_i + b)        c_i = z_i + E[label_i], or (z_i, one-hot)        a_hat_i = V (x_i, t_i, c_i) + v
l_i = mean |a_hat_i - a_i|^2      total = sum_i weight_i l_i / b + sum_k lambda_k R_k(z_source, z_target)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cotrain_losses import CoTrain, Method, MixedBatchSampler, Seam, recipes
from cotrain_losses.mixing import natural_ratio

from .case import Answer, Case, gradients
from .drawn import Draw
from .games import classifier, cross_entropy, logit


class Head(nn.Module):
    """A prediction (b, a) from a noised action (b, a), its time (b,) and a condition (b, width)."""

    def __init__(self, actions: int, condition: int) -> None:
        super().__init__()
        self.net = nn.Linear(actions + 1 + condition, actions)

    def forward(self, noised: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        return self.net(torch.cat([noised, time[:, None], condition], 1))


class Policy(nn.Module):
    """Encoder and head, and a loss for each sample; noise and times come with the batch."""

    def __init__(self, draw: Draw, columns: int) -> None:
        super().__init__()
        torch.manual_seed(draw.seed)
        self.encoder = nn.Sequential(nn.Linear(3, draw.width), nn.Tanh())
        self.head = Head(2, draw.width + columns)
        self.double()

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        return (self.predict(batch) - batch["action"]).square().mean(1)

    def predict(self, batch: dict[str, Tensor]) -> Tensor:
        return self.head(batch["noised"], batch["time"], condition=self.encoder(batch["observation"]))


def policy_of(draw: Draw, method: Method) -> Policy:
    """A policy whose head has columns for one-hot labels where the method asks for them."""
    return Policy(draw, 2 if method.guidance is not None and method.guidance.one_hot else 0)


def data_of(draw: Draw) -> tuple[dict[str, Tensor], Tensor]:
    """All samples of the draw, source first, and which are target samples."""
    n, m = len(draw.source.features), len(draw.target.features)
    rng = draw.generator
    batch = {"observation": rng.normal(size=(n + m, 3)), "action": rng.normal(size=(n + m, 2))}
    batch |= {"noised": rng.normal(size=(n + m, 2)), "time": rng.uniform(size=n + m)}
    return {name: torch.from_numpy(value) for name, value in batch.items()}, torch.arange(n + m) >= n


def at_the_seam(draw: Draw, method: Method) -> Answer:
    """One training step on all samples, and one guided prediction."""
    policy = policy_of(draw, method)
    batch, is_target = data_of(draw)
    cotrain = CoTrain(policy, method, seam=Seam(head="head", condition="condition", time="time"))
    losses = cotrain(batch, domain=is_target, index=torch.arange(len(is_target)), step=draw.step)
    value = losses.policy if losses.weighted is None else losses.weighted
    groups = [gradients(losses.total, list(policy.parameters()))]
    if own := [p for p in cotrain.plugin_parameters() if p.requires_grad]:
        groups.append(gradients(losses.total, own))
    with torch.no_grad(), cotrain.guided():
        guided = policy.predict(batch)
    return Answer(torch.cat([(value + losses.regularizer)[None], guided.flatten()]), groups)


def predicted(draw: Draw, policy: Policy, method: Method, labels: Sequence[int]) -> list[Tensor]:
    """Each sample's prediction under its label; -1 is no label."""
    batch, _ = data_of(draw)
    encoder, head = policy.encoder[0], policy.head.net
    found = []
    for i, label in enumerate(labels):
        condition = torch.tanh(encoder.weight @ batch["observation"][i] + encoder.bias)
        if method.guidance is not None and method.guidance.one_hot:
            one_hot = [float(label == k) for k in range(2)]
            condition = torch.cat([condition, condition.new_tensor(one_hot)])
        elif method.guidance is not None and label >= 0:
            condition = condition + method.guidance.table[label]
        found.append(head.weight @ torch.cat([batch["noised"][i], batch["time"][i : i + 1], condition]) + head.bias)
    return found


def step_written(
    draw: Draw, method: Method, weights: Sequence[float], *, labels: Sequence[int] | None = None, lam: float = 0.0
) -> tuple[Tensor, Tensor, Policy]:
    """sum_i weight_i l_i / b, the guided prediction (1 + lam) conditional - lam unconditional, and the policy."""
    policy = policy_of(draw, method)
    batch, is_target = data_of(draw)
    count = len(is_target)
    predictions = predicted(draw, policy, method, [-1] * count if labels is None else labels)
    each = [(p - a).square().mean() for p, a in zip(predictions, batch["action"], strict=True)]
    total = sum(weight * l for weight, l in zip(weights, each, strict=True)) / count
    conditional, unconditional = (torch.stack(predicted(draw, policy, method, [k] * count)) for k in (1, -1))
    return total, (1 + lam) * conditional - lam * unconditional, policy


def answer(value: Tensor, guided: Tensor, *groups: Sequence[Tensor]) -> Answer:
    return Answer(torch.cat([value.detach()[None], guided.detach().flatten()]), [*groups])


def weighted_answer(draw: Draw, method: Method, weights: Sequence[float]) -> Answer:
    """A step whose only choice is how much each sample counts."""
    total, prediction, policy = step_written(draw, method, weights)
    return answer(total, prediction, gradients(total, list(policy.parameters())))


def dropped_labels(draw: Draw, method: Method, rate: float) -> list[int]:
    """The labels with those dropped that the method's own generator drops at the published rate."""
    _, is_target = data_of(draw)
    method.guidance.drop = rate  # type: ignore[union-attr]
    return method.guidance.dropped(is_target.long()).tolist()  # type: ignore[union-attr]


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
    own = gradients(total, list(method.guidance.parameters()))  # type: ignore[union-attr]
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
    own = [*gradients(entropy, list(layers.parameters())), *gradients(total, list(method.guidance.parameters()))]
    return answer(total - 0.05 * entropy, guided, shared, own)


def reweighted(draw: Draw) -> Method:
    return recipes.reweighted(draw.ratio, share=natural_ratio(source=len(draw.source), target=len(draw.target)))


def reweighted_written(draw: Draw, method: Method) -> Answer:
    n, m = len(draw.source), len(draw.target)
    weights = [(1 - draw.ratio) * (n + m) / n] * n + [draw.ratio * (n + m) / m] * m
    return weighted_answer(draw, method, weights)


def importance(draw: Draw) -> Method:
    return recipes.importance(torch.cat([known_ratio(draw), torch.ones(len(draw.target))]), ratio=draw.ratio)


def known_ratio(draw: Draw) -> Tensor:
    """N(x; 1/2, 1) / N(x; 0, 1) at the first feature of the source rows."""
    return torch.exp(draw.source.features[:, 0].detach() / 2 - 1 / 8)


def importance_written(draw: Draw, method: Method) -> Answer:
    normal = lambda x, mean: math.exp(-((x - mean) ** 2) / 2)  # noqa: E731
    ratios = [normal(float(x), 0.5) / normal(float(x), 0.0) for x in draw.source.features[:, 0].detach()]
    return weighted_answer(draw, method, [*ratios, *[1.0] * len(draw.target)])


def ambient(draw: Draw) -> Method:
    return recipes.ambient(ratio=draw.ratio, low=0.3, high=0.8)


def ambient_written(draw: Draw, method: Method) -> Answer:
    batch, is_target = data_of(draw)
    pairs = zip(batch["time"].tolist(), is_target.tolist(), strict=True)
    return weighted_answer(draw, method, [1.0 if target or 0.3 <= t <= 0.8 else 0.0 for t, target in pairs])


def remix(draw: Draw) -> Method:
    method = recipes.remix({"source": 1 - draw.ratio, "target": draw.ratio})
    for excess, labels in excess_losses(draw):
        method.weights.update(excess, labels)  # type: ignore[union-attr]
    return method


def excess_losses(draw: Draw) -> list[tuple[Tensor, Tensor]]:
    """Three batches of excess losses with their labels, both domains in each."""
    rng = draw.generator
    labels = [np.concatenate([[0, 1], rng.integers(0, 2, 6)]) for _ in range(3)]
    return [(torch.from_numpy(rng.normal(size=8)), torch.from_numpy(label)) for label in labels]


def remix_written(draw: Draw, method: Method) -> Answer:
    prior = alpha = np.array([1 - draw.ratio, draw.ratio])
    for excess, labels in excess_losses(draw):
        clipped, label = np.maximum(excess.numpy(), 0), labels.numpy()
        alpha = alpha * np.exp(1.0 * np.array([clipped[label == k].mean() for k in (0, 1)]))
        alpha = (1 - 5e-3) * alpha / alpha.sum() + 5e-3 * prior
    weights = alpha / prior
    return weighted_answer(draw, method, [weights[0]] * len(draw.source) + [weights[1]] * len(draw.target))


def beacon(draw: Draw) -> Method:
    _, is_target = data_of(draw)
    method = recipes.beacon(is_target, ratio=draw.ratio)
    method.weights.observe(torch.arange(len(is_target)), sample_losses(draw))  # type: ignore[union-attr]
    method.weights.solve()  # type: ignore[union-attr]
    return method


def sample_losses(draw: Draw) -> Tensor:
    """One loss for each sample of the dataset."""
    return torch.from_numpy(draw.generator.exponential(size=len(draw.source) + len(draw.target)))


def beacon_written(draw: Draw, method: Method) -> Answer:
    from scipy.optimize import minimize

    n, m = len(draw.source), len(draw.target)
    prior = np.array([0.0] * n + [1.0] * m)
    cost = sample_losses(draw).numpy() + 0.1 * (1 - prior)
    objective = lambda q: q @ cost + 0.01 * (q - prior).sum() + 0.001 * q @ q  # noqa: E731  q >= prior: |q - prior|
    slope = lambda q: cost + 0.01 + 0.002 * q  # noqa: E731
    whole = {"type": "eq", "fun": lambda q: q.sum() - m - 0.5 * n, "jac": lambda q: np.ones_like(q)}
    start = prior + 0.5 * n / (n + m)
    found = minimize(
        objective,
        start,
        jac=slope,
        bounds=[(p, 5.0) for p in prior],
        constraints=whole,
        method="SLSQP",
        options={"maxiter": 2000, "ftol": 1e-15},
    )
    return weighted_answer(draw, method, found.x.tolist())


def cotraining(draw: Draw) -> Method:
    return recipes.cotraining(rows_of_a_batch(draw)[1] / sum(rows_of_a_batch(draw)))


def real_only(draw: Draw) -> Method:
    return recipes.real_only()


def rows_of_a_batch(draw: Draw) -> tuple[int, int]:
    """Source and target rows of a batch; those of the larger domain divide it, so that an epoch passes it once."""
    n, m = len(draw.source), len(draw.target)
    other = round(12 * draw.ratio)
    return (_divisor(n), other) if n > m else (other, _divisor(m))


def _divisor(size: int) -> int:
    return max(k for k in range(1, size) if size % k == 0)


def at_the_sampler(draw: Draw, method: Method) -> Answer:
    """The mean step over as many batches as pass both domains a whole number of times."""
    batch, is_target = data_of(draw)
    policy = policy_of(draw, method)
    cotrain = CoTrain(policy, method)
    rows = rows_of_a_batch(draw) if method.ratio != 1.0 else (0, _divisor(len(draw.target)))
    sampler = MixedBatchSampler(is_target, sum(rows), method.ratio, seed=draw.seed)  # type: ignore[arg-type]
    passes = [size // math.gcd(size, k) for size, k in zip((len(draw.source), len(draw.target)), rows, strict=True)]
    each = []
    for number in range(math.lcm(*passes)):
        indices = sampler.batch(number)
        part = {name: value[indices] for name, value in batch.items()}
        each.append(cotrain(part, domain=is_target[indices]).total)
    mean = torch.stack(each).mean()
    return Answer(mean, (gradients(mean, list(policy.parameters())),))


def cotraining_written(draw: Draw, method: Method) -> Answer:
    source, target = rows_of_a_batch(draw)
    return mixture_written(draw, method, target / (source + target))


def mixture_written(draw: Draw, method: Method, ratio: float) -> Answer:
    """w mean over the target + (1 - w) mean over the source."""
    n, m = len(draw.source), len(draw.target)
    total, _, policy = step_written(draw, method, [(1 - ratio) * (n + m) / n] * n + [ratio * (n + m) / m] * m)
    return Answer(total, (gradients(total, list(policy.parameters())),))


def real_only_written(draw: Draw, method: Method) -> Answer:
    return mixture_written(draw, method, 1.0)


BY_SAMPLES = "the step written sample by sample"
WEIGHTED = r"\frac{1}{b} \sum_i \omega_i\, \ell_i"

CASES = (
    Case(
        "real_only",
        "training on the target",
        recipes.real_only,
        real_only,
        at_the_sampler,
        real_only_written,
        r"\frac{1}{N} \sum_{i \in T} \ell_i",
        "the full-batch loss",
        "Ratio 1.",
    ),
    Case(
        "cotraining",
        "Maddukuri et al. 2025; Wei et al. 2025; Lei et al. 2026",
        recipes.cotraining,
        cotraining,
        at_the_sampler,
        cotraining_written,
        r"L_w = \frac{w}{N} \sum_{i \in T} \ell_i + \frac{1 - w}{M} \sum_{i \in S} \ell_i",
        "the full-batch loss",
        "w is the share of target samples: Maddukuri's alpha, the share of simulation, is 1 - w; Wei's alpha is w. "
        "Batches are averaged over whole passes of both domains, where sampling equals weighting exactly.",
    ),
    Case(
        "reweighted",
        "weights w / N and (1 - w) / M",
        recipes.reweighted,
        reweighted,
        at_the_seam,
        reweighted_written,
        WEIGHTED + r", \quad \omega_T = w\,\frac{N + M}{N}, \quad \omega_S = (1 - w)\,\frac{N + M}{M}",
        BY_SAMPLES,
        "All samples in one batch, drawn at their natural share N / (N + M).",
    ),
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
    Case(
        "importance",
        "Shimodaira 2000",
        recipes.importance,
        importance,
        at_the_seam,
        importance_written,
        WEIGHTED + r", \quad \omega_i = \frac{p_T(x_i)}{p_S(x_i)}\ (i \in S), \quad \omega_i = 1\ (i \in T)",
        BY_SAMPLES + "; two Gaussians' known ratio",
        "Weights are used as given: no normalisation inside.",
    ),
    Case(
        "ambient",
        "Wei et al. 2026 (Ambient Diffusion Policy)",
        recipes.ambient,
        ambient,
        at_the_seam,
        ambient_written,
        WEIGHTED
        + r", \quad \omega_i = 1\ \mathrm{if}\ i \in T\ \mathrm{or}\ t_{min} \leq t_i \leq t_{max}\ \mathrm{else}\ 0",
        BY_SAMPLES,
        "Times are the head's own; which end is noise is the policy's choice. Both ends belong to the window.",
    ),
    Case(
        "remix",
        "Hejna et al. 2024 (Re-Mix); Xie et al. 2023 (DoReMi)",
        recipes.remix,
        remix,
        at_the_seam,
        remix_written,
        r"\alpha_k \leftarrow \alpha_k e^{\eta\,\mathrm{E}_k[\ell - \ell_{ref}]_+} / Z, \quad"
        r" \alpha \leftarrow (1 - c)\,\alpha + c\,\alpha_0, \quad \omega_i = \alpha_{k(i)} / \alpha_{0, k(i)}",
        "three updates by hand",
        "The excess is clipped for the update only; eta = 1, c = 0.005. Domains are drawn at the prior.",
    ),
    Case(
        "beacon",
        "BEACON 2026",
        recipes.beacon,
        beacon,
        at_the_seam,
        beacon_written,
        r"\min_q \sum_i q_i (\ell_i + 0.1\, d_i) + 0.01\,|q - p|_1 + 0.001\,|q|_2^2,"
        r" \quad \mathrm{target} \leq q \leq 5"
        r", \quad \sum q = N + \frac{M}{2}",
        "scipy SLSQP",
        "The published peak term, weight decay on the policy times the largest q, is 0 here.",
        tolerance=1e-4,
    ),
)
