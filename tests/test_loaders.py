"""A run that is cut off goes on at the next batch, whichever loader draws from the sampler."""

from __future__ import annotations

import copy
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, broadcast_object_list
from torchdata.stateful_dataloader import StatefulDataLoader

from cotrain_losses import MixedBatchSampler
from tests.masks import mask
from tests.processes import in_processes
from tests.resumed import EPOCHS, FRAMES, LENGTH, MASK, sampler, unbroken

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 beside torch 2.13


def endless(loader: Any, before: Callable[[int], Any] = lambda epoch: None) -> Iterator[list[int]]:
    """The batches of epoch after epoch."""
    for epoch in itertools.count():
        before(epoch)
        for batch in loader:
            yield batch.tolist()


CUTS = [0, 1, 3, LENGTH - 1, LENGTH, LENGTH + 1, 2 * LENGTH + 2]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("names_epochs", [False, True])
def test_a_stateful_loader_goes_on_at_the_next_batch(cut: int, workers: int, names_epochs: bool) -> None:
    make = lambda: StatefulDataLoader(FRAMES, batch_sampler=sampler(), num_workers=workers)
    first = make()
    batches = endless(first)
    seen = [next(batches) for _ in range(cut)]
    state = copy.deepcopy(first.state_dict())
    assert [next(batches) for _ in range(3)] == unbroken()[cut : cut + 3]  # asking changes nothing
    later = make()
    later.load_state_dict(state)
    name = later.batch_sampler.set_epoch if names_epochs else lambda epoch: None  # counted from 0 again
    rest = endless(later, name)
    assert (
        seen + [next(rest) for _ in range(2 * LENGTH - cut % LENGTH)] == unbroken()[: cut + 2 * LENGTH - cut % LENGTH]
    )


@pytest.mark.parametrize("cut", CUTS)
def test_a_sampler_that_is_drawn_from_directly_goes_on_from_its_own_state(cut: int) -> None:
    first = sampler()
    batches = itertools.chain.from_iterable(itertools.repeat(first))
    seen = [next(batches) for _ in range(cut)]
    later = sampler()
    later.load_state_dict(copy.deepcopy(first.state_dict()))
    rest = itertools.chain.from_iterable(later for _ in range(EPOCHS))
    assert (seen + list(rest))[: EPOCHS * LENGTH] == unbroken()


def test_a_state_of_other_data_or_settings_is_refused() -> None:
    state = sampler().state_dict()
    with pytest.raises(ValueError, match="same data and settings, got seed 3 for 4"):
        MixedBatchSampler(MASK, 8, 0.3, seed=4).load_state_dict(state)
    with pytest.raises(ValueError, match="rows 8 for 16"):
        sampler(world_size=2).load_state_dict(state)
    with pytest.raises(ValueError, match="'source': 50"):
        MixedBatchSampler(mask(6, 51), 8, 0.3, seed=3).load_state_dict(state)


def accelerated(world_size: int = 1, rank: int = 0, workers: int = 0) -> tuple[Accelerator, Any]:
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(use_stateful_dataloader=True))
    accelerator.print = lambda *args: None
    drawn = sampler(world_size=world_size, rank=rank)
    return accelerator, StatefulDataLoader(FRAMES, batch_sampler=drawn, num_workers=workers)


@pytest.mark.parametrize("cut", CUTS[1:])
@pytest.mark.parametrize("workers", [0, 2])
def test_accelerates_saved_state_goes_on_at_the_next_batch(tmp_path: Path, cut: int, workers: int) -> None:
    accelerator, loader = accelerated(workers=workers)
    batches = endless(accelerator.prepare(loader))
    seen = [next(batches) for _ in range(cut)]
    accelerator.save_state(str(tmp_path))
    later, loader = accelerated(workers=workers)
    prepared = later.prepare(loader)
    later.load_state(str(tmp_path))
    rest = endless(prepared)
    assert seen + [next(rest) for _ in range(2 * LENGTH)] == unbroken()[: cut + 2 * LENGTH]


def _resumed_in_two_processes(rank: int) -> dict[str, list[list[int]]]:
    """Batches of a rank from the first on, cut off in between; Accelerate prepares the loader, or does not."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}  # asked for, though the group is there
    assert Accelerator(cpu=True).num_processes == 2
    (folder,) = broadcast_object_list([tempfile.mkdtemp()])
    return {
        f"{'prepared' if prepares else 'kept'} {cut}": _resumed(rank, cut, prepares, f"{folder}/{cut} {prepares}")
        for cut in (3, LENGTH + 1)
        for prepares in (False, True)
    }


def _resumed(rank: int, cut: int, prepares: bool, folder: str) -> list[list[int]]:
    def made() -> tuple[Accelerator, Any]:
        if prepares:
            accelerator, loader = accelerated()
            return accelerator, accelerator.prepare(loader)
        accelerator, loader = accelerated(world_size=2, rank=rank)
        accelerator.register_for_checkpointing(loader)
        return accelerator, loader

    accelerator, loader = made()
    batches = endless(loader)
    seen = [next(batches) for _ in range(cut)]
    accelerator.save_state(folder)
    accelerator.wait_for_everyone()
    later, loader = made()
    later.load_state(folder)
    if prepares:
        loader.set_epoch(cut // len(loader))
    rest = endless(loader)
    return seen + [next(rest) for _ in range(LENGTH)]


def test_accelerate_in_two_processes_goes_on_at_the_next_batch(tmp_path: Path) -> None:
    found = in_processes(_resumed_in_two_processes, tmp_path)
    epochs = [unbroken()[k * LENGTH : (k + 1) * LENGTH] for k in range(EPOCHS)]
    whole = [batch for epoch in epochs for batch in [*epoch, *epoch[: LENGTH % 2]]]  # each process the same number
    for rank in (0, 1):
        alone = sampler(world_size=2, rank=rank)
        kept = [batch for _ in range(EPOCHS) for batch in alone]
        for name, batches in found[rank].items():
            expected = whole[rank::2] if "prepared" in name else kept
            assert batches == expected[: len(batches)], name
