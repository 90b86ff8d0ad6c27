"""The global batch: on two and on four processes the loss and every gradient are those of a single one."""

from __future__ import annotations

import socket

import pytest
import torch
import torch.multiprocessing as mp
from gathering import compare

from cotrain_losses import Rows
from cotrain_losses.gather import gathered


@pytest.fixture(scope="module")
def differences():
    """{(rank, processes): difference}; processes 0, 1 and 2, 3 are pairs, 0 to 3 the whole."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(compare, (4, port, [(0, 1), (2, 3), (0, 1, 2, 3)], results), nprocs=4)
    found = {}
    while not results.empty():
        rank, processes, difference = results.get()
        found[rank, processes] = difference
    return found


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("rank", range(4))
def test_loss_and_gradients_are_those_of_one_process_on_all_rows(differences, rank, processes):
    assert differences[rank, processes] < 1e-6


def test_without_a_process_group_rows_stay_as_they_are():
    rows = Rows(torch.zeros(2, 3))
    assert gathered(rows) is rows
