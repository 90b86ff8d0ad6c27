"""robomimic 0.3.0's own scripts/train.py: a method, exact shares and checkpoints by the lines of docs/codebases.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from robomimic.config import config_factory
from robomimic.scripts import train as script
from robomimic.utils.file_utils import policy_from_checkpoint

from cotrain_losses import CoTrain, DomainClassifier, Method
from cotrain_losses.datasets.labels import EpisodeDomains
from cotrain_losses.mixing import mixed_loaders
from cotrain_losses.policy import after

pytestmark = pytest.mark.integration
DOMAINS = {"source": range(6), "target": range(6, 8)}


def demonstrations(path: Path) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"], data.attrs["total"] = json.dumps({"env_name": "none", "type": 1, "env_kwargs": {}}), 160
        for k in range(8):
            demo, state = data.create_group(f"demo_{k}"), rng.normal(size=(20, 5)).astype(np.float32) + (k < 6)
            demo.attrs["num_samples"] = 20
            parts = {"obs/state": state, "next_obs/state": state, "actions": np.tanh(state[:, :3])}
            for name, values in {**parts, "rewards": np.zeros(20), "dones": np.zeros(20)}.items():
                demo[name] = values
        for name, each in DOMAINS.items():
            file[f"mask/{name}"] = np.array([f"demo_{k}" for k in each], dtype="S")
    return path


def settings(data: Path, out: Path) -> Any:
    config = config_factory("bc")
    with config.values_unlocked():
        config.train.data, config.train.output_dir, config.experiment.name = str(data), str(out), "run"
        config.observation.modalities.obs.low_dim, config.algo.actor_layer_dims = ["state"], (16,)
        config.experiment.rollout.enabled, config.experiment.logging.terminal_output_to_txt = False, False
        config.experiment.logging.log_tb, config.experiment.epoch_every_n_steps = False, 3
        config.experiment.save.enabled, config.experiment.save.every_n_epochs = True, 1
        config.train.num_epochs, config.train.batch_size, config.train.num_data_workers = 2, 8, 0
        config.train.cuda = False
    config.lock()
    return config


def test_its_script_trains_with_a_method_in_exact_shares_and_saves_it(tmp_path: Path) -> None:
    path, attached, counts = demonstrations(tmp_path / "demos.hdf5"), list[Any](), list[dict[str, int]]()
    episodes = EpisodeDomains.of_filter_keys(path, {name: name for name in DOMAINS})

    def attach(algo: Any, **_: Any) -> None:
        method = Method(ratio=0.25, regularizer=-0.05 * DomainClassifier(16))
        attached.append(CoTrain(algo, method).install(domain=read))

    def read(batch: Any) -> Any:
        counts.append({"target": int(batch["domain"].sum()), "all": len(batch["domain"])})
        return batch["domain"]

    def domain(data: Any) -> Any:
        demos = vars(data)["_index_to_demo_id"]
        return episodes.of([demos[k] for k in range(len(data))])

    with after(script, "algo_factory", attach), mixed_loaders(0.25, domain):
        script.train(settings(path, tmp_path / "out"), torch.device("cpu"))
    assert counts == 6 * [{"target": 2, "all": 8}]
    (last,) = (tmp_path / "out").glob("run/*/models/model_epoch_2.pth")
    own = {name: value.clone() for name, value in attached[0].state_dict().items()}
    for value in attached[0].state_dict().values():
        value.zero_()
    assert not any(value.any() for value in attached[0].state_dict().values())
    attached[0].policy.deserialize(torch.load(last, weights_only=False)["model"])
    resumed = attached[0].state_dict()
    assert set(resumed) == set(own) and all(torch.equal(resumed[name], own[name]) for name in own)
    stock, _ = policy_from_checkpoint(ckpt_path=str(last), device="cpu")  # for rollouts, without this library
    observation = {"state": np.zeros(5, np.float32)}
    attached[0].policy.set_eval()
    ours = attached[0].policy.get_action({"state": torch.zeros(1, 5)})
    assert np.array_equal(stock(observation), ours[0].detach().numpy())
    assert attached[0].latest.strengths == {"domain_classifier": -0.05}
