"""Hugging Face's own Trainer trains a policy with an installed method, in the environment of LeRobot's transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainClassifier, Method, Seam

pytestmark = pytest.mark.integration


class Model(nn.Module):
    """Called by keyword, returning a mapping with a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, observation: Tensor, action: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.head(self.encoder(observation)) - action).square().mean()}


def test_the_trainer_trains_on_the_total(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    torch.manual_seed(0)
    rows: list[dict[str, Any]] = [
        {"observation": torch.randn(5), "action": torch.ones(2), "domain": k % 4 == 0} for k in range(64)
    ]
    model = Model()
    method = Method(regularizer=0.1 * MMD() - 0.05 * DomainClassifier(4, hidden=(8,)))
    cotrain = CoTrain(model, method, seam=Seam(feature="encoder", head="head"), loss="__call__")
    installation = cotrain.install(domain=lambda batch: batch["domain"])
    optimizer = torch.optim.AdamW([*model.parameters(), *cotrain.plugin_parameters()], lr=1e-2)
    before = [p.clone() for p in cotrain.plugin_parameters()]
    settings = {"max_steps": 20, "per_device_train_batch_size": 16, "report_to": [], "use_cpu": True}
    arguments = TrainingArguments(str(tmp_path), remove_unused_columns=False, save_strategy="no", **settings)
    trainer = Trainer(model, arguments, train_dataset=rows, optimizers=(optimizer, None))
    trainer.train()
    assert installation.latest.counts["target"] > 0 and installation.latest.raw["mmd"] != 0
    assert all(not torch.equal(p, q) for p, q in zip(cotrain.plugin_parameters(), before, strict=True))
