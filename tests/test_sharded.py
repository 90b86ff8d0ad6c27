"""FSDP2: a policy whose parameters are sharded over two processes trains as in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method
from cotrain_losses.strength import relative
from tests.installed import SEAM
from tests.processes import in_processes
from tests.toy import Policy, batch
from tests.training import noiseless

LABELS = torch.arange(8) % 2 == 0


class Called(Policy):
    """Called, so that FSDP gathers its parameters."""

    def forward(self, batch: Any) -> Tensor:
        return noiseless(self, batch).mean()


def joined(gather: bool) -> CoTrain:
    torch.manual_seed(0)
    terms = 0.1 * MMD(bandwidth=1.0) + relative(0.2) * MMD(bandwidth=2.0) - 0.1 * DomainClassifier(4, hidden=(5,))
    guidance = DomainGuidance(width=4, drop=0.0)
    torch.nn.init.normal_(guidance.table)
    method = Method(regularizer=terms, guidance=guidance, weights=lambda samples: 1.0 + samples.is_target.double())
    cotrain = CoTrain(Called(), method, seam=SEAM, loss="__call__", gather=gather)
    for part in method.modules():
        part.double()
    return cotrain


def trained(cotrain: CoTrain, rows: slice) -> dict[str, Any]:
    part = {name: x[rows] for name, x in batch(b=8).items()}
    for step in range(2):
        losses = cotrain(part, domain=LABELS[rows], step=step)
        losses.total.backward()
    gradients = {name: whole(p.grad) for name, p in cotrain.policy.named_parameters()}
    return {"regularizer": losses.regularizer, "strengths": losses.strengths, "raw": losses.raw, **gradients}


def whole(x: Any) -> Tensor:
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def _sharded() -> CoTrain:
    cotrain = joined(gather=True)
    mesh = init_device_mesh("cpu", (2,))
    for module in (cotrain.policy.encoder, cotrain.policy.head, cotrain.policy):
        fully_shard(module, mesh=mesh)
    return cotrain


def _both(rank: int) -> tuple[dict[str, Any], bool | None, tuple[str, ...]]:
    part = {name: x[4 * rank : 4 * rank + 4] for name, x in batch(b=8).items()}
    found = _sharded().check(part, domain=LABELS[:4])
    return trained(_sharded(), slice(4 * rank, 4 * rank + 4)), found.weights_reach_all, found.told


def test_two_processes_with_shards_train_as_one_and_are_told_what_a_check_cannot_measure(tmp_path: Path) -> None:
    expected = trained(joined(gather=False), slice(None))
    for found, reach, told in in_processes(_both, tmp_path):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert reach is None and "Check before parameters are frozen or sharded" in " ".join(told)
