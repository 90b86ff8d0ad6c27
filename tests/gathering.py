"""Steps of DistributedDataParallel on gathered rows against one process on all rows; run as a script.

    {"terms": [[rank, processes, largest difference], ...], "steps": [[rank, largest difference, bytes sent], ...]}

Four processes compare a regularizer's rows, in pairs and together; eight train a policy whose batches, but two, hold no
target row.

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

from cotrain_losses import MMD, CoTrain, DomainClassifier, Method, OptimalTransport, Rows, Sinkhorn
from cotrain_losses.policy.gather import gathered
from tests.processes import in_group
from tests.toy import Policy, batch
from tests.training import SEAM, noiseless

torch.compiler.reset()  # loads what DistributedDataParallel imports: once here, not once in each process
RANKS, BATCH, TARGETS = 8, 8, (11, 12, 50)  # places of the target among the 64 samples: a share of 0.05, on two ranks
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


class Called(Policy):
    """The toy policy, whose loss is its call."""

    def forward(self, b):
        return noiseless(self, b).mean()


def compare(rank, folder, results):
    """Put what `differences` and `trained` find in this process."""

    def work(rank):
        groups = [(ranks, dist.new_group(list(ranks))) for ranks in ((0, 1), (2, 3), (0, 1, 2, 3))]
        for ranks, group in groups:
            if rank in ranks:
                results.put(("terms", rank, len(ranks), difference(rank, ranks, group)))
        results.put(("steps", rank, *trained(rank)))

    torch.set_num_threads(1)
    in_group(work, folder, rank, world=RANKS)


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


def trained(rank):
    """The largest difference of a gradient to one process's on all samples, and the bytes of every all-gather."""
    alone, parallel = stepper(), stepper(gather=True)
    model, sent, original = DistributedDataParallel(parallel), [], dist.all_gather
    dist.all_gather = lambda received, own, **k: sent.append(own.nbytes) or original(received, own, **k)
    for cotrain, called, rows in ((alone, alone, slice(None)), (parallel, model, slice(8 * rank, 8 * rank + 8))):
        for step in range(3):
            cotrain.zero_grad()
            kept = (torch.arange(RANKS * BATCH) % BATCH < (6 if step == 0 else BATCH))[rows]
            part = {name: x[rows][kept] for name, x in batch(step, RANKS * BATCH).items()}
            domain = torch.zeros(RANKS * BATCH).bool().index_fill(0, torch.tensor(TARGETS), True)[rows][kept]
            called(part, domain=domain, step=step).total.backward()
    dist.all_gather = original
    pairs = zip(alone.parameters(), parallel.parameters(), strict=True)
    return max((p.grad - q.grad).abs().max().item() for p, q in pairs), sent


def stepper(gather=False):
    torch.manual_seed(2)
    method = Method(regularizer=0.3 * MMD() + 0.2 * Sinkhorn(0.5) - 0.1 * DomainClassifier(4).double())
    return CoTrain(Called(), method, seam=SEAM, loss="__call__", gather=gather)


def main():
    results = mp.get_context("fork").SimpleQueue()
    mp.start_processes(compare, (Path(sys.argv[1]), results), nprocs=RANKS, start_method="fork")
    found = {"terms": [], "steps": []}
    while not results.empty():
        kind, *rest = results.get()
        found[kind].append(rest)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
