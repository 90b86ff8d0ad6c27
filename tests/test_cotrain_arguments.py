"""Labels, weights, seams and losses as users give them: what is read, and what is refused."""

from __future__ import annotations

import pytest
import torch

from cotrain_losses import CoTrain, DomainGuidance, Method, Seam
from tests.toy import Head, Policy, batch
from tests.training import Gap
from tests.wrapped import LABELS, SEAM, Critic, policy, seeded


@pytest.mark.parametrize(
    "returned",
    [
        lambda x: x,
        lambda x: (x, {"a": 1}),
        lambda x: {"loss": x},
        lambda x: (x, None),
        lambda x: type("Out", (), {"loss": x})(),
    ],
)
def test_every_usual_form_of_loss_entry_is_read(returned) -> None:
    p = policy()
    cotrain = CoTrain(p, Method(), loss=lambda policy, b: returned(policy.compute_loss(b)))
    assert torch.equal(seeded(lambda: cotrain(batch(), domain=LABELS)).total, seeded(lambda: p.compute_loss(batch())))


def test_what_a_loss_entry_returns_beside_the_loss_is_kept() -> None:
    for rest, info in ((({"a": 1},), {"a": 1}), ((1, "b"), (1, "b"))):
        cotrain = CoTrain(policy(), Method(), loss=lambda policy, b, rest=rest: (policy.compute_loss(b), *rest))
        assert cotrain(batch(), domain=LABELS).info == info


@pytest.mark.parametrize(
    ("domain", "error", "said"),
    [
        (torch.ones(3, dtype=torch.bool), ValueError, r"one label per sample, got shape \(3,\) for a batch.*6 rows"),
        (torch.ones(6, 1, dtype=torch.bool), ValueError, r"one label per sample, got shape \(6, 1\)"),
        (torch.ones(6), TypeError, r"bool.*got float32.*domain > 0\.5"),
        (torch.full((6,), 2), ValueError, r"positions among the domains source, target, got values from 2 to 2"),
        (["real"] * 6, ValueError, "domain is one of source, target, got 'real'"),
        ("target", TypeError, "labels the samples.*got str"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_wrong_labels_are_refused(domain, error, said) -> None:
    with pytest.raises(error, match=f"(?s){said}"):
        CoTrain(policy(), Method())(batch(), domain=domain)


@pytest.mark.parametrize("domain", [[0, 0, 0, 0, 1, 1], LABELS.numpy(), ["source"] * 4 + ["target"] * 2, LABELS.long()])
def test_labels_may_be_masks_integers_or_names(domain) -> None:
    assert CoTrain(policy(), Method())(batch(), domain=domain).counts == {"source": 4, "target": 2}


@pytest.mark.parametrize(
    ("build", "error", "said"),
    [
        (lambda p: CoTrain(p, Method(regularizer=Gap())), ValueError, "acts at a seam, got none for a Policy"),
        (
            lambda p: CoTrain(p, Method(), seam=Seam(head="trunk", condition="c")),
            ValueError,
            "Policy has no 'trunk'.*encoder, head",
        ),
        (
            lambda p: CoTrain(p, Method(), seam=Seam(head="head", condition="global_cond")),
            ValueError,
            "takes noisy, time, condition",
        ),
        (lambda p: CoTrain(p, Method(), seam=Seam(head="training", condition=0)), TypeError, "is a bool"),
        (lambda p: Seam(head="head"), ValueError, "says where the features are"),
        (lambda p: CoTrain(p, Method(guidance=DomainGuidance()), seam=SEAM), ValueError, "does not know"),
        (
            lambda p: CoTrain(p, Method(guidance=DomainGuidance(4)), seam=Seam(feature="encoder")),
            ValueError,
            r"without a condition\. Name the head's argument",
        ),
        (
            lambda p: CoTrain(
                p, Method(guidance=DomainGuidance(4)), seam=Seam(head="head", condition="condition", sampler=False)
            ),
            ValueError,
            "regression",
        ),
        (
            lambda p: CoTrain(p, Method(guidance=DomainGuidance(4, domains=3)), seam=SEAM),
            ValueError,
            "3 tokens for the 2 domains",
        ),
        (lambda p: CoTrain(p, Method(), domains=("real", "sim")), ValueError, r"target is one of.*got None"),
        (lambda p: CoTrain(p, Method(), domains=("one",)), ValueError, "two or more domains"),
        (lambda p: CoTrain(p, Method(), sources="some"), ValueError, "'pooled' or 'each'"),
    ],
)
def test_a_seam_that_cannot_be_is_refused_when_it_is_attached(build, error, said) -> None:
    with pytest.raises(error, match=f"(?s){said}"):
        build(policy())


def test_the_width_of_the_token_is_read_from_the_seam_when_it_is_known() -> None:
    p = policy()
    p.config = type("Config", (), {"width": 4})()
    guidance = DomainGuidance()
    CoTrain(p, Method(guidance=guidance), seam=Seam(head="head", condition="condition", width="config.width"))
    assert guidance.table.shape == (2, 4)


@pytest.mark.parametrize(
    ("weight", "said"),
    [(torch.ones(5), r"shape \(6,\), got \(5,\)"), (torch.full((6,), float("nan")), "NaN"), ([1.0] * 6, "got list")],
)
def test_wrong_weights_are_refused(weight, said) -> None:
    with pytest.raises(ValueError, match=said):
        CoTrain(policy(), Method(), seam=SEAM)(batch(), domain=LABELS, weight=weight)


def test_weights_that_can_reach_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="one scalar and no seam with a head"):
        CoTrain(policy(), Method())(batch(), domain=LABELS, weight=torch.ones(6))


@pytest.mark.parametrize(
    ("loss", "error"), [(lambda p, b: None, TypeError), (lambda p, b: p.per_sample(b)[:2], ValueError)]
)
def test_a_loss_entry_of_another_kind_is_refused(loss, error) -> None:
    with pytest.raises(error, match="a loss entry returns"):
        CoTrain(policy(), Method(), loss=loss)(batch(), domain=LABELS)


def test_a_one_sided_batch_is_a_zero_that_is_counted() -> None:
    cotrain = CoTrain(policy(), Method(regularizer=-0.1 * Critic(4)), seam=SEAM)
    losses = cotrain(batch(), domain=torch.zeros(6, dtype=torch.bool))
    assert losses.skipped == ("critic",) and losses.regularizer == 0.0 and losses.counts["target"] == 0
    losses.total.backward()
    assert all(p.grad is not None and not p.grad.any() for p in cotrain.plugin_parameters())


class Timed(Policy):
    """A policy whose head takes a time of another shape."""

    class Head(Head):
        def forward(self, noisy, time, condition):
            return super().forward(noisy, time.expand(len(noisy)), condition)

    def __init__(self, time) -> None:
        super().__init__()
        self.head, self.time = self.Head(4, 2).double(), time

    def per_sample(self, batch):
        return self.head(batch["action"], self.time, condition=self.encoder(batch["observation"])).square().mean(1)


@pytest.mark.parametrize("shape", [(), (1,), (6,)])
def test_a_time_of_the_whole_batch_is_that_of_each_sample(shape) -> None:
    times = []
    method = Method(weights=lambda samples: times.append(samples.time) or torch.ones(6))
    seam = Seam(head="head", condition="condition", time="time")
    CoTrain(Timed(torch.full(shape, 0.75).double()), method, seam=seam)(batch(), domain=LABELS)
    assert times[0].tolist() == [0.75] * 6
