"""A policy of one's own by its name: found, given the spaces, and what it must return."""

from __future__ import annotations

import sys
import textwrap

import pytest
import torch
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim import policies
from cotrain_bench.sim2sim.policy import flow
from torch import nn

from tests.own_policies import STEPS, A, H, O, Regression, drawn


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the current folder, which is a new one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])

    def written(text: str, name: str = "mine") -> str:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, name.replace("/", "."), raising=False)
        return name.replace("/", ".")

    return written


# by name


def test_a_factory_is_found_in_the_current_folder_and_by_its_short_name(module):
    name = module("def make(spaces): return spaces.horizon")
    spaces = drawn().spaces()
    assert policies.factory(f"{name}:make")(spaces) == H
    assert policies.factory("flow") is flow
    assert all(":" in place for place in policies.READY.values())


@pytest.mark.parametrize("name", ["fast", "mine:", ":make", "mine:ma ke", ""])
def test_a_name_of_neither_kind_is_refused_with_what_there_is(name):
    with pytest.raises(ValueError, match=r"one of flow, stems, lerobot-diffusion, lerobot-act, or module:factory, got"):
        policies.check_name(name)
    with pytest.raises(CannotContinue, match="module:factory"):
        policies.factory(name)


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        ("import nowhere_at_all", "make", "importing mine says: No module named 'nowhere_at_all'"),
        ("raise RuntimeError('no GPU')", "make", "importing mine says: no GPU"),
        ("def other(spaces): ...", "make", "mine has no 'make'"),
        ("make = 3", "make", "'mine:make', which is a int"),
        ("def make(): ...", "make", r"factory\(spaces\), got mine:make which takes \(\): too many"),
        ("def make(spaces, width): ...", "make", "missing a required argument: 'width'"),
    ],
)
def test_a_name_that_leads_nowhere_ends_the_run_in_one_sentence(module, text, attribute, message):
    name = module(text)
    with pytest.raises(CannotContinue, match=message):
        policies.factory(f"{name}:{attribute}")
    with pytest.raises(CannotContinue, match="importing absent says: No module named 'absent'"):
        policies.factory("absent:make")


def test_lerobots_policies_without_lerobot_say_where_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "lerobot", None)
    monkeypatch.delitem(sys.modules, policies.READY["lerobot-act"].partition(":")[0], raising=False)
    with pytest.raises(CannotContinue, match=r"lerobot-act is trained where LeRobot 0.4.4 is.*docs/codebases.md"):
        policies.factory("lerobot-act")


def test_a_cell_is_named_by_the_factory_and_by_what_its_source_says(module):
    before = policies.policy_key(f"{module('def make(spaces): ...')}:make")
    assert before == policies.policy_key("mine:make") != policies.policy_key("mine:other")
    module("def make(spaces): return None")
    assert policies.policy_key("mine:make")["policy_code"] != before["policy_code"]
    module("", "package/__init__")
    module("def make(spaces): ...", "package/policies")
    module("WIDTH = 3", "package/sizes")
    of_package = policies.policy_key("package.policies:make")
    module("WIDTH = 4", "package/sizes")
    assert policies.policy_key("package.policies:make")["policy_code"] != of_package["policy_code"]
    with pytest.raises(CannotContinue, match="a module that can be imported from here, got 'absent:make'"):
        policies.policy_key("absent:make")


# what it returns


class Still(nn.Module):
    def predict_action(self, observations):
        return torch.zeros(len(observations), H, A)

    def compute_loss(self, batch):
        return batch["actions"].mean()


def with_seam(policy, seam):
    policy.seam = seam
    return policy


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda spaces: {}, r"returns an nn.Module, got a dict from .*<lambda>"),
        (lambda spaces: nn.Linear(2, 2), r"without \['compute_loss', 'predict_action'\]"),
        (lambda spaces: Still(), "parameters to train, got a Still"),
        (lambda spaces: with_seam(Regression(spaces), "encoder"), "seam is a ctl.Seam, got a Regression .* with a str"),
        (lambda spaces: with_seam(Regression(spaces), None), "where its features are, got a Regression .*no adapter"),
    ],
)
def test_a_factory_that_returns_something_else_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        policies.made(make, drawn().spaces())


def test_the_spaces_are_those_of_the_frames():
    data = drawn()
    spaces = data.spaces()
    assert (spaces.steps, spaces.observation, spaces.horizon, spaces.action) == (STEPS, O, H, A)
    torch.testing.assert_close(spaces.observations, data.observations[:, 1])
    torch.testing.assert_close(spaces.actions, data.actions[:, 0])
    policy = flow(spaces)
    torch.testing.assert_close(policy.observation_mean, data.observations[:, 1].mean(0))
    assert policy.predict_action(data.observations[:3]).shape == (3, H, A)
