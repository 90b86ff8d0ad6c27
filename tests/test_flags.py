"""What only the data decides: at once on the CPU, together and seldom elsewhere."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from cotrain_losses import MMD, Rows
from cotrain_losses._core import flags as flags_module
from cotrain_losses._core.flags import Flags


@pytest.fixture
def elsewhere(monkeypatch):
    """CPU tensors are taken for those of another device, whose values are not looked at in a step."""
    monkeypatch.setattr(flags_module, "eager", lambda x: False)


def test_on_the_cpu_a_flag_acts_at_once_and_zero_does_not() -> None:
    seen = []
    Flags().post("x", torch.tensor(0.0, device="cpu"), seen.append)
    assert seen == []
    Flags().post("x", torch.tensor(2.0, device="cpu"), seen.append)
    assert seen == [2.0]


def test_elsewhere_the_largest_value_acts_once_after_so_many_posts(elsewhere) -> None:
    seen, flags = [], Flags(every=4)
    for value in (0.0, 3.0, 1.0):
        flags.post("x", torch.tensor(value), seen.append)
    assert seen == []
    flags.post("x", torch.tensor(0.0), seen.append)
    assert seen == [3.0]
    for _ in range(4):
        flags.post("x", torch.tensor(0.0), seen.append)
    assert seen == [3.0]


def test_nan_counts_more_than_any_number(elsewhere) -> None:
    seen, flags = [], Flags(every=3)
    for value in (1.0, float("nan"), 2.0):
        flags.post("x", torch.tensor(value), seen.append)
    assert len(seen) == 1 and seen[0] != seen[0]


def test_counts_add_up_on_every_device_until_the_buffer_is_read() -> None:
    seen, flags = [], Flags()
    for skipped in (True, False, torch.tensor(True)):
        flags.count("x", skipped, seen.append)
    assert seen == []
    flags.read()
    flags.read()
    assert seen == [2.0]


def test_a_copy_starts_empty(elsewhere) -> None:
    seen, flags = [], Flags(every=7)
    flags.post("x", torch.tensor(1.0), seen.append)
    for other in (copy.deepcopy(flags), pickle.loads(pickle.dumps(flags))):
        other.read()
        assert seen == [] and other.every == 7


def test_a_step_on_the_meta_device_reads_no_value() -> None:
    z = torch.randn(6, 3, device="meta", requires_grad=True)
    is_target = torch.zeros(6, device="meta")
    value = (0.1 * MMD())(Rows(z, mass=1 - is_target), Rows(z, mass=is_target))
    value.backward()
    assert z.grad.shape == z.shape
