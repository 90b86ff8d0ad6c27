"""Terms, weights, recipes and measures on the device that tests run on, against the CPU.

On the CPU the file is run once more, on the stand-in.
"""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from test_elsewhere import EACH, INDEX, LABELS, UNGROUPED, WEIGHTS, wrapped
from test_recipes import RECIPES, oneness
from torch.utils._pytree import tree_map

from cotrain_losses import MMD, Method, Rows
from cotrain_losses.importance import DiscrepancyWeights, TableWeights
from cotrain_losses.measures import action_gap, diagnosis, pooled_spread, wasserstein
from cotrain_losses.strength import balanced, relative
from tests.drawn import features
from tests.every_term import assert_same, value_and_gradients
from tests.strengths import measured_method

OLD = tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 9)
quiet = pytest.mark.filterwarnings("ignore:OptimalTransport.reg=0. is exact")


EVERY_DAY = "CORAL or reach or cfg_adda or uot or relative or bad_batch or two_devices"
"""what the stand-in runs each day; `make long` has all"""


def here(x):
    """On the CPU, whatever device tests run on."""
    return x.cpu()


def noiseless(policy, b):
    """The policy's loss without random numbers, wherever it is."""
    time = torch.full_like(b["action"][:, 0], 0.5)
    return (policy.head(b["action"], time, condition=policy.encoder(b["observation"])) - b["action"]).square().mean()


@pytest.mark.skipif(OLD, reason="the stand-in device needs torch 2.9")
def test_all_of_this_holds_on_a_device_that_is_not_the_cpu(device):
    if device.type == "cpu":
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--device", "elsewhere"]
        run = subprocess.run([*command, "-k", EVERY_DAY, __file__], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout[-3000:]


@quiet
@pytest.mark.parametrize("name", EACH)
def test_a_terms_value_and_gradients_are_the_cpus(name, device):
    x, y = features(3, 6, 6, 3)
    for group in (None, torch.arange(6) % 2)[: 1 + (name not in UNGROUPED)]:
        sides = [Rows(z, {"action": z[:, :1]}, group=group, mass=torch.linspace(0.5, 2, 6).double()) for z in (x, y)]
        value, at = value_and_gradients(copy.deepcopy(EACH[name]).to(device), *sides)
        assert value.device.type == device.type
        expected = value_and_gradients(copy.deepcopy(EACH[name]).cpu(), *(side.map(here) for side in sides))
        assert_same([value.cpu(), *map(here, at)], [expected[0], *expected[1]], 1e-6)


def test_two_devices_are_refused(device):
    x, y = features(0, 4, 3, 2)
    other = y.to("meta" if device.type == "cpu" else "cpu")
    with pytest.raises(ValueError, match=r"features on one device, got source on \w+(:0)? and target on (cpu|meta)"):
        MMD()(x, other)
    with pytest.raises(RuntimeError, match="device"):
        x + other[0]


def stepped(method: Method, device: torch.device, steps: range = range(3, 4), **more):
    """What a policy of the device learns in steps of a method, on the CPU; its noise is drawn by nobody."""
    torch.manual_seed(0)
    cotrain, data = wrapped(copy.deepcopy(method), "cpu")
    cotrain.policy.to(device)  # as Accelerate's prepare does, after attaching
    cotrain.step.loss = noiseless
    data = {name: value.to(device) for name, value in data.items()}
    for step in steps:
        losses = cotrain(data, domain=LABELS.bool(), index=INDEX, step=step, **more)
        losses.total.backward()
    learned = [p.grad.cpu().double().flatten() for p in cotrain.parameters() if p.grad is not None]
    return losses, torch.cat([losses.total.detach().cpu().double()[None], *learned])


@quiet
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_whole_step_is_the_cpus_in_a_policy_that_was_moved_after_attaching(name, device):
    method = oneness()[name][0]
    (losses, found), (_, expected) = (stepped(method, where) for where in (device, torch.device("cpu")))
    assert losses.total.device.type == device.type
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=5e-4)


@pytest.mark.parametrize("where", ["the device", "the CPU"])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_labels_and_indices_may_live_on_either_device(name, where, device):
    move = here if where == "the CPU" else lambda x: x.to(device)
    weights = None if WEIGHTS[name] is None else copy.deepcopy(WEIGHTS[name]).to(device)
    more = {"weight": move(torch.linspace(0.5, 1.5, 8))} if weights is None else {}
    found = []
    for to, place in ((device, move), (torch.device("cpu"), here)):
        cotrain, data = wrapped(Method(ratio=0.1, weights=copy.deepcopy(weights)), "cpu")
        cotrain.to(to)
        cotrain.step.loss = noiseless
        beside = {"domain": place(LABELS.bool()), "index": place(INDEX)} | {k: place(x) for k, x in more.items()}
        torch.manual_seed(0)
        cotrain({k: x.to(to) for k, x in data.items()}, step=0, **beside).total.backward()
        found.append(torch.cat([p.grad.cpu().flatten() for p in cotrain.policy.parameters()]))
    torch.testing.assert_close(*found)


def test_discrepancy_weights_are_solved_and_read_where_they_are(device):
    is_target = torch.arange(8) < 3
    found = []
    for place in (lambda x: x.to(device), here):
        weights = DiscrepancyWeights(place(is_target), discrepancy=place(torch.linspace(0, 1, 8)), peak=0.1)
        weights.to(place(is_target).device)
        weights.observe(place(torch.arange(8)), place(torch.linspace(1, 0, 8)))
        weights.solve()
        found.append(weights.q.cpu())
    torch.testing.assert_close(*found)


def test_a_table_may_be_made_of_a_tensor_of_the_device(device):
    assert TableWeights(torch.ones(4)).weights.device.type == device.type


def test_measures_take_features_and_episodes_of_the_device(device):
    x, y = (3 * side for side in features(0, 12, 10, 2))
    groups = {"source_groups": torch.arange(12) // 3, "target_groups": torch.arange(10) // 3}
    assert wasserstein(x, y) == wasserstein(x.cpu(), y.cpu())
    assert pooled_spread(x, y) == pytest.approx(pooled_spread(x.cpu(), y.cpu()))
    found = [
        diagnosis(place(x), place(y), repeats=1, **{name: place(group) for name, group in groups.items()})
        for place in (lambda z: z, here)
    ]
    assert found[0].as_dict() == found[1].as_dict()
    actions = x[:, :1], y[:, :1]
    assert action_gap(x, y, *actions) == action_gap(x.cpu(), y.cpu(), *map(here, actions))


@pytest.mark.parametrize("where", ["the device", "the CPU"])
def test_measured_strengths_go_on_from_a_checkpoint_on_either_device(where, device):
    place = here if where == "the CPU" else lambda x: x
    method = Method(regularizer=balanced(0.1, every=2, ramp=4) * MMD() + measured_method().regularizer)
    results = []
    for cut in (False, True):
        torch.manual_seed(0)
        cotrain, data = wrapped(copy.deepcopy(method), str(device))
        for step in range(4):
            if cut and step == 2:
                state = tree_map(lambda x: place(x) if isinstance(x, torch.Tensor) else x, cotrain.state_dict())
                torch.manual_seed(0)
                cotrain, _ = wrapped(copy.deepcopy(method), str(device))
                cotrain.load_state_dict(state)
            cotrain.step.loss = noiseless
            cotrain.zero_grad()
            losses = cotrain(data, domain=LABELS.bool(), step=step)
            losses.total.backward()
        results.append([losses.total.detach().cpu(), losses.strengths])
    assert results[0][1] == pytest.approx(results[1][1])
    assert_same(results[1][0], results[0][0])


def test_a_relative_strength_rests_on_the_steps_before_the_last_one_where_reading_that_would_wait(device):
    found = []
    for where in (device, torch.device("cpu")):
        torch.manual_seed(0)
        method, strengths = Method(regularizer=relative(0.1, raw=100.0, standardise=False) * MMD()), []
        cotrain, data = wrapped(method, str(where))
        cotrain.step.loss = noiseless
        for step in range(4):
            losses = cotrain({k: (1 + step) * x for k, x in data.items()}, domain=LABELS.bool(), step=step)
            losses.total.backward()
            strengths.append(losses.strengths["mmd"])
        found.append(strengths)
    late = device.type != "cpu"
    assert found[0][late:] == pytest.approx(found[1][: 4 - late], rel=1e-5)
    assert len(set(found[1])) == 4 and found[0][: 1 + late] == [0.0] * (1 + late)


def test_a_bad_batch_is_told_and_the_next_one_trains(device):
    x, y = features(0, 6, 4, 3)
    x[1, 2] = float("nan")
    regularizer = 0.1 * MMD()
    with pytest.raises(ValueError, match="source features must be finite"):
        regularizer(x, y)
        regularizer.flags.read()
    assert regularizer(*features(0, 6, 4, 3)).isfinite()
