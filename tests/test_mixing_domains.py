"""Named domains get their shares, whatever form their labels have, and what cannot be mixed is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given

from cotrain_losses.mixing import MixedBatchSampler, natural_ratio, ratio_range, ratio_weights
from cotrain_losses.mixing.domains import Domains
from tests.drawn import seeds
from tests.masks import mask, target_counts, three

# --- domains ---


@given(three, seeds)
def test_named_domains_get_their_shares(shares, seed):
    names = ("real", "sim_a", "sim_b")
    labels = torch.arange(60) % 3
    sampler = MixedBatchSampler(labels, 12, dict(zip(names, shares, strict=True)), domains=names, seed=seed)
    for batch in sampler:
        counts = torch.bincount(labels[batch], minlength=3).tolist()
        assert all(abs(c - 12 * s) < 1 + 1e-9 for c, s in zip(counts, shares, strict=True))


def test_integers_names_and_masks_say_the_same():
    labels = torch.tensor([0, 1, 1, 0, 1])
    by_name = ["real" if label == 0 else "sim" for label in labels]
    settings = {"batch_size": 5, "ratio": 0.4, "target": "real"}
    batches = [
        list(MixedBatchSampler(domain, domains=("real", "sim"), **settings))
        for domain in (labels, by_name, labels == 0)
    ]
    assert batches[0] == batches[1] == batches[2] == list(MixedBatchSampler(np.array(by_name), **settings))
    assert all((labels[batch] == 0).sum() == 2 for batch in batches[0])


def test_one_number_with_several_sources_lets_them_share_by_size():
    labels = torch.tensor([0] * 5 + [1] * 30 + [2] * 10)
    sampler = MixedBatchSampler(labels, 20, 0.2, domains=("real", "a", "b"), target="real")
    assert sampler.share == pytest.approx({"real": 0.2, "a": 0.6, "b": 0.2})


def test_the_realised_share_and_the_passes_are_what_was_drawn():
    is_target = mask(7, 90)
    sampler = MixedBatchSampler(is_target, 10, 0.13, seed=5)
    counts = target_counts(list(sampler), is_target)
    assert sampler.realised()["target"] == pytest.approx(sum(counts) / (10 * len(counts)), abs=1e-12)
    assert sampler.realised(3)["target"] == pytest.approx(sum(counts[:3]) / 30, abs=1e-12)
    assert sampler.passes()["target"] == pytest.approx(sum(counts) / 7, abs=1 / 7)
    assert "0.13 of target (7 frames)" in repr(sampler)


@pytest.mark.parametrize("names", [("source", "target"), ("real", "sim"), ("sim", "real"), ("b", "target", "c")])
def test_every_form_of_a_label_is_read_as_the_same_domain_everywhere(names):
    target = "target" if "target" in names else "real"
    positions = [k * 5 % 7 % len(names) for k in range(12)]
    domains = Domains.named(names, target)
    text, numbers = [names[k] for k in positions], torch.tensor(positions)
    forms = [positions, numbers, numbers.to(torch.uint8), numbers.numpy(), [np.int64(k) for k in positions]]
    forms += [list(numbers), text, np.array(text), np.array(text, dtype=object), tuple(text)]
    if len(names) == 2:
        is_target = [name == target for name in text]
        forms += [is_target, torch.tensor(is_target), np.array(is_target), np.array(is_target, dtype=object)]
    for form in forms:
        assert domains.labels(form).tolist() == positions and domains.labels(form).dtype == torch.long
        assert domains.is_target(domains.labels(form)).tolist() == [name == target for name in text]
        sampler = MixedBatchSampler(form, 5, 0.4, domains=names, target=target)
        assert sampler.sizes == domains.counts(numbers) and sampler.ratio[target] == 0.4


def test_a_name_is_the_position_of_its_domain():
    domains = Domains.named(("sim_a", "real", "sim_b"), "real")
    assert [domains.position(name) for name in ("sim_a", "real", "sim_b")] == [0, 1, 2]
    with pytest.raises(ValueError, match="one of sim_a, real, sim_b, got 'sim'"):
        domains.position("sim")


def test_the_steps_of_a_domain_are_the_valid_ones_of_its_samples():
    valid = torch.tensor([[True, True, False], [True, True, True], [False, False, True]])
    domains = Domains.named(("sim_a", "real", "sim_b"), "real")
    assert domains.steps(torch.tensor([1, 0, 1]), valid) == {"sim_a": 3.0, "real": 3.0, "sim_b": 0.0}


@pytest.mark.parametrize("number", [np.float32(0.25), np.float64(0.25), np.array(0.25), torch.tensor(0.25)])
def test_numbers_of_numpy_and_torch_are_numbers(number):
    sampler = MixedBatchSampler(mask(10, 90), torch.tensor(8), number, seed=np.int64(3))
    assert list(sampler) == list(MixedBatchSampler(mask(10, 90), 8, 0.25, seed=3))


# --- errors ---


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: MixedBatchSampler(mask(2, 3), 4, 3.0), ValueError, 'For "3 source to 1 target" use 0.25'),
        (lambda: MixedBatchSampler(mask(0, 3), 4, 0.1), ValueError, "'target' with none and share 0.1"),
        (lambda: MixedBatchSampler(mask(3, 0), 4, 0.1), ValueError, "'source' with none"),
        (lambda: MixedBatchSampler(mask(2, 3), 4, {"real": 1.0}), ValueError, "missing: ['source', 'target']"),
        (lambda: MixedBatchSampler(mask(2, 3), 4, {"source": 0.5, "target": 0.6}), ValueError, "sum to 1, got 1.1"),
        (lambda: MixedBatchSampler([0, 1], 4, 0.5), TypeError, "domains=('real', 'sim_a', 'sim_b')"),
        (lambda: MixedBatchSampler([0, 3], 4, 0.5, domains=("a", "b")), ValueError, "got values from 0 to 3"),
        (lambda: MixedBatchSampler(["a", "b"], 4, 0.5), ValueError, "target='a'"),
        (lambda: MixedBatchSampler(["a", "b"], 4, 0.5, domains=("a", "c")), ValueError, "got 'b'"),
        (lambda: MixedBatchSampler(mask(1, 1), 4, 0.5, domains=("a", "b", "c")), TypeError, "a bool mask tells"),
        (lambda: MixedBatchSampler(torch.ones(2, 2), 4, 0.5), ValueError, "of one-hot rows domain.argmax(1)"),
        (lambda: MixedBatchSampler(torch.ones(2), 4, 0.5), TypeError, "got float32"),
        (lambda: MixedBatchSampler([True, None], 4, 0.5), TypeError, "got a mixture of NoneType, bool. Label every"),
        (lambda: MixedBatchSampler(np.array([None]), 4, 0.5), TypeError, "got NoneType"),
        (lambda: MixedBatchSampler(np.array([1.0, math.nan]), 4, 0.5), TypeError, "got float64 with 1 NaN"),
        (lambda: MixedBatchSampler(["a", math.nan], 4, 0.5), TypeError, "got a mixture of float, str"),
        (lambda: MixedBatchSampler([True, 2], 4, 0.5), TypeError, "got a mixture of bool, int"),
        (lambda: MixedBatchSampler(mask(1, 1), 4, "0.5"), ValueError, "lies in [0, 1], got '0.5'"),
        (lambda: MixedBatchSampler(mask(1, 1), 4.5, 0.5), ValueError, "got batch_size=4.5. Pass int(batch_size)"),
        (lambda: MixedBatchSampler(mask(1, 1), True, 0.5), ValueError, "got batch_size=True"),
        (lambda: MixedBatchSampler(mask(1, 1), 0, 0.5), ValueError, "batch_size=0"),
        (lambda: MixedBatchSampler(mask(1, 1), 1, 0.5, rank=2, world_size=2), ValueError, "rank=2"),
        (lambda: MixedBatchSampler(mask(1, 1), 1, 0.5, start=-1), ValueError, "start is a whole number"),
        (lambda: ratio_weights([True], ratio=0.1, share=0.0), ValueError, "Draw some of it"),
        (lambda: natural_ratio(source=0, target=0), ValueError, "one in all"),
        (lambda: ratio_range(source=10, target=0), ValueError, "at least 1 of each"),
        (lambda: ratio_range(source=10, target=1, contribution=0.3), ValueError, "the paper uses 0.8"),
    ],
)
def test_what_cannot_be_mixed_is_said(make, error, says):
    with pytest.raises(error) as caught:
        make()
    assert says in str(caught.value)
