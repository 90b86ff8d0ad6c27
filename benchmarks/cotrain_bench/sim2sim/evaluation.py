"""What a trained policy does, and where the domains lie in its features.

Many episodes are rolled out at once: one batched policy call for all of them whenever a chunk is used up.  The frames
that features are measured on are of fresh expert demonstrations in both domains, in no policy's training data and the
same for every method, gap by gap: `cell.EPISODES` of each domain.  Alignment, discernibility and regime are those of
`cotrain diagnose`, at the seam, before the token, with whole episodes held out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cotrain_losses.policy import Collected, collect_features

from ..results import Row
from .coverage import Region
from .frames import Frames
from .gaps import Array, Gap
from .policies import loss_of
from .training import Diverged, Trained
from .world import COMMAND, World

SHOWN = 150  # frames of each domain that pictures show


@dataclass(frozen=True)
class Rollouts:
    solved: list[bool]
    steps: list[int]
    paths: list[Array]  # (steps + 1, 2, 3) each, for the first few episodes: hand and object, in metres
    goals: list[Array]  # (3,) each, for the same
    commands: list[Array]  # (steps, 4) each, for the same: with the episode's seed they replay it

    def watched(self, filmed: int) -> dict[str, Any]:
        """What a row keeps of the first few episodes; commands of those that are filmed."""
        return {
            "paths": [path[::4].round(4).tolist() for path in self.paths],
            "goals": [goal.round(4).tolist() for goal in self.goals],
            "solved": [int(solved) for solved in self.solved[: len(self.paths)]],
            "commands": [commands.tolist() for commands in self.commands[:filmed]],
        }


def roll_out(
    policy: Callable[[Tensor], Tensor],
    world: World,
    seeds: Sequence[int],
    *,
    seed: int,
    watched: int = 0,
    device: str = "cpu",
    tick: Callable[[float], None] = lambda _: None,
) -> Rollouts:
    """Run a policy on a device, from observations (b, 2, 28) to chunks (b, horizon, 4), in one episode per seed.

    Episode i draws row i of every batch's noise, whether or not others have ended, so two policies that are
    given the same seeds meet the same starts, goals and noise.

    The policy's own noise is drawn from `seed`; of the first `watched` episodes the path is kept; `tick` is told what
    share of the horizon is done.

    Raises ValueError when the policy returns another shape, and its kind `Diverged` at numbers that are not finite.
    """
    torch.manual_seed(seed)
    episodes = [world.episode(k) for k in seeds]
    now = np.stack([episode.observation() for episode in episodes])
    past, time = now.copy(), 0
    paths = [[episode.keypoints()[[0, 3]]] for episode in episodes[:watched]]
    given: list[list[Array]] = [[] for _ in paths]
    while time < world.task.horizon and not all(episode.success for episode in episodes):
        chunk = _commands(policy, np.stack([past, now], axis=1), device).swapaxes(0, 1)[: world.task.horizon - time]
        for left, commands in zip(reversed(range(len(chunk))), chunk, strict=True):
            past, time = now.copy(), time + 1
            for i, episode in enumerate(episodes):
                if not episode.success:
                    episode.step(commands[i])
                    if left < 2:  # the policy is given the last two alone, and a picture costs more than its step
                        now[i] = episode.observation()
                    if i < watched:
                        paths[i].append(episode.keypoints()[[0, 3]])
                        given[i].append(commands[i])
        tick(time / world.task.horizon)
    return Rollouts(
        [episode.success for episode in episodes],
        [episode.steps for episode in episodes],
        [np.stack(path) for path in paths],
        [episode.keypoints()[5] for episode in episodes[:watched]],
        [np.stack(commands) for commands in given],
    )


def _commands(policy: Callable[[Tensor], Tensor], observations: Array, device: str) -> Array:
    chunk = policy(torch.from_numpy(observations).float().to(device)).cpu()
    if chunk.ndim != 3 or chunk.shape[0] != len(observations) or chunk.shape[2] != COMMAND or not chunk.shape[1]:
        raise ValueError(
            f"a policy returns commands of shape (episodes, horizon, {COMMAND}), got {tuple(chunk.shape)} for "
            f"{len(observations)} episodes."
        )
    if not torch.isfinite(chunk).all():
        raise Diverged("a policy returns finite commands, got NaN or infinity: its training diverged.")
    return chunk.double().numpy()


def measures(trained: Trained, data: Frames, rows: int = 512, repeats: int = 2) -> Row:
    """Distances, probe accuracy and regime as columns of a row.

    `log_wasserstein` is the natural logarithm of the exact Wasserstein distance between halves of the domains, in units
    of the features' pooled spread; `relative_distance` is the u of the regime rule.
    """
    torch.manual_seed(0)
    (layer,) = collected(trained, data).diagnoses(rows=rows, repeats=repeats).values()
    transport = layer.distances.get("wasserstein")
    return {
        "log_wasserstein": None if transport is None else float(np.log(max(transport.value, 1e-12))),
        "relative_distance": None if layer.regime is None else layer.regime.distance[0],
        "probe_accuracy": None if layer.probe is None else layer.probe.accuracy,
        "regime": "unknown" if layer.regime is None else layer.regime.name,
    }


def unmeasured(region: Region | None) -> Row:
    """The measures of a policy that has none."""
    row: Row = {"log_wasserstein": None, "relative_distance": None, "probe_accuracy": None, "regime": "unknown"}
    return row if region is None else row | {f"unseen_{n}": v for n, v in row.items()} | {"path_error": None}


def path_error(policy: Callable[[Tensor], Tensor], data: Frames, gap: Gap, device: str = "cpu") -> float | None:
    """Mean distance in cm between the hand's place at the end of a chunk and where a policy's commands would take it.

    Of target frames, by the path of the expert's hand, so that no action is needed: a user has it of every recorded
    frame.  None where the gap changes commands: they are read as motions in the robot's frame, 1 cm a step.
    """
    if any(name.startswith("command") for name in gap.differences()):
        return None
    torch.manual_seed(0)
    rows = data.is_target.nonzero().flatten()
    commands = policy(data.observations[rows].to(device)).cpu()[:, :-1, :3].clamp(-1, 1)
    moved = 10 * (data.path[rows, -1] - data.path[rows, 0])
    return float((commands.sum(1) - moved).norm(dim=1).mean())


def plane(trained: Trained, data: Frames, unseen: Tensor | None = None) -> Row:
    """z of some frames of both domains, along their three largest principal components; with `unseen` (n,) bool, which
    of these frames are of episodes that start where the target has no demonstrations."""
    sides, draws = collected(trained, data), torch.Generator().manual_seed(0)
    z = {name: next(iter(side.layers.values())) for name, side in vars(sides).items()}
    shown = {name: torch.randperm(len(x), generator=draws)[:SHOWN] for name, x in z.items()}
    z = {name: x[shown[name]] for name, x in z.items()}
    both = torch.cat(list(z.values()))
    axes = torch.linalg.svd(both - both.mean(0), full_matrices=False).Vh[:3]
    row: Row = {name: ((x - both.mean(0)) @ axes.T).double().numpy().round(4) for name, x in z.items()}
    if unseen is not None:
        of_domain = {"source": unseen[~data.is_target], "target": unseen[data.is_target]}
        row["unseen"] = {name: of_domain[name][kept].int().tolist() for name, kept in shown.items()}
    return row


def collected(trained: Trained, data: Frames) -> Collected:
    """The features of all frames at the seam."""
    seams = [trained.cotrain.seam] if trained.cotrain.seam else []
    blocks = torch.split(torch.arange(len(data.is_target)), 1024)
    batches = (_batch(data, rows, trained.device) for rows in blocks)
    return collect_features(trained.policy, batches, seams=seams, domain="is_target", groups="episode", run=loss_of)


def _batch(data: Frames, rows: Tensor, device: str) -> dict[str, Tensor]:
    return {name: x.to(device) for name, x in data[rows].items()} | {"is_target": data.is_target[rows]}
