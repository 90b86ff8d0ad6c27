"""Places where a small slip would stay unseen: which numbers a masked condition is, how often a head is called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotrain_losses import CoTrain, DomainGuidance, Method, Seam, Term
from tests.fakes import gr00t


class Kept(Term):
    """Keeps the features that it was given."""

    def compare(self, pair: Any) -> Tensor:
        self.given = torch.cat([pair.source.features, pair.target.features]).detach()
        return pair.source.features.sum() * 0.0


@pytest.mark.parametrize("k", [0, 3])
def test_gr00ts_features_are_the_mean_of_the_tokens_that_are_not_padding(k: int) -> None:
    torch.manual_seed(0)
    case, kept = gr00t.cases()[k], Kept()
    model = getattr(case.policy, "_groot_model", case.policy)
    with torch.no_grad():
        tokens = model.action_head.vlln(model.backbone(case.batch["tokens"]))
    expected = torch.stack(
        [
            torch.stack([x for x, real in zip(row, mask, strict=True) if real]).mean(0)
            for row, mask in zip(tokens, case.batch["mask"], strict=True)
        ]
    )
    is_target = torch.arange(case.samples) >= 4
    CoTrain(case.policy, Method(regularizer=1.0 * kept))(case.batch, domain=is_target)
    torch.testing.assert_close(kept.given, expected)


class Counted(nn.Module):
    """A head that counts its calls; `whole` adds an output that has not the samples first."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.net, self.whole, self.calls = nn.Linear(4, 2), whole, 0

    def forward(self, condition: Tensor) -> Any:
        self.calls += 1
        output = self.net(condition)
        return (output, output.mean(0)) if self.whole else output


class Policy(nn.Module):
    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(3, 4), Counted(whole)

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        return self.sample(batch["observation"]).square().mean()

    def sample(self, observation: Tensor) -> Tensor:
        output = self.head(self.encoder(observation))
        return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize(("whole", "calls"), [(False, 1), (True, 3)])
def test_a_guided_prediction_is_one_call_where_every_output_has_twice_the_rows_and_right_where_not(
    whole, calls
) -> None:
    policy, observation = Policy(whole), torch.randn(5, 3)
    cotrain = CoTrain(
        policy, Method(guidance=DomainGuidance(width=4, scale=0.5)), seam=Seam(head="head", condition="condition")
    )
    with torch.no_grad():
        cotrain.guidance.table += torch.randn(2, 4)
        z = policy.encoder(observation)
        by_hand = [policy.head.net(z + token) for token in (cotrain.guidance.table[1], torch.zeros(4))]
        policy.head.calls = 0
        with cotrain.guided(domain="target"):
            found = policy.sample(observation)
    torch.testing.assert_close(found, (by_hand[0] + by_hand[1]) / 2)
    assert policy.head.calls == calls
