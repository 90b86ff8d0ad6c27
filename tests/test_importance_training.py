"""Weights in training: hooks act on a wrapped policy as on its weighted loss, and resume with its checkpoint."""

from __future__ import annotations

import math

import pytest
import torch

from cotrain_losses import CoTrain, Method, MixedBatchSampler, Seam, importance
from cotrain_losses.importance.samples import Samples
from tests.toy import Policy, batch

SEAM = Seam(head="head", condition="condition", time=1)
N, TARGETS = 40, 8
DATA, IS_TARGET = batch(seed=1, b=N), torch.arange(N) < TARGETS


def rows(index: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: value[index] for name, value in DATA.items()}


def gradient(loss: torch.Tensor, policy: Policy) -> torch.Tensor:
    policy.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in policy.parameters()]).clone()


def weighted(policy: Policy, weights, index: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    """The policy's gradient for one batch, wrapped with a hook of weights."""
    cotrain = CoTrain(policy, Method(weights=weights), seam=SEAM)
    torch.manual_seed(seed)
    found = gradient(cotrain(rows(index), domain=IS_TARGET[index], index=index).total, policy)
    cotrain.unwrap()
    return found


def by_hand(policy: Policy, weights: torch.Tensor, index: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return gradient((weights * policy.per_sample(rows(index))).mean(), policy)


def drawn_times(index: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    torch.randn_like(DATA["action"][index])
    return torch.rand(len(index), dtype=torch.float64)


def test_every_hook_is_the_weighted_loss_it_says() -> None:
    policy, index = Policy(), torch.tensor([0, 3, 9, 30, 21, 9])
    domain, times = IS_TARGET[index].long(), drawn_times(index)
    dro = importance.GroupDRO({"source": 0.8, "target": 0.2})
    dro.update(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))
    sifted = importance.DiscrepancyWeights(IS_TARGET)
    sifted.observe(torch.arange(N), torch.rand(N))
    sifted.solve()
    table, window, drawn = (
        importance.TableWeights(torch.rand(N)),
        importance.TimeWindow({"source": (0.5, 1.0)}),
        importance.RatioWeights(0.1, 0.5),
    )
    expected = {
        table: table.weights[index],
        window: ((domain == 1) | (times >= 0.5)).double(),
        drawn: torch.where(domain == 1, 0.2, 1.8),
        dro: (dro.alpha / torch.tensor([0.8, 0.2]))[domain],
        sifted: sifted.q[index],
        importance.ProductWeights(table, window): table.weights[index] * ((domain == 1) | (times >= 0.5)),
    }
    for hook, weights in expected.items():
        torch.testing.assert_close(weighted(policy, hook, index), by_hand(policy, weights, index), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_on_full_batches_weighing_is_the_mixture_exactly(share) -> None:
    """All frames once: drawn at the natural share .2, or at .5 with each target frame repeated four times."""
    policy, ratio = Policy(), 0.35
    repeated = (
        torch.arange(N) if share == 0.2 else torch.cat([torch.arange(TARGETS).repeat(4), torch.arange(TARGETS, N)])
    )
    found = weighted(policy, importance.RatioWeights(ratio, share), repeated)
    losses = by_hand_losses(policy, repeated)
    mixture = ratio * losses[IS_TARGET[repeated]].mean() + (1 - ratio) * losses[~IS_TARGET[repeated]].mean()
    torch.testing.assert_close(found, gradient(mixture, policy), rtol=1e-6, atol=1e-8)


def by_hand_losses(policy: Policy, index: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    return policy.per_sample(rows(index))


def test_sampling_weighing_and_a_mix_have_the_same_expected_gradient() -> None:
    policy, ratio, draws = Policy(), 0.35, 120
    means, errors = [], []
    for share in (ratio, 0.2, 0.6):
        sampler = MixedBatchSampler(IS_TARGET, 10, ratio, share=share)
        found = [
            weighted(policy, importance.RatioWeights(ratio, share), torch.tensor(sampler.batch(3 * k)), seed=k)[:12]
            for k in range(draws)
        ]
        means.append(torch.stack(found).mean(0))
        errors.append(torch.stack(found).std(0) / math.sqrt(draws))
    for mean, error in zip(means[1:], errors[1:], strict=True):
        assert ((mean - means[0]).abs() < 4.5 * (error.square() + errors[0].square()).sqrt()).all()


def test_the_hooks_resume_with_the_wrappers_checkpoint() -> None:
    def make() -> tuple[importance.GroupDRO, importance.DiscrepancyWeights, CoTrain]:
        dro, sifted = importance.GroupDRO({"source": 0.8, "target": 0.2}), importance.DiscrepancyWeights(IS_TARGET)
        torch.manual_seed(5)
        return dro, sifted, CoTrain(Policy(), Method(weights=importance.ProductWeights(dro, sifted)), seam=SEAM)

    dro, sifted, cotrain = make()
    dro.update(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))
    sifted.observe(torch.arange(N), torch.rand(N))
    sifted.solve()
    dro_again, sifted_again, resumed = make()
    resumed.load_state_dict(cotrain.state_dict())
    assert dro_again.shares() == dro.shares() and torch.equal(sifted_again.q, sifted.q)
    seen = Samples(IS_TARGET.long(), IS_TARGET, index=torch.arange(N))
    assert torch.equal(resumed.method.weights(seen), cotrain.method.weights(seen))
