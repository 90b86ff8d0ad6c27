"""A device without float64, as Apple's MPS is: another device stands for it, and whatever makes a double is refused.

The library asks `device.WITHOUT_DOUBLES` alone whether there are any.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_elsewhere import EACH, EIGHT, INDEX, LABELS, SLOW, WAIT, WEIGHTS, wrapped
from test_recipes import RECIPES, oneness
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cotrain_losses import MMD, CoTrain, Method, Rows
from cotrain_losses._core import device
from cotrain_losses.strength import relative
from cotrain_losses.terms.transport import rounds


class WithoutDoubles(TorchDispatchMode):
    """Refuses float64 on a kind of device."""

    def __init__(self, kind: str = "meta") -> None:
        super().__init__()
        self.kind = kind

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.device.type == self.kind and x.dtype == torch.float64:
                raise TypeError(f"{func} makes a double, which this device has not")
        return result


@pytest.fixture(autouse=True)
def meta_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "WITHOUT_DOUBLES", ("meta",))
    monkeypatch.setattr(rounds, "ROUNDS", 3)  # all rounds of transport are one function: a few show as much as all


def single(method: Method, kind: str = "meta") -> tuple[CoTrain, dict[str, torch.Tensor]]:
    """A policy, a method and a batch in float32."""
    cotrain, data = wrapped(method, kind)
    return cotrain.float(), {name: x.float() if x.is_floating_point() else x for name, x in data.items()}


def assert_steps_make_no_double(method: Method, index: torch.Tensor = INDEX) -> None:
    cotrain, data = single(method)
    with WithoutDoubles():
        for step in (3, 4):
            losses = cotrain(data, domain=LABELS.bool(), index=index, step=step)
            losses.total.backward()
    assert {p.grad.dtype for p in cotrain.unwrap().parameters()} == {torch.float32}


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in WAIT])
def test_no_recipes_step_makes_a_double(name):
    assert_steps_make_no_double(oneness()[name][0])


@pytest.mark.parametrize("name", WEIGHTS)
def test_no_weight_makes_a_double(name):
    assert_steps_make_no_double(Method(ratio=0.1, weights=copy.deepcopy(WEIGHTS[name])), EIGHT)


def test_no_measured_strength_makes_a_double():
    assert_steps_make_no_double(Method(ratio=0.1, regularizer=relative(0.1) * MMD()))


@pytest.mark.parametrize("name", [name for name in EACH if name not in SLOW])
def test_a_term_is_compared_in_float32(name):
    sides = [Rows(torch.empty(8, 3, device="meta"), {"action": torch.empty(8, 1, device="meta")}) for _ in range(2)]
    z = sides[0].features.requires_grad_()
    term = copy.deepcopy(EACH[name]).float().to("meta")
    with WithoutDoubles():
        value = term(*sides)
        (gradient,) = torch.autograd.grad(value, z)
    assert (value.dtype, gradient.dtype, gradient.shape) == (torch.float32, torch.float32, z.shape)


def test_a_logger_is_given_the_numbers_of_the_step_in_float32(monkeypatch):
    cotrain, data = single(Method(ratio=0.1, regularizer=0.1 * MMD()), "cpu")
    losses = cotrain(data, domain=LABELS.bool(), step=3)
    monkeypatch.setattr(device, "WITHOUT_DOUBLES", ("cpu",))
    with WithoutDoubles("cpu"):
        values = losses.scalars()
    assert (values["policy"], values["total"]) == (losses.policy.item(), losses.total.item()) and values["raw/mmd"] != 0


@pytest.mark.parametrize("method", ["ot", "structured"])
def test_a_double_is_seen_where_the_library_believes_that_there_are_some(method, monkeypatch):
    monkeypatch.setattr(device, "WITHOUT_DOUBLES", ())
    with pytest.raises(TypeError, match="makes a double"):
        assert_steps_make_no_double(oneness()[method][0])
