"""Training samples: every frame of the demonstrations, with its past, its chunk and its domain."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from .demos import Demos
from .policies import Spaces

READ = ("observations", "actions", "state", "path")  # by policies and terms


def _none() -> Tensor:
    return torch.zeros(())


@dataclass(frozen=True)
class Frames:
    """Training samples: two observations, the chunk of commands that follows, the domain.

    Left out, `state` and `path` are zero, and every sample has an action.
    """

    observations: Tensor  # (n, 2, 28)
    actions: Tensor  # (n, horizon, 4); zero where there are none
    is_target: Tensor  # (n,) bool
    episode: Tensor  # (n,) which demonstration, numbered over both domains
    state: Tensor = field(default_factory=_none)  # (n, 4) the hand in the robot's frame, the gripper's opening, dm
    path: Tensor = field(default_factory=_none)  # (n, horizon, 3) where the hand is from now on, likewise
    has_action: Tensor = field(default_factory=_none)  # (n,) bool

    def __post_init__(self) -> None:
        n = len(self.actions)
        given = {"state": torch.zeros(n, 4), "path": torch.zeros(*self.actions.shape[:2], 3)}
        for name, value in (given | {"has_action": torch.ones(n, dtype=torch.bool)}).items():
            if not getattr(self, name).ndim:
                object.__setattr__(self, name, value)

    def __getitem__(self, rows: Tensor | list[int]) -> dict[str, Tensor]:
        here = torch.as_tensor(rows, device=self.actions.device)
        return {name: getattr(self, name)[here] for name in READ} | {"episode": self.episode[rows]}

    def to(self, device: str) -> Frames:
        """The same samples, what a policy and its terms read of them on a device; labels stay where samplers are."""
        return replace(self, **{name: getattr(self, name).to(device) for name in READ})

    def only(self, rows: Tensor) -> Frames:
        """The samples of a mask (n,)."""
        return replace(self, **{name: value[rows] for name, value in vars(self).items()})

    def held_out(self) -> Tensor:
        """(n,) bool: the frames of the last target demonstration; a ValueError when it is the only one."""
        learned = self.is_target & self.has_action
        held = self.episode == self.episode[learned].max()
        if not (learned & ~held).any():
            raise ValueError("a target demonstration is held out of two at least, got one. Record more target_demos.")
        return held

    def spaces(self, device: str = "cpu") -> Spaces:
        """What a policy of these frames reads and gives, to be trained on a device."""
        (_, steps, observation), (_, horizon, action) = self.observations.shape, self.actions.shape
        actions = self.actions[self.has_action, 0]
        return Spaces(steps, observation, horizon, action, self.observations[:, -1], actions, device)


def frames(target: Demos, source: Demos, unlabelled: Demos | None = None, horizon: int = 8) -> Frames:
    """Every frame of both domains with its past and its chunk, ends padded with the nearest frame; and the target's
    frames without actions."""
    demos = [target, source, *([] if unlabelled is None else [unlabelled])]
    parts = [_windows(each, horizon) for each in demos]
    observations, actions, state, path = (torch.cat(side) for side in zip(*parts, strict=True))
    part = torch.arange(len(demos)).repeat_interleave(torch.tensor([len(each[0]) for each in parts]))
    lengths = torch.from_numpy(np.concatenate([each.lengths for each in demos]))
    episode, has_action = torch.arange(len(lengths)).repeat_interleave(lengths), part < 2
    actions = actions * has_action[:, None, None]
    return Frames(observations, actions, part != 1, episode, state, path, has_action)


def _windows(demos: Demos, horizon: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(n, 2, o), (n, horizon, a), (n, 4), (n, horizon, 3): every frame's past, chunk, state and path, frames outside
    its episode being the nearest."""
    lengths = torch.from_numpy(demos.lengths)
    ends, length = (x.repeat_interleave(lengths)[:, None] for x in (lengths.cumsum(0), lengths))
    now, offsets = torch.arange(len(ends))[:, None], (torch.tensor([-1, 0]), torch.arange(horizon))
    observed, meant = ((now + offset).clamp(ends - length, ends - 1) for offset in offsets)
    seen, hand = torch.from_numpy(demos.observations), 10 * torch.from_numpy(demos.points[:, 0])
    state = torch.cat([hand, seen[:, -1:].float()], dim=1)
    return seen[observed], torch.from_numpy(demos.commands)[meant], state, hand[meant]
