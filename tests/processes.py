"""Work done by several processes of one gloo group, on this machine."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_group(work: Callable[[int], Any], folder: Path, rank: int = 0, world: int = 1) -> Any:
    """What work(rank) returns, inside a group of `world` processes that meet in the folder.

    The work is a call of its own so that the DistributedDataParallel it makes is gone before the group.  The other way
    round its reducer holds the last reference, destroys the group under Python's global lock and waits there, for good,
    for a gloo thread which needs that lock to let go of its last work: so hung 10 of 60 runs of a plain small model on
    torch 2.13, and none of 400 in this order (pytorch issue 56297 is about such destructors).
    """
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    found = work(rank)
    gc.collect()
    dist.destroy_process_group()  # not after an error, whose traceback holds on to the model
    return found


def in_processes(work: Callable[[int], Any], folder: Path, world: int = 2) -> list[Any]:
    """What work(rank) returns in each of `world` new processes; work is a function of a module.

    They are forked from one process that has imported what takes long, and done nothing else.
    """
    multiprocessing.set_forkserver_preload(["torch", "torch.distributed", "cotrain_losses", "pytest", "hypothesis"])
    mp.start_processes(_save, args=(work, folder, world), nprocs=world, start_method="forkserver")
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(world)]


def _save(rank: int, work: Callable[[int], Any], folder: Path, world: int) -> None:
    torch.set_num_threads(1)
    torch.save(in_group(work, folder, rank, world), folder / f"rank{rank}.pt")
