"""A step of DistributedDataParallel on gathered rows against one process on all rows; run as a script.

A script of its own, so that the processes can be forked after the imports and before any backward.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cotrain_losses import MMD, DomainClassifier, OptimalTransport, Rows, Sinkhorn
from cotrain_losses.policy.gather import gathered
from tests.processes import in_group

torch.compiler.reset()  # loads what DistributedDataParallel imports: once here, not once in each process
SOURCE, TARGET = (4, 0, 3, 2), (1, 3, 0, 3)  # rows by rank: uneven, and each side empty somewhere


class Training(nn.Module):
    """An encoder under a regularizer, on the rows of a process group or (group None) on its own."""

    def __init__(self, group):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(3, 2).double()
        transport = 0.2 * Sinkhorn(0.5) + 0.1 * OptimalTransport(0.3)
        self.regularizer = 0.3 * MMD(1.0) + transport - 0.5 * DomainClassifier(2, hidden=(4,)).double()
        self.group = group

    def forward(self, source, target):
        return self.regularizer(self.side(source), self.side(target))

    def side(self, x):
        rows = Rows(self.encoder(x), {"state": x.bfloat16()}, mass=x[:, 0].exp(), group=x[:, 1] > 0)
        return rows if self.group is None else gathered(rows, group=self.group)


def compare(rank, folder, groups, results):
    """Put (rank, processes, largest difference of the loss or a gradient) for each group this rank is in."""

    def work(rank):
        for ranks, group in [(ranks, dist.new_group(list(ranks))) for ranks in groups]:
            if rank in ranks:
                results.put((rank, len(ranks), difference(rank, ranks, group)))

    torch.set_num_threads(1)
    in_group(work, folder, rank, world=4)


def difference(rank, ranks, group):
    generator = torch.Generator().manual_seed(1)
    draw = lambda count: torch.randn(count, 3, generator=generator).double()
    rows = [(draw(n), draw(m) + 0.5) for n, m in zip(SOURCE, TARGET, strict=True)]
    alone, parallel = Training(None), DistributedDataParallel(Training(group), process_group=group)
    expected = alone(*(torch.cat([rows[r][side] for r in ranks]) for side in (0, 1)))
    found = parallel(*rows[rank])
    for value in (expected, found):
        value.backward()
    pairs = zip(parallel.module.parameters(), alone.parameters(), strict=True)
    assert all(q.grad.any() for _, q in zip(range(2), alone.parameters(), strict=False))
    return max([(found - expected).abs().item(), *((p.grad - q.grad).abs().max().item() for p, q in pairs)])


def main():
    results = mp.get_context("fork").SimpleQueue()
    groups = [(0, 1), (2, 3), (0, 1, 2, 3)]
    mp.start_processes(compare, (Path(sys.argv[1]), groups, results), nprocs=4, start_method="fork")
    print(json.dumps([results.get() for _ in range(8)]))


if __name__ == "__main__":
    main()
