# %% [markdown]
# # diffusion_policy, in its own workspace
#
# A whole run with the released code (5ba07ac6): one replay buffer with two domains, its own
# `TrainDiffusionUnetLowdimWorkspace` unchanged, and its own rollouts. `make notebook-diffusion-policy` runs it
# on a CPU beside a clone of the repository and writes this page.
#
# **The task.** A hand moves to a goal in a plane. The robot's camera is turned by 60 degrees
# and stands 1 m aside, so hand and goal are seen elsewhere than in simulation; commands mean
# the same. The robot is a simulation here too, so that anybody can evaluate on it.

# %%
import contextlib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from diffusion_policy.common.replay_buffer import ReplayBuffer
from diffusion_policy.env_runner.base_lowdim_runner import BaseLowdimRunner
from diffusion_policy.workspace import train_diffusion_unet_lowdim_workspace as released
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from scipy.stats import binomtest

import cotrain_losses as ctl
from cotrain_losses.datasets.labels import EpisodeDomains
from cotrain_losses.mixing import mixed_loaders

torch.set_num_threads(1)

TURN = np.deg2rad(60)
CAMERA = {
    "sim": (np.eye(2), np.zeros(2)),
    "real": (
        np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]),
        np.array([1.0, 0.0]),
    ),
}


def seen(places, name):
    """Places in the plane (..., 2), in metres, as a domain's camera gives them."""
    turned, stands = CAMERA[name]
    return places @ turned.T + stands


def expert(hand, goal):
    """A demonstration's command: 30 % of the way, 6 cm at most."""
    step = 0.3 * (goal - hand)
    length = np.linalg.norm(step, axis=-1, keepdims=True)
    return step * np.minimum(1, 0.06 / np.maximum(length, 1e-9))


# %% [markdown]
# ## One replay buffer
#
# 60 simulated demonstrations, then 6 of the robot. diffusion_policy's own dataset class for
# low-dimensional states reads them: the goal is its `keypoint`, the hand its `state`.

# %%
episodes = EpisodeDomains({"sim": range(60), "real": range(60, 66)})


def record(name, buffer, rng):
    """Add one demonstration of 25 frames."""
    hand, goal = rng.uniform(-0.4, 0.4, (2, 2))
    rows = {"keypoint": [], "state": [], "action": []}
    for _ in range(25):
        command = expert(hand, goal)
        rows["keypoint"].append(seen(goal, name)[None])
        rows["state"].append(seen(hand, name))
        rows["action"].append(command)
        hand = hand + command + rng.normal(0, 0.01, 2)
    buffer.add_episode({key: np.float32(value) for key, value in rows.items()})


buffer, rng = ReplayBuffer.create_empty_zarr(), np.random.default_rng(0)
for name, which in (("sim", range(60)), ("real", range(60, 66))):
    for _ in which:
        record(name, buffer, rng)
buffer.save_to_path("demos.zarr")
print(buffer.n_episodes, "episodes,", buffer.n_steps, "frames")

# %% [markdown]
# ## Rollouts
#
# The workspace asks an `env_runner` for rollouts of the averaged policy. This one starts 100
# times on the robot. A run succeeds if the hand is within 3 cm of the goal after 40 steps.


# %%
class OnTheRobot(BaseLowdimRunner):
    """100 runs of 40 steps, of which the policy decides four at a time."""

    @torch.no_grad()
    def run(self, policy):
        """The share of runs that end at the goal."""
        rng = np.random.default_rng(99)
        hand, goal = rng.uniform(-0.4, 0.4, (2, 100, 2))
        before, paths = hand, [hand]
        torch.manual_seed(0)
        for _ in range(10):
            both = [
                np.concatenate([seen(goal, "real"), seen(x, "real")], 1)
                for x in (before, hand)
            ]
            observed = torch.tensor(np.stack(both, 1)).float()
            commands = policy.predict_action({"obs": observed})["action"].numpy()
            for command in commands.swapaxes(0, 1):
                before, hand = hand, hand + command
                paths.append(hand)
        done.append((np.stack(paths), goal))
        return {"test_mean_score": float(reached(paths[-1], goal).mean())}


def reached(hand, goal):
    """Whether a hand is within 3 cm of its goal."""
    return np.linalg.norm(hand - goal, axis=-1) < 0.03


done = []

# %% [markdown]
# ## The released workspace, three times
#
# Settings are the released YAML with a smaller network. `mixed_loaders` gives the workspace's
# training loader exact shares. `install` puts the method into `compute_loss` and the token
# into the optimizer. `guided` lets the averaged policy use the label in rollouts. The
# workspace saves whatever has a `state_dict`, so `workspace.cotrain` is in its checkpoints.

# %%
CONFIG = Path(released.__file__).parent.parent / "config"
SETTINGS = [
    "task.dataset.zarr_path=demos.zarr",
    "task.dataset.val_ratio=0",
    "task.dataset.max_train_episodes=null",
    "task.obs_dim=4",
    "horizon=8",
    "n_action_steps=4",
    "policy.model.down_dims=[32,64]",
    "policy.model.diffusion_step_embed_dim=32",
    "policy.noise_scheduler.num_train_timesteps=20",
    "policy.noise_scheduler.prediction_type=sample",
    "policy.num_inference_steps=20",
    "dataloader={batch_size: 64, num_workers: 0, shuffle: true}",
    "val_dataloader={batch_size: 64, num_workers: 0}",
    "optimizer.lr=1e-3",
    "training.device=cpu",
    "training.seed=0",
    "training.num_epochs=41",
    "training.lr_warmup_steps=50",
    "training.rollout_every=40",
    "training.checkpoint_every=40",
    "training.resume=false",
    "logging.mode=disabled",
]

METHODS = {
    "target alone": ctl.Method(ratio=1.0),
    "co-training": ctl.recipes.cotraining(0.25),
    "with a label": ctl.Method(ratio=0.25, guidance=ctl.DomainGuidance()),
}


def domain(data):
    """(samples,) the domain of each window of the replay buffer."""
    ends, first = data.replay_buffer.episode_ends[:], data.sampler.indices[:, 0]
    return episodes.of(np.searchsorted(ends, first, "right"))


def train(name):
    """Run the workspace under a method; returns its last rollouts."""
    method = METHODS[name]
    with initialize_config_dir(str(CONFIG), version_base=None):
        settings = compose("train_diffusion_unet_lowdim_workspace", SETTINGS)
    settings.task.env_runner = {"_target_": "__main__.OnTheRobot"}
    OmegaConf.resolve(settings)
    Path(name, "checkpoints").mkdir(parents=True)
    workspace = released.TrainDiffusionUnetLowdimWorkspace(settings, output_dir=name)
    cotrain = ctl.CoTrain(
        workspace.model, method, domains=episodes.names, target="real"
    )
    workspace.cotrain = cotrain.install(
        domain=lambda batch: batch["domain"], optimizer=workspace.optimizer
    )
    sampling = contextlib.nullcontext()
    if method.guidance is not None:
        sampling = cotrain.guided(workspace.ema_model)
    names = {"domains": episodes.names, "target": "real"}
    with mixed_loaders(method.ratio, domain, **names), sampling:
        workspace.run()
    print(f"{name}: rows in the last batch {workspace.cotrain.latest.counts}")
    return done[-1]


ends = {name: train(name) for name in METHODS}

# %%
shares = {}
for name, (paths, goal) in ends.items():
    solved = int(reached(paths[-1], goal).sum())
    interval = binomtest(solved, 100).proportion_ci(method="wilson")
    shares[name] = f"{solved / 100:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    print(f"{name}: {shares[name]} of the runs reach the goal")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), sharey=True, layout="constrained")
for panel, (name, (paths, goal)) in zip(axes, ends.items(), strict=True):
    panel.plot(
        *100 * (paths - goal)[:, :25].transpose(2, 0, 1), color="#0072B2", lw=0.8
    )
    panel.add_patch(plt.Circle((0, 0), 3, fill=False, color="#D55E00", lw=2, zorder=3))
    panel.set(title=f"{name}\n{shares[name]}", aspect="equal")
    panel.set(xlabel="hand right of the goal (cm)", xlim=(-75, 75), ylim=(-75, 75))
axes[0].set(ylabel="hand above the goal (cm)")
plt.show()

# %% [markdown]
# *The first 25 runs of each policy; the circle is success. Titles: the share of 100 runs that
# succeed, with Wilson's 95 % interval over the runs.*
#
# All three policies lead the hand close to the goal, and many runs stop a few centimetres
# short. The intervals overlap: no difference between the three is shown. This page says how
# the pieces fit, not which method is good. `cotrain which` lists the comparisons that say
# more.
#
# `eval.py` of the released code does not know the method in a checkpoint: take it out there,
# `payload["state_dicts"].pop("cotrain")`.
