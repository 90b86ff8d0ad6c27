"""Training steps on another device: one shape, the same numbers, and no wait, shown on the meta device."""

from __future__ import annotations

import copy

import pytest
import torch
from test_recipes import RECIPES, oneness
from torch import nn

import cotrain_losses as ctl
from cotrain_losses import MMD, CoTrain, Method, OptimalTransport, Rows, importance, terms
from cotrain_losses._core.device import follow
from cotrain_losses._core.flags import Flags
from cotrain_losses.mixing.domains import Domains
from cotrain_losses.strength.schedules import warmup
from cotrain_losses.terms import DomainClassifier, Term
from cotrain_losses.terms.mmd import CORAL
from cotrain_losses.terms.transport import rounds
from tests.drawn import features
from tests.elsewhere import OneDevice, another_device, captured
from tests.every_term import TERMS
from tests.toy import Policy, batch
from tests.wrapped import SEAM

MORE: dict[str, Term] = {
    "MMD, mean bandwidth": MMD("mean"),
    "MMD linear": MMD(estimator="linear"),
    "MMD joint": MMD(extras=("action",)),
    "diagonal": OptimalTransport(0.1, unbalanced=1.0, reference="diagonal"),
    "no penalty": ctl.DomainClassifier(3, penalty=0.1).double(),
    "auxiliary": terms.AuxiliaryRegression(3, "action", 1, hidden=(8,)).double(),
}
EACH = TERMS | MORE
LABELS = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1])
WAIT = ("deepjdot",)  # exact transport, on the CPU
INDEX = torch.arange(8) % 3
EIGHT = torch.arange(8)
WEIGHTS = {
    "ratio": importance.RatioWeights(0.1, 0.5),
    "table": importance.TableWeights(torch.ones(8)),
    "time": importance.TimeWindow({"source": (0.2, 1.0)}),
    "dro": importance.GroupDRO({"source": 0.5, "target": 0.5}),
    "product": importance.ProductWeights(importance.RatioWeights(0.1, 0.5), importance.TableWeights(torch.ones(8))),
    "discrepancy": importance.DiscrepancyWeights(EIGHT < 3),
    "given": None,
}
SLOW = [name for name in EACH if "exact" in name]
UNGROUPED = ("MMD linear", "diagonal")
"""terms without groups"""


def kinds(module, base):
    """The public classes of a package that are of a kind."""
    return {each for each in vars(module).values() if isinstance(each, type) and issubclass(each, base)}


def test_every_term_and_every_weight_of_the_package_is_tried_here():
    assert {type(term) for term in EACH.values()} == kinds(terms, Term) - {Term}
    assert {type(weights) for weights in WEIGHTS.values() if weights} == kinds(importance, nn.Module)


def evaluated(term, source, target, z):
    value = term(source, target)
    return value.detach(), torch.autograd.grad(value, z)[0]


@pytest.mark.filterwarnings("ignore:OptimalTransport.reg=0. is exact")
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", EACH)
def test_all_rows_on_both_sides_give_the_split_value_and_gradient_in_float32(name, grouped):
    if grouped and name in ("MMD linear", "diagonal"):
        return
    term = copy.deepcopy(EACH[name]).float()
    if hasattr(term, "settings"):
        term.settings = type(term.settings)(**{**vars(term.settings), "tolerance": 1e-9})
    z = features(3, 8, 1, 3)[0].float().requires_grad_()
    rows = Rows(z, {"action": torch.linspace(0, 1, 8)[:, None]}, group=torch.arange(8) // 4 if grouped else None)
    domains = Domains.named(("source", "target"), "target")
    ((_, *split),) = domains.sides(rows.map(lambda x: x.double() if x.is_floating_point() else x), LABELS)
    expected, at = evaluated(copy.deepcopy(term).double(), *split, z)
    with another_device():
        ((_, *whole),) = domains.sides(rows, LABELS)
        assert all(len(side) == 8 for side in whole)
        found, of = evaluated(term, *whole, z)
    assert (found - expected).abs() <= 2e-6 * (1 + expected.abs())
    assert (of - at).abs().max() <= 2e-6 * (1 + at.abs().max())


@pytest.mark.filterwarnings("ignore:OptimalTransport.reg=0. is exact")
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_whole_step_is_the_same_in_one_shape(name):
    results = []
    for elsewhere in (False, True):
        torch.manual_seed(0)
        cotrain, data = wrapped(oneness()[name][0])
        torch.manual_seed(1)
        if elsewhere:
            with another_device():
                losses = cotrain(data, domain=LABELS.bool(), index=INDEX, step=3)
                losses.total.backward()
        else:
            losses = cotrain(data, domain=LABELS.bool(), index=INDEX, step=3)
            losses.total.backward()
        gradients = [p.grad for p in cotrain.parameters() if p.grad is not None]
        results.append([losses.total.detach(), torch.cat([g.flatten() for g in gradients])])
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=5e-4)


def wrapped(method: Method, device: str = "cpu"):
    data = {name: value.to(device) for name, value in batch(b=8).items()}
    chunk = lambda b: b["action"][:, None].expand(-1, 3, -1)
    extras = lambda b: {"action": chunk(b), "state": b["observation"], "prediction": chunk(b)}
    policy = Policy().to(device)
    if method.guidance is not None and method.guidance.one_hot:
        policy.head.net[0] = nn.Linear(4 + method.guidance.domains + 3, 16).double().to(device)
    return CoTrain(policy, method, seam=SEAM, loss="compute_loss", extras=extras), data


@pytest.fixture
def few_rounds(monkeypatch):
    """All rounds of transport are one function: on the meta device a few show as much as all."""
    monkeypatch.setattr(rounds, "ROUNDS", 3)


def assert_a_step_waits_for_nothing(method: Method, labels: torch.Tensor, **more: torch.Tensor) -> None:
    cotrain, data = wrapped(method, "meta")
    with OneDevice():
        for step in (3, 4):
            losses = cotrain(data, domain=labels, step=step, **more)
            losses.total.backward()
    assert losses.total.device.type == "meta"
    assert all(p.grad is not None for p in cotrain.unwrap().parameters())


@pytest.mark.parametrize("where", ["cpu", "meta"])
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in WAIT])
def test_no_recipes_step_waits_for_the_device_or_mixes_two(few_rounds, name, where):
    assert_a_step_waits_for_nothing(oneness()[name][0], LABELS.bool().to(where), index=INDEX.to(where))


def test_what_readers_of_a_batch_leave_on_the_cpu_goes_along():
    """As a loader gives episode numbers and actions that the policy does not need."""
    left = {name: value.clone() for name, value in batch(b=8).items()}
    chunk, half = left["action"][:, None].expand(-1, 3, -1), torch.arange(8) % 2
    readers = {"groups": lambda b: half, "mass": lambda b: torch.ones(8), "valid": lambda b: torch.ones(8, 3).bool()}
    policy = Policy().to("meta")
    method = Method(regularizer=0.1 * MMD(extras=("action",)))
    cotrain = CoTrain(policy, method, seam=SEAM, loss="compute_loss", extras=lambda b: {"action": chunk}, **readers)
    data = {name: value.to("meta") for name, value in left.items()}
    with OneDevice():
        losses = cotrain(data, domain=LABELS.bool(), step=3)
        losses.total.backward()
    assert losses.total.device.type == "meta" and all(p.grad is not None for p in policy.encoder.parameters())


@pytest.mark.filterwarnings("ignore:replays of a captured step keep the strengths")
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in WAIT])
def test_a_recipes_whole_step_can_be_captured(few_rounds, name):
    cotrain, data = wrapped(oneness()[name][0], "meta")
    optimizer = torch.optim.SGD(cotrain.parameters(), 0.1, momentum=0.9)
    labels, index = LABELS.bool().to("meta"), INDEX.to("meta")
    with OneDevice(), captured():
        for step in (3, 4):
            optimizer.zero_grad()
            cotrain(data, domain=labels, index=index, step=step).total.backward()
            optimizer.step()
    moved = [optimizer.state[p]["momentum_buffer"] for p in cotrain.unwrap().parameters()]
    assert moved and all(momentum.device.type == "meta" for momentum in moved)


def test_a_capture_that_would_replay_the_cpus_memory_is_refused_and_a_strength_that_stands_still_is_told():
    cotrain, data = wrapped(oneness()["cfg_adda"][0], "meta")
    with captured(), pytest.raises(ValueError, match=r"reads nothing from the CPU, got \(8,\) numbers there"):
        cotrain(data, domain=LABELS.bool(), step=3)
    regularizer = warmup(0.1, 5) * MMD()
    with captured(), pytest.warns(UserWarning, match="keep the strengths of its capture, got a strength of mmd that"):
        regularizer(*features(0, 4, 3, 2), step=1)


def test_flags_of_a_captured_step_are_read_after_it():
    seen, kept = [], Flags(every=2)
    with another_device():
        with captured():
            for _ in range(3):
                kept.post("x", torch.tensor(2.0), seen.append)
        assert seen == []
        kept.read()
    assert seen == [2.0]


def test_labels_dropped_in_a_captured_step_are_drawn_by_the_device():
    guidance = ctl.DomainGuidance(2, drop=0.25)
    before = guidance.get_extra_state()
    with captured():
        share = (guidance.dropped(torch.ones(4000, dtype=torch.long)) < 0).double().mean()
    assert 0.22 < share < 0.28 and torch.equal(guidance.get_extra_state(), before)


@pytest.mark.parametrize("where", ["cpu", "meta"])
@pytest.mark.parametrize("name", WEIGHTS)
def test_no_weight_waits_for_the_device_or_mixes_two(name, where):
    weights = copy.deepcopy(WEIGHTS[name])
    given = {} if weights is not None else {"weight": torch.ones(8, device=where)}
    assert_a_step_waits_for_nothing(
        Method(ratio=0.1, weights=weights), LABELS.bool().to(where), index=EIGHT.to(where), **given
    )


@pytest.mark.parametrize(
    ("name", "grouped"),
    [(name, grouped) for name in EACH if name not in SLOW for grouped in (False, True)[: 1 + (name not in UNGROUPED)]],
)
def test_no_term_waits_for_the_device_or_mixes_two(few_rounds, name, grouped):
    z = torch.empty(8, 3, device="meta", requires_grad=True)
    group = torch.empty(8, dtype=torch.long, device="meta") if grouped else None
    rows = Rows(z, {"action": torch.empty(8, 1, device="meta")}, group=group)
    term = copy.deepcopy(EACH[name]).to("meta")
    for labels in (LABELS, LABELS.to("meta")):
        with OneDevice():
            ((_, *sides),) = Domains.named(("source", "target"), "target").sides(rows, labels)
            (0.1 * term)(*sides).backward()
    assert z.grad.shape == z.shape


def test_what_mixes_devices_is_refused():
    with OneDevice(), pytest.raises(RuntimeError, match="mixes the devices"):
        torch.empty(3, device="meta")[torch.arange(2)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [name for name in EACH if name not in SLOW])
def test_a_bad_batch_gives_a_loss_that_is_not_finite_and_its_message_later(name, bad):
    x, y = (side.float() for side in features(3, 6, 5, 3))
    x[1, 2] = bad
    mass = torch.ones(6), torch.ones(5)
    if name == "diagonal":
        x, mass = x[:5], (mass[1], mass[1])
    sides = [Rows(z, {"action": z[:, :1]}, mass=m) for z, m in zip((x, y), mass, strict=True)]
    regularizer = 0.1 * copy.deepcopy(EACH[name]).float()
    with another_device():
        assert not regularizer(*sides).isfinite()
        with pytest.raises(ValueError, match="features must be finite"):
            regularizer.flags.read()


def test_a_plug_in_follows_the_features_to_another_device_and_keeps_its_parameters():
    term = ctl.DomainClassifier(4)
    before = list(term.parameters())
    follow(term, torch.device("cpu"))
    assert all(one is other for one, other in zip(term.parameters(), before, strict=True))
    follow(term, torch.device("meta"))
    assert {p.device.type for p in term.parameters()} == {"meta"}


@pytest.mark.parametrize("name", ["mmd", "adda", "cfg_adda"])
def test_a_policy_that_was_moved_after_attaching_takes_its_method_along(name):
    cotrain, data = wrapped(oneness()[name][0])
    cotrain(data, domain=LABELS.bool(), step=3).total.backward()
    cotrain.policy.to("meta")
    losses = cotrain({key: value.to("meta") for key, value in data.items()}, domain=LABELS.bool(), step=4)
    losses.total.backward()
    assert losses.total.device.type == "meta"
    assert {p.device.type for p in cotrain.plugin_parameters()} <= {"meta"}


def test_averages_go_on_from_a_checkpoint_of_another_device():
    from cotrain_losses.strength.averages import Average

    average = Average(0.9)
    average.load((torch.ones(2), 1.0))
    average.add(torch.ones(2, device="meta"))
    assert average.value.device.type == "meta"


def test_labels_of_no_domain_on_another_device_are_told_later():
    domains = Domains.named(("source", "target"), "target")
    with another_device():
        assert set(domains.counts(domains.labels(torch.tensor([0, 1, 1]))).values()) == {1, 2}
    assert domains.labels(torch.zeros(3, device="meta", dtype=torch.bool)).device.type == "meta"


@pytest.mark.parametrize("term", [CORAL(), DomainClassifier(3)])
def test_what_a_term_keeps_for_later_steps_was_not_made_in_inference_mode(term):
    x, y = (side.float() for side in features(0, 7, 5, 3))
    with another_device():
        with torch.inference_mode():
            looked = term(x, y)
        value = term(x.requires_grad_(), y)
        value.backward()
    assert x.grad.any()
    torch.testing.assert_close(looked.clone(), value.detach())
