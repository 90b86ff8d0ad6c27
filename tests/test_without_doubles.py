"""A device without float64, as Apple's MPS is: the meta device, on which whatever makes a double is refused."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch
from test_elsewhere import EACH, EIGHT, INDEX, LABELS, SLOW, WAIT, WEIGHTS, wrapped
from test_recipes import RECIPES, oneness
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cotrain_losses import MMD, CoTrain, Method, Rows
from cotrain_losses.strength import relative
from cotrain_losses.terms.transport import rounds


class WithoutDoubles(TorchDispatchMode):
    """Refuses float64 on the meta device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.device.type == "meta" and x.dtype == torch.float64:
                raise TypeError(f"{func} makes a double, which this device has not")
        return result


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rounds of transport are one function: a few show as much as all."""
    monkeypatch.setattr(rounds, "ROUNDS", 3)


@pytest.fixture(autouse=True)
def meta_has_no_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is told that the device has none, as it finds out by itself on MPS."""
    for name, module in list(sys.modules.items()):
        if name.startswith("cotrain_losses") and hasattr(module, "accurate"):
            monkeypatch.setattr(module, "accurate", lambda x: x.dtype)


def single(method: Method) -> tuple[CoTrain, dict[str, torch.Tensor]]:
    """A policy, a method and a batch in float32, on the meta device."""
    cotrain, data = wrapped(method, "meta")
    cotrain.float()
    return cotrain, {name: x.float() if x.is_floating_point() else x for name, x in data.items()}


def assert_steps_make_no_double(method: Method, index: torch.Tensor = INDEX) -> None:
    cotrain, data = single(method)
    with WithoutDoubles():
        for step in (3, 4):
            losses = cotrain(data, domain=LABELS.bool(), index=index, step=step)
            losses.total.backward()
    assert losses.total.dtype == torch.float32


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in WAIT])
def test_no_recipes_step_makes_a_double(few_rounds, name):
    assert_steps_make_no_double(oneness()[name][0])


@pytest.mark.parametrize("name", WEIGHTS)
def test_no_weight_makes_a_double(name):
    assert_steps_make_no_double(Method(ratio=0.1, weights=copy.deepcopy(WEIGHTS[name])), EIGHT)


def test_no_measured_strength_makes_a_double(few_rounds):
    assert_steps_make_no_double(Method(ratio=0.1, regularizer=relative(0.1) * MMD()))


@pytest.mark.parametrize("name", [name for name in EACH if name not in SLOW])
def test_no_term_makes_a_double(few_rounds, name):
    sides = [Rows(torch.empty(8, 3, device="meta"), {"action": torch.empty(8, 1, device="meta")}) for _ in range(2)]
    sides[0].features.requires_grad_()
    term = copy.deepcopy(EACH[name]).float().to("meta")
    with WithoutDoubles():
        term(*sides).backward()


def test_what_a_logger_is_given_is_read_without_doubles():
    cotrain, data = single(Method(ratio=0.1, regularizer=0.1 * MMD()))
    with WithoutDoubles(), pytest.raises(NotImplementedError, match="meta tensor"):  # where it is read, and not before
        cotrain(data, domain=LABELS.bool(), step=3).scalars()


def test_the_readers_see_a_double_where_the_library_believes_that_there_are_some(monkeypatch):
    monkeypatch.setattr(sys.modules["cotrain_losses._core.distances"], "accurate", lambda x: torch.float64)
    with pytest.raises(TypeError, match="makes a double"):
        assert_steps_make_no_double(oneness()["ot"][0])
