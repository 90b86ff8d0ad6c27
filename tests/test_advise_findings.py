"""What `cotrain advise` finds between two datasets, and what it must not: each wrong advice of before is a test."""

from __future__ import annotations

import sys
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cotrain_losses as ctl
from cotrain_losses import MixedBatchSampler, recipes
from cotrain_losses.cli.advise import advice
from cotrain_losses.cli.advise.batches import sampler_line
from tests.formats import npz


@pytest.fixture(autouse=True)
def few_frames(monkeypatch):
    """Distances and overlaps are of 600 frames each: five times fewer, twenty times quicker."""
    monkeypatch.setattr(sys.modules[advice.__module__], "SAMPLE", 600)


def reaches(seed, count, home=None, width=7, frames=100):
    """(action, state) of smooth motions from a home to a goal of each episode; states follow actions by two frames."""
    rng = np.random.default_rng(seed)
    home = np.linspace(-1, 1, width) if home is None else home
    s = np.linspace(0, 1, frames + 2)[:, None]
    found = []
    for _ in range(count):
        path = home + rng.normal(0, 0.02, width) + rng.normal(0, 0.4, width) * s**3 * (10 - 15 * s + 6 * s**2)
        path = path + rng.normal(0, 0.0002, path.shape)
        found.append((path[2:], path[:-2]))
    return found


def changed(episodes, of_action=None, of_state=None):
    keep = lambda x: x
    return [((of_action or keep)(a), (of_state or keep)(s)) for a, s in episodes]


def found(tmp_path, target, source, **extra):
    sides = npz(tmp_path / "real.npz", target), npz(tmp_path / "sim.npz", source, **extra)
    return advice(source=[sides[1]], target=sides[0], ratios=[0.1])


def kinds(report):
    return {finding["kind"] for finding in report["findings"]}


def said(report):
    return " ".join(f"{item['do']} {item['because']}" for item in report["advice"])


# --- overlap ---


def independent(seed, count, shift=0.0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(0, 1, (80, 4)), rng.normal([shift, 0, 0], 1, (80, 3))) for _ in range(count)]


@pytest.mark.parametrize("shift", [5, 20, 100])
def test_no_overlap_is_never_read_as_no_difference(tmp_path, shift):
    report = found(tmp_path, independent(0, 12), independent(1, 40, shift))
    ratio = report["density_ratio"]
    assert ratio["held_out_accuracy"] > 0.98 and ratio["mean"] < 0.2
    assert [row["name"] for row in report["alone"]] == ["0"] and report["alone"][0]["what"] == "state"
    assert "Do not weigh source samples by density ratios: the domains do not overlap." in said(report)
    assert "change little" not in said(report) and "can be weighed" not in said(report)
    assert "state 0 of sim" in said(report) and kinds(report) == set()


def test_domains_that_overlap_can_be_weighed_and_equal_ones_need_not_be(tmp_path):
    assert "Density-ratio weights will change little" in said(found(tmp_path, independent(0, 12), independent(1, 40)))
    assert "can be weighed" in said(found(tmp_path, independent(0, 12), independent(1, 40, 1.0)))


def test_constants_that_differ_tell_the_domains_apart(tmp_path):
    with_constant = lambda value: lambda x: np.concatenate([x, np.full((len(x), 1), value)], 1)
    target = changed(independent(0, 3), of_state=with_constant(0.5))
    report = found(tmp_path, target, changed(independent(1, 40), of_state=with_constant(0.7)))
    assert [(row["name"], row["constant"]) for row in report["alone"]] == [("3", True)]
    assert "do not overlap" in said(report)


def test_of_one_target_episode_nothing_is_concluded(tmp_path):
    report = found(tmp_path, reaches(0, 1), reaches(1, 40))
    assert report["density_ratio"]["held_out_accuracy"] is None and not report["alone"]
    assert "fitted to 1 target episode." in said(report)


# --- units ---


@pytest.mark.parametrize("episodes", [1, 3, 10])
@pytest.mark.parametrize("seed", range(4))
def test_one_dataset_split_by_episodes_is_not_told_to_change_anything(tmp_path, episodes, seed):
    every = reaches(seed, 40 + episodes)
    report = found(tmp_path, every[:episodes], every[episodes:])
    assert report["findings"] == [] and report["alone"] == []
    assert "Bring the" not in said(report) and "Normalise" not in said(report)


@pytest.mark.parametrize("episodes", [1, 20])
@pytest.mark.parametrize(
    ("factor", "unit"), [(57.2958, "degrees against radians"), (1000.0, "millimetres against metres")]
)
def test_units_that_differ_are_found_from_one_target_episode_on(tmp_path, episodes, factor, unit):
    report = found(tmp_path, reaches(0, episodes), changed(reaches(1, 40), of_action=lambda x: x * factor))
    (units,) = [finding for finding in report["findings"] if finding["kind"] == "units"]
    assert unit in units["because"] and units["certainty"] > 0.7 and len(units["dimensions"]) == 7
    assert "First convert the actions of sim to the target's units" in report["advice"][0]["do"]


def test_one_joint_in_degrees_is_named(tmp_path):
    one = np.where(np.arange(7) == 5, 57.2958, 1.0)
    report = found(tmp_path, reaches(0, 3), changed(reaches(1, 40), of_action=lambda x: x * one))
    assert [finding["dimensions"] for finding in report["findings"] if finding["kind"] == "units"] == [["5"]]


def test_a_joint_that_hardly_moves_is_no_unit(tmp_path):
    home = np.linspace(-1, 1, 7)
    still = np.where(np.arange(7) == 3, 1e-3, 1.0)
    report = found(tmp_path, changed(reaches(0, 5), of_action=lambda x: home + (x - home) * still), reaches(1, 40))
    assert kinds(report) == {"at rest"} and "millimetres" not in said(report)


def test_relative_actions_are_no_degrees(tmp_path):
    deltas = changed(reaches(1, 40), of_action=lambda x: np.diff(x, axis=0, append=x[-1:]))
    report = found(tmp_path, reaches(0, 5), deltas)
    assert "relative actions" in kinds(report) and "units" not in kinds(report)
    assert "degrees" not in said(report)


def test_an_angle_that_wraps_is_no_unit(tmp_path):
    home = np.r_[np.linspace(-1, 1, 6), np.pi]
    wrap = lambda x: np.where(np.arange(7) == 6, (x + np.pi) % (2 * np.pi) - np.pi, x)
    report = found(tmp_path, reaches(0, 5, home), changed(reaches(1, 40, home), of_action=wrap))
    assert kinds(report) == {"wrapped angle"} and "centimetres" not in said(report)


def test_exchanged_dimensions_are_named(tmp_path):
    exchange = lambda x: x[:, [0, 5, 2, 3, 4, 1, 6]]
    report = found(tmp_path, changed(reaches(0, 3), of_action=exchange), reaches(1, 40))
    assert [f["dimensions"] for f in report["findings"] if f["kind"] == "swapped"] == [["1", "5"]]


@pytest.mark.parametrize("seed", [0, 24, 25])
def test_exchanged_dimensions_are_named_in_one_episode(tmp_path, seed):
    home = 0.6 * np.arange(7)  # three deviations of an episode's mean from one to the next
    exchange = lambda x: x[:, [0, 2, 1, 3, 4, 5, 6]]
    one, many = reaches(seed, 1, home), reaches(seed + 100, 40, home)
    assert "swapped" not in kinds(found(tmp_path, one, many))
    report = found(tmp_path, changed(one, of_action=exchange), many)
    assert [f["dimensions"] for f in report["findings"] if f["kind"] == "swapped"] == [["1", "2"]]


@pytest.mark.parametrize("factor", [1e-3, 57.3, 1e3])
def test_other_units_are_no_exchange(tmp_path, factor):
    one, many = reaches(0, 1, 0.6 * np.arange(7)), reaches(1, 40, 0.6 * np.arange(7))
    report = found(tmp_path, changed(one, of_action=lambda x: x * factor), many)
    assert "units" in kinds(report) and "swapped" not in kinds(report)


# --- conventions ---


def test_rates_are_read_from_timestamps_and_seen_without_them(tmp_path):
    fast, slow = reaches(0, 10, frames=250), reaches(1, 40, frames=50)
    assert "control rate" in kinds(found(tmp_path, fast, slow))
    times = np.tile(np.arange(50) / 10, 40)
    sides = npz(tmp_path / "t.npz", fast, timestamp=np.tile(np.arange(250) / 50, 10)), tmp_path / "s.npz"
    report = advice(source=[npz(sides[1], slow, timestamp=times)], target=sides[0])
    assert "s has 10 frames a second and the target 50" in said(report)


def test_a_gripper_of_two_ranges_is_named(tmp_path):
    closes = lambda x: np.concatenate([x[:, :6], (np.arange(len(x)) > 60)[:, None].astype(float)], 1)
    target, source = changed(reaches(0, 5), closes), changed(reaches(1, 40), closes)
    assert "gripper" not in kinds(found(tmp_path, target, source))
    other = lambda x: np.concatenate([x[:, :6], 2 * closes(x)[:, 6:] - 1], 1)
    report = found(tmp_path, target, changed(reaches(1, 40), other))
    assert kinds(report) == {"gripper"} and "from 0 to 1 in real and from -1 to 1 in sim" in said(report)


@pytest.mark.parametrize("wide", [False, True])
def test_a_gripper_that_is_open_at_the_other_end_is_named(tmp_path, wide):
    closes = lambda x: np.concatenate([x[:, :6], (np.arange(len(x)) > 60)[:, None].astype(float)], 1)
    opens = lambda x: np.concatenate([x[:, :6], (2 if wide else 1) * (1 - closes(x)[:, 6:]) - wide], 1)
    report = found(tmp_path, changed(reaches(0, 5), closes), changed(reaches(1, 40), opens))
    assert kinds(report) == {"gripper"} and "6 begins at the larger number in the episodes of sim" in said(report)
    assert ("from -1 to 1 in sim" in said(report)) == wide


def quaternions(seed, count):
    rng = np.random.default_rng(seed)
    q = [np.c_[rng.normal(0, 0.1, (80, 3)), np.ones(80)] * rng.choice([-1, 1], (80, 1)) for _ in range(count)]
    q = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in q]
    return [(rng.normal(0, 1, (80, 2)), x) for x in q]


def test_order_and_sign_of_quaternions_are_told(tmp_path):
    target = quaternions(0, 5)
    assert not {k for k in kinds(found(tmp_path, target, quaternions(1, 40))) if "quaternion" in k}
    turned = changed(quaternions(1, 40), of_state=lambda q: q[:, [3, 0, 1, 2]])
    assert "quaternion order" in kinds(found(tmp_path, target, turned))
    fixed = changed(quaternions(1, 40), of_state=lambda q: q * np.sign(q[:, 3:]))
    assert "quaternion sign" in kinds(found(tmp_path, target, fixed))


def test_a_quaternion_has_no_unit_and_no_axes_to_be_swapped(tmp_path):
    """Of small rotations only w is large: in another order or of free sign it looked like other units, or exchanged."""
    fixed = lambda q: q * np.sign(q[:, 3:])
    target = changed(quaternions(0, 3), of_state=fixed)
    for other in (lambda q: fixed(q)[:, [3, 0, 1, 2]], lambda q: q):
        told = kinds(found(tmp_path, target, changed(quaternions(1, 40), of_state=other)))
        assert any("quaternion" in kind for kind in told) and not {"units", "swapped"} & told


def test_weights_wait_until_units_are_repaired(tmp_path):
    target, source = (reaches(seed, count, home=np.zeros(7)) for seed, count in ((0, 5), (1, 40)))
    report = found(tmp_path, target, changed(source, of_action=lambda a: a * 1000.0))
    assert "units" in kinds(report) and "Repair the data first" in report["advice"][-1]["do"]


def test_padded_dimensions_are_told(tmp_path):
    padded = changed(reaches(1, 40), of_action=lambda x: x * ([1] * 5 + [0, 0]))
    report = found(tmp_path, reaches(0, 5), padded)
    assert kinds(report) == {"padding"} and "5, 6 is 0 in every frame of sim" in said(report)
    assert "never move in one domain" not in said(report)


def test_a_time_offset_between_observation_and_action_is_told(tmp_path):
    late = [(a[:-5], np.concatenate([*[s[:1]] * 5, s[:-10]])) for a, s in reaches(1, 40)]
    report = found(tmp_path, reaches(0, 5), late)
    assert "time offset" in kinds(report) and "after 7 frames in sim and after 2 frames in the target" in said(report)


# --- what to do ---


@given(
    batch_size=st.integers(2, 96),
    enough=st.integers(1, 6),
    ratios=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=4),
)
def test_the_samplers_line_gives_every_batch_enough_rows_of_both_domains_at_every_ratio(batch_size, enough, ratios):
    line = sampler_line(ratios, batch_size=batch_size, enough=enough)
    assert (line is None) == (batch_size < 2 * enough)
    is_target = torch.arange(400) < 100
    for ratio in ratios if line is not None else ():
        names = {"MixedBatchSampler": MixedBatchSampler, "is_target": is_target, "ratio": ratio}
        exec(line, names)
        held = [int(is_target[batch].sum()) for batch in islice(names["sampler"], 12)]
        assert enough <= min(held) and max(held) <= batch_size - enough


def conflicting(seed, count, sign):
    """Actions that are the state times a sign."""
    rng = np.random.default_rng(seed)
    states = [rng.normal(0, 1, (80, 3)) for _ in range(count)]
    return [(sign * s + rng.normal(0, 0.1, s.shape), s) for s in states]


def test_a_label_is_recommended_where_near_states_ask_for_other_actions_and_plain_co_training_elsewhere(tmp_path):
    agree = found(tmp_path, conflicting(0, 8, 1), conflicting(1, 40, 1))
    differ = found(tmp_path, conflicting(0, 8, 1), conflicting(1, 40, -1))
    assert not agree["actions_at_near_states"]["differ"] and "guidance" not in agree["recommended"]["method"]["code"]
    assert differ["actions_at_near_states"]["differ"] and "cfg" in differ["recommended"]["method"]["code"]
    for report in (agree, differ):
        names = {"recipes": recipes, "ctl": ctl, "cotrain_losses": ctl, "width": 32}
        assert isinstance(eval(report["recommended"]["method"]["code"], names), ctl.Method)


# --- what cannot be ---

NORMAL = (independent(0, 4), independent(1, 9))
WRONG = {
    "half a row": ({"batch_size": 64.5}, "batch_size is a whole number, 1 or more, got batch_size=64.5"),
    "a word": ({"batch_size": "64"}, "batch_size is a whole number"),
    "yes": ({"enough": True}, "enough is a whole number"),
    "no rows": ({"batch_size": 0}, "batch_size is a whole number"),
    "ten billion rows": ({"batch_size": 10**10}, "at most 1000000000"),
    "more than enough": ({"enough": 10**13}, "at most 1000000000"),
    "a number that is none": ({"batch_size": float("nan")}, "batch_size is a whole number"),
    "a seed below zero": ({"seed": -1}, "seed is a whole number, 0 or more"),
    "half a seed": ({"seed": 1.5}, "seed is a whole number, 0 or more"),
    "a source that is no list": ({"source": "sim.npz"}, "source is a list of paths"),
    "no target": ({"target": None}, "target is one path"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_that_cannot_be_is_refused_in_one_sentence(tmp_path, name):
    changed, sentence = WRONG[name]
    given = {"source": [npz(tmp_path / "sim.npz", NORMAL[1])], "target": npz(tmp_path / "real.npz", NORMAL[0])}
    with pytest.raises((ValueError, TypeError), match=sentence):
        advice(**given | changed)


def test_one_dataset_is_no_two_domains_unless_parts_are_named(tmp_path):
    both = npz(tmp_path / "both.npz", NORMAL[1])
    for source in ([both], [tmp_path / "." / "both.npz"], [f"{both}::episodes=0-3"] * 2):
        with pytest.raises(ValueError, match=r"twice\. Give each once"):
            advice(source=source, target=both)
    assert advice(source=[f"{both}::episodes=4-8"], target=f"{both}::episodes=0-3")["datasets"][0]["episodes"] == 4


@pytest.mark.parametrize("part", [0, 1])
def test_numbers_of_1e200_are_refused(tmp_path, part):
    large = [tuple(x * 1e200 if k == part else x for k, x in enumerate(episode)) for episode in NORMAL[1]]
    with pytest.raises(ValueError, match=r"far too large \(beyond 1e\+100\)"):
        found(tmp_path, NORMAL[0], large)


@pytest.mark.parametrize("step", [1e-320, 1e-200, 0.0, -1.0, 1e300, float("nan")])
def test_times_that_can_be_no_clocks_give_no_rate_and_no_finding(tmp_path, step):
    with np.errstate(over="ignore"):
        times = np.tile(np.arange(80) * step, 9)
    assert "control rate" not in kinds(found(tmp_path, NORMAL[0], NORMAL[1], timestamp=times))
