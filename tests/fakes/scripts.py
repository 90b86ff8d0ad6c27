"""Training scripts that build loaders and policies themselves: where they look names up, what they keep and save.

robomimic v0.5 d309eaec scripts/train.py; diffusion_policy 5ba07ac6 workspace/train_diffusion_unet_lowdim_workspace.py
and base_workspace.py; openpi 15a9616a scripts/train_pytorch.py and training/data_loader.py.
"""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, WeightedRandomSampler

from . import diffusion_policy, robomimic, vla

Samples = list[dict[str, Any]]


class Sequences(Dataset[Any]):
    """Samples of two lengths of files, one after another: robomimic's MetaDataset, a replay buffer."""

    def __init__(self, samples: Samples, sizes: tuple[int, ...]) -> None:
        self.samples, self.sizes = samples, sizes

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.samples[index], "index": index}

    def get_dataset_sampler(self) -> Any:
        return WeightedRandomSampler(torch.ones(len(self)), len(self))


# robomimic


class Algo(robomimic.DiffusionPolicyUNet):
    """process_batch_for_training drops keys; serialize and deserialize know their own."""

    def process_batch_for_training(self, batch: Any) -> Any:
        return {"obs": batch["obs"], "goal_obs": None, "actions": batch["actions"]}

    def serialize(self) -> dict[str, Any]:
        return {"nets": self.nets.state_dict(), "optimizers": self.optimizers["policy"].state_dict()}

    def deserialize(self, model_dict: dict[str, Any], load_optimizers: bool = False) -> None:
        self.nets.load_state_dict(model_dict["nets"])
        if load_optimizers:
            self.optimizers["policy"].load_state_dict(model_dict["optimizers"])


Algo.__module__ = "robomimic.algo.diffusion_policy"
Algo.__name__ = "DiffusionPolicyUNet"


class Strict(Algo):
    """0.3.0's serialize and deserialize: the networks' state alone, loaded strictly."""

    def serialize(self) -> Any:
        return self.nets.state_dict()

    def deserialize(self, model_dict: dict[str, Any]) -> None:  # type: ignore[override]
        self.nets.load_state_dict(model_dict)


Strict.__module__, Strict.__name__ = Algo.__module__, Algo.__name__


def algo_factory(algo_name: str, device: Any) -> Algo:
    return Algo()


def train(data: Sequences, path: Path, epochs: int, resume: bool = False) -> list[Tensor]:
    """The places of all samples drawn."""
    sampler, drawn = data.get_dataset_sampler(), list[Tensor]()
    loader = DataLoader(dataset=data, sampler=sampler, batch_size=6, shuffle=(sampler is None), drop_last=True)
    model = algo_factory(algo_name="diffusion_policy", device="cpu")
    if resume:
        model.deserialize(torch.load(path)["model"], load_optimizers=True)
    for epoch in range(epochs):
        batches = iter(loader)
        for _ in range(3):
            batch = next(batches)
            drawn.append(batch["index"])
            model.train_on_batch(model.process_batch_for_training(batch), epoch)
        torch.save({"model": model.serialize()}, path)
    return drawn


# diffusion_policy


class Workspace:
    """save_checkpoint takes whatever of its attributes has a state_dict and a load_state_dict."""

    def __init__(self, data: Sequences, held_out: Sequences, path: Path) -> None:
        self.data, self.held_out, self.path = data, held_out, path
        self.model = diffusion_policy.DiffusionUnetLowdimPolicy()
        self.ema_model = copy.deepcopy(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.drawn, self.actions = list[Tensor](), list[Tensor]()

    def run(self) -> None:
        if self.path.is_file():
            for key, value in torch.load(self.path).items():
                self.__dict__[key].load_state_dict(value)
        loader = DataLoader(self.data, batch_size=6, num_workers=0, shuffle=True)
        held_out = DataLoader(self.held_out, batch_size=6, shuffle=False)
        for batch in loader:
            self.drawn.append(batch.pop("index"))
            self.model.compute_loss(batch).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            for mine, theirs in zip(self.ema_model.parameters(), self.model.parameters(), strict=True):
                mine.data.lerp_(theirs.data, 0.5)
        torch.manual_seed(0)
        self.actions.append(self.ema_model.eval().predict_action(batch["obs"])["action"])
        with torch.no_grad():
            self.losses = [self.model.compute_loss({k: x for k, x in b.items() if k != "index"}) for b in held_out]
        states = {key: x.state_dict() for key, x in vars(self).items() if hasattr(x, "load_state_dict")}
        torch.save(states, self.path)


# openpi

models_pytorch = SimpleNamespace(PI0Pytorch=lambda config: vla.PI0Pytorch())


def as_observation(batch: dict[str, Any]) -> vla.Observation:
    """Observation.from_dict: its fixed fields."""
    return vla.Observation(batch["image"], batch["state"], batch["tokenized_prompt"])


class DataLoaderImpl:
    def __init__(self, data_loader: Any) -> None:
        self._data_loader = data_loader

    def __iter__(self) -> Any:
        for batch in self._data_loader:
            yield as_observation(batch), batch["actions"]


def save_checkpoint(model: Any, optimizer: Any, global_step: int, config: Any, is_main: bool, data_config: Any) -> None:
    if global_step % 2 == 0:
        (config.checkpoint_dir / str(global_step)).mkdir()
        torch.save(model.state_dict(), config.checkpoint_dir / str(global_step) / "model.pt")


def load_checkpoint(model: Any, optimizer: Any, checkpoint_dir: Path, device: Any) -> int:
    latest = max(int(folder.name) for folder in checkpoint_dir.iterdir())
    model.load_state_dict(torch.load(checkpoint_dir / str(latest) / "model.pt"))
    return latest


def train_loop(config: Any, data: Any, steps: int, resume: bool = False) -> Any:
    sampler = DistributedSampler(data, num_replicas=2, rank=1, shuffle=True, drop_last=True)
    loader = DataLoaderImpl(torch.utils.data.DataLoader(data, batch_size=6, shuffle=False, sampler=sampler))
    model = models_pytorch.PI0Pytorch(config).to("cpu")
    optim = torch.optim.AdamW(model.parameters(), lr=1e-2)
    global_step = load_checkpoint(model, optim, config.checkpoint_dir, "cpu") if resume else 0
    while global_step < steps:
        for observation, actions in loader:
            if global_step >= steps:
                break
            model(observation, actions).mean().backward()
            optim.step()
            optim.zero_grad(set_to_none=True)
            global_step += 1
            save_checkpoint(model, optim, global_step, config, True, None)
    return model
