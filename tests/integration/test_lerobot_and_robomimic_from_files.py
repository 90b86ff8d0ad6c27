"""From the simulator's demonstrations, through the formats' own files and the libraries' own loops, to actions.

LeRobot's own DiffusionPolicy is trained by `lerobot-train`'s own function, robomimic's own BC by robomimic's own
epochs; three lines attach the method.  What they learned is rolled out in the simulator.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cotrain_bench.sim2sim.demos import Demos, Request, demonstrations
from cotrain_bench.sim2sim.evaluation import roll_out
from cotrain_bench.sim2sim.export import action_scale, episode_ids, export, is_proprioception
from cotrain_bench.sim2sim.gaps import GAPS, Gap
from cotrain_bench.sim2sim.world import World
from torch import Tensor
from torch.utils.data import DataLoader

import cotrain_losses as ctl
from cotrain_losses.datasets.labels import DomainDataset, EpisodeDomains

pytestmark = pytest.mark.integration
TASK, GAP, EPISODES = "button-press", "physics", 20


@pytest.fixture(scope="module")
def demos() -> dict[str, Demos]:
    with ThreadPoolExecutor(1) as executor:
        source = demonstrations(Request(TASK, Gap(), 0, 60), executor)
        target = demonstrations(Request(TASK, GAPS[GAP], 400_000, 20), executor)
    return {"source": source, "target": target}


def successes(policy: Any) -> int:
    with torch.no_grad():
        return sum(roll_out(policy, World(TASK, GAPS[GAP]), range(800_000, 800_000 + EPISODES), seed=0).solved)


def test_lerobots_own_training_function_trains_its_diffusion_policy(demos: dict[str, Demos], tmp_path: Path) -> None:
    from lerobot.configs.default import DatasetConfig
    from lerobot.configs.train import TrainPipelineConfig
    from lerobot.configs.types import NormalizationMode
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.scripts import lerobot_train

    root = export(demos, "lerobot", tmp_path / "dataset")
    by_episode = EpisodeDomains(json.loads((root / "meta" / "domains.json").read_text()))
    made: list[Any] = []
    make_policy = lerobot_train.make_policy

    def with_cotraining(*args: Any, **kwargs: Any) -> Any:
        policy = make_policy(*args, **kwargs)
        method = ctl.Method(guidance=ctl.DomainGuidance(drop=0.2), weights=lambda s: 1.0 + s.is_target.float())
        cotrain = ctl.CoTrain(policy, method)
        made.append((policy, cotrain, cotrain.install(domain=by_episode)))
        return policy

    lerobot_train.make_policy = with_cotraining
    try:
        config = DiffusionConfig(
            device="cpu",
            push_to_hub=False,
            down_dims=(64, 128),
            horizon=16,
            n_action_steps=8,
            drop_n_last_frames=0,
            num_inference_steps=10,
            noise_scheduler_type="DDIM",
            optimizer_lr=5e-4,
            scheduler_warmup_steps=50,
            normalization_mapping=dict.fromkeys(("STATE", "ENV", "ACTION"), NormalizationMode.MIN_MAX),
        )
        run = TrainPipelineConfig(
            dataset=DatasetConfig(repo_id="local/sim2sim", root=str(root)),
            policy=config,
            output_dir=tmp_path / "run",
            steps=600,
            batch_size=32,
            num_workers=0,
            log_freq=300,
            save_freq=600,
            eval_freq=0,
        )
        lerobot_train.train(run)
    finally:
        lerobot_train.make_policy = make_policy
    policy, cotrain, installation = made[0]
    assert cotrain.guidance.table.abs().sum() > 0  # it learned, in LeRobot's own optimizer
    assert set(installation.latest.counts) == {"source", "target"}
    meta = LeRobotDatasetMetadata("local/sim2sim", root=root)
    before, after = make_pre_post_processors(policy.config, dataset_stats=meta.stats)
    policy.eval()

    own = torch.from_numpy(is_proprioception(demos["source"].observations.shape[1]))

    def act(observations: Tensor) -> Tensor:
        names = {
            "observation.state": observations[..., own],
            "observation.environment_state": observations[..., ~own],
        }
        with cotrain.guided(scale=1.0):
            return after(policy.diffusion.generate_actions(before(names)))

    solved = successes(act)
    print(f"LeRobot's DiffusionPolicy, trained from the exported files: {solved} of {EPISODES} episodes solved")
    assert solved > 0


def test_robomimics_own_epochs_train_its_bc(demos: dict[str, Demos], tmp_path: Path) -> None:
    import robomimic.utils.obs_utils as ObsUtils
    import robomimic.utils.train_utils as TrainUtils
    from robomimic.algo import algo_factory
    from robomimic.config import config_factory
    from robomimic.utils.file_utils import get_shape_metadata_from_dataset

    path = export(demos, "robomimic", tmp_path / "demos.hdf5")
    by_demo = EpisodeDomains.of_filter_keys(path, {"source": "source", "target": "target"})
    assert by_demo.of([f"demo_{k}" for k in episode_ids(demos)["target"]]).eq(1).all()
    config = config_factory("bc")
    with config.values_unlocked():
        config.train.data, config.train.hdf5_cache_mode = str(path), "all"
        config.train.dataset_keys = ["actions", "rewards", "dones"]
        config.observation.modalities.obs.low_dim = ["state"]
        config.algo.actor_layer_dims = (256, 256)
        config.algo.optim_params.policy.learning_rate.initial = 1e-3
    ObsUtils.initialize_obs_utils_with_config(config)
    shapes = get_shape_metadata_from_dataset(str(path), all_obs_keys=["state"])
    algo = algo_factory("bc", config, shapes["all_shapes"], shapes["ac_dim"], torch.device("cpu"))
    parts = {}
    for domain in ("source", "target"):
        with config.values_unlocked():
            config.train.hdf5_filter_key = domain
        parts[domain] = TrainUtils.dataset_factory(config, obs_keys=["state"], filter_by_attribute=domain)
    data = DomainDataset(parts, key="domain")
    sampler = ctl.MixedBatchSampler(data.domain, 128, 0.3, domains=data.names, target="target", seed=0)
    cotrain = ctl.CoTrain(algo, ctl.Method(regularizer=-0.01 * ctl.DomainClassifier(256, hidden=(64,))))
    installation = cotrain.install(domain=lambda batch: batch["domain"])
    loader, losses = DataLoader(data, batch_sampler=sampler), []
    for epoch in range(1, 6):
        losses.append(TrainUtils.run_epoch(algo, loader, epoch, num_steps=500)["Loss"])
    cotrain.uninstall()
    scale = torch.from_numpy(action_scale(path))
    assert losses[-1] < losses[0] and installation.latest.counts["target"] in (38, 39)
    algo.set_eval()

    def act(observations: Tensor) -> Tensor:
        return algo.get_action({"state": observations[:, -1].float()})[:, None] * scale

    solved = successes(act)
    print(f"robomimic's BC, trained from the exported file: {solved} of {EPISODES} episodes solved")
    assert np.isfinite(losses).all() and solved > 0
