"""Lightning: a run goes on from a checkpoint at the next batch."""

from __future__ import annotations

from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torchdata.stateful_dataloader import StatefulDataLoader

from tests.resumed import FRAMES, LENGTH, sampler, unbroken


class Noted(lightning.LightningModule):
    """Notes the batches that it trains on."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.seen = nn.Linear(1, 1), list[list[int]]()

    def training_step(self, batch: Tensor, number: int) -> Tensor:
        self.seen.append(batch.tolist())
        return self.net(batch[:, None].float()).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _trained(folder: Path, steps: int, workers: int, resumed: str | None = None) -> list[list[int]]:
    module = Noted()
    kept = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, callbacks=[kept],
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    loader = StatefulDataLoader(FRAMES, batch_sampler=sampler(), num_workers=workers)
    trainer.fit(module, loader, ckpt_path=resumed)
    return module.seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_goes_on_at_the_next_batch(tmp_path: Path, workers: int) -> None:
    assert _trained(tmp_path, 3 * LENGTH, workers) == unbroken()[: 3 * LENGTH]
    ends = [] if workers else [LENGTH]  # Lightning then asks for the batches after the last before it names the epoch
    for cut in (3, LENGTH - 1, *ends, LENGTH + 1, 2 * LENGTH + 2):
        rest = _trained(tmp_path / "later", cut + LENGTH, workers, str(tmp_path / f"step={cut}.ckpt"))
        assert rest == unbroken()[cut : cut + LENGTH]
