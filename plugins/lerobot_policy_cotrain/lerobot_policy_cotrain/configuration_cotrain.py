"""What a co-trained policy is made of; whatever LeRobot asks of a configuration is the base policy's answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import draccus
from lerobot.configs import PreTrainedConfig


@PreTrainedConfig.register_subclass("cotrain")
@dataclass
class CotrainConfig(PreTrainedConfig):
    """Configuration of the policy type `cotrain`.

    Args:
        base_type: LeRobot's name of the policy that is trained (diffusion, act, smolvla, pi05, ...).
        base_args: its own settings.
        base_path: a checkpoint of it to fine-tune, a folder or a Hub id, in place of `base_type`.
        method: a recipe by name, `cfg(scale=1.0)`.
        target_episodes: the target's episodes in the merged dataset, "0-19,25"; empty: `meta/domains.json` says.
        ratio: the target's share that the loss sees; samples are weighed, since a policy cannot choose them.
        scale: of guidance while acting; None is the method's.
        domains, target: names of the domains, written when training begins.
        width: of the features that the method compares, where it cannot be told from the policy.
        adapters: LeRobot's --peft options, written when training begins.
    """

    base_type: str = ""
    base_args: dict[str, Any] = field(default_factory=dict)
    base_path: str = ""
    method: str = "cotraining"
    target_episodes: str = ""
    ratio: float | None = None
    scale: float | None = None
    domains: list[str] = field(default_factory=lambda: ["source", "target"])
    target: str = "target"
    width: int | None = None
    adapters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.base_type and not self.base_path:
            known = ", ".join(_types())
            raise ValueError(f"policy.type=cotrain trains another policy: pass --policy.base_type, one of {known}.")
        self._base: PreTrainedConfig | None = None

    @property
    def base(self) -> PreTrainedConfig:
        """The base policy's configuration, with the features that LeRobot has found."""
        if self._base is None:
            self._base = self._made()
        self._base.input_features, self._base.output_features = self.input_features, self.output_features
        return self._base

    def _made(self) -> PreTrainedConfig:
        own = {"device": self.device, "push_to_hub": False}
        if self.base_path:
            made = self._saved()
            made.pretrained_path = Path(self.base_path)
            if unknown := [name for name in self.base_args if not hasattr(made, name)]:
                raise ValueError(f"--policy.base_args are settings of {made.type}, got {', '.join(unknown)}.")
            for name, value in (self.base_args | own).items():
                setattr(made, name, value)
            self.base_type = made.type
            return made
        if self.base_type not in _types():
            near = get_close_matches(self.base_type, _types(), 1) or _types()
            raise ValueError(
                f"--policy.base_type is a policy type of LeRobot, got {self.base_type!r}. Nearest: {', '.join(near)}."
            )
        kind = PreTrainedConfig.get_choice_class(self.base_type)
        with draccus.config_type("json"):
            return draccus.decode(kind, {**self.base_args, **own})

    def _saved(self) -> PreTrainedConfig:
        try:
            return PreTrainedConfig.from_pretrained(self.base_path)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--policy.base_path is a checkpoint's folder or Hub id, got {self.base_path!r}: {error}"
            ) from error

    def __getattr__(self, name: str) -> Any:
        """What is no field here (horizons, dropped frames, normalisation) is the base policy's."""
        if name.startswith("_") or "base_type" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.base, name)

    @property
    def observation_delta_indices(self) -> list[int] | None:
        return self.base.observation_delta_indices

    @property
    def action_delta_indices(self) -> list[int] | None:
        return self.base.action_delta_indices

    @property
    def reward_delta_indices(self) -> list[int] | None:
        return self.base.reward_delta_indices

    def get_optimizer_preset(self) -> Any:
        return self.base.get_optimizer_preset()

    def get_scheduler_preset(self) -> Any:
        return self.base.get_scheduler_preset()

    def validate_features(self) -> None:
        self.base.validate_features()

    def _save_pretrained(self, save_directory: Path) -> None:
        """With all of the base policy's settings, so that a checkpoint needs no other."""
        own = draccus.encode(self.base, PreTrainedConfig)
        args = {key: value for key, value in own.items() if key not in _OWN}
        saved = replace(self, base_type=own["type"], base_args=args, base_path="")
        super(CotrainConfig, saved)._save_pretrained(save_directory)


def _types() -> list[str]:
    """The policy types that can be trained."""
    return sorted(set(PreTrainedConfig.get_known_choices()) - {"cotrain"})


_OWN = ("type", "device", "pretrained_path", "input_features", "output_features")
"""settings that the configuration itself has"""
