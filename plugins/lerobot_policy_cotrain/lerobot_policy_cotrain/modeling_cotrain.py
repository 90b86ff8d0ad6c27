"""A policy and a method as one LeRobot policy: trained on total loss, saved together, guided while it acts."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lerobot.policies.factory import get_policy_class
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor, nn

from cotrain_losses import CoTrain, Method
from cotrain_losses.datasets.episodes import numbers
from cotrain_losses.datasets.labels import EpisodeDomains
from cotrain_losses.importance import RatioWeights
from cotrain_losses.policy.adapters import adapter_of
from cotrain_losses.policy.optimizers import MethodGroup
from cotrain_losses.recipes.named import as_wide_as_the_condition, calls, named

from .configuration_cotrain import CotrainConfig


class CotrainPolicy(PreTrainedPolicy):
    """The policy type `cotrain`: `policy` is the base policy, `method` holds the method's own modules."""

    config_class = CotrainConfig
    name = "cotrain"

    def __init__(self, config: CotrainConfig, dataset_meta: Any = None, **kwargs: Any) -> None:
        super().__init__(config)
        base, kind = config.base, get_policy_class(config.base.type)
        fresh = config.base_path and config.pretrained_path is None
        self.policy = kind.from_pretrained(config.base_path, config=base) if fresh else kind(base, **kwargs)
        if config.adapters:
            self.policy.config.pretrained_path = Path(base.type)  # LeRobot adapts what was loaded: it was
            self.policy = self.policy.wrap_with_peft(peft_cli_overrides=dict(config.adapters))
        self.policy.to(config.device)
        self._labels = None if dataset_meta is None else _labels(config, dataset_meta)
        self._tried = False
        self._attach(dataset_meta)

    def _attach(self, dataset_meta: Any) -> None:
        config = self.config
        method = as_wide_as_the_condition(named(config.method, **_known(config, self.policy)), len(config.domains))
        if config.ratio is not None and self._labels is not None:
            method = replace(method, weights=RatioWeights(config.ratio, _share(self._labels, dataset_meta)))
        self._couple(method)
        self.method = nn.ModuleList(method.modules())

    def _couple(self, method: Method) -> None:
        cotrain = CoTrain(self.policy, method, domains=tuple(self.config.domains), target=self.config.target)
        object.__setattr__(self, "cotrain", cotrain)  # beside the modules: its policy is among them already

    def wrap_with_peft(self, peft_config: Any = None, peft_cli_overrides: dict[str, Any] | None = None) -> Any:
        """Low-rank adapters in the base policy; the method learns beside them, and a checkpoint holds everything."""
        if not self.config.adapters:
            method = self.cotrain.method
            self.cotrain.unwrap()
            self.policy = self.policy.wrap_with_peft(peft_config, peft_cli_overrides)
            self.config.adapters = {key: x for key, x in (peft_cli_overrides or {}).items() if x is not None}
            self._couple(method)
        return self

    def forward(self, batch: dict[str, Tensor], **kwargs: Any) -> tuple[Tensor, dict[str, Any]]:
        """The total loss, and what it is made of, for LeRobot's log."""
        if self._labels is None or not (self.training and torch.is_grad_enabled()):
            return self.policy.forward(batch, **kwargs)
        domain = self._labels(batch)
        self._try(batch, domain)
        losses = self.cotrain(batch, domain=domain)
        info = losses.info if isinstance(losses.info, dict) else {}
        return losses.total, {**losses.scalars(self.config.target), **info}

    def _try(self, batch: dict[str, Tensor], domain: Tensor) -> None:
        """Before the first step: what a step on its batch shows of the seam, or the sentence that ends the run."""
        if not self._tried:
            self._tried = True
            logging.info(f"cotrain: one step tried\n{self.cotrain.check(batch, domain=domain)}")

    def get_optim_params(self) -> Any:
        """The base policy's own groups, and one of the method's parameters."""
        own, plugin = self.policy.get_optim_params, list(self.method.parameters())
        return MethodGroup(self.policy, plugin).optim_params(own) if plugin else own()

    def reset(self) -> None:
        self.policy.reset()

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        with self.cotrain.guided(scale=self.config.scale):
            return self.policy.predict_action_chunk(batch, **kwargs)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        with self.cotrain.guided(scale=self.config.scale):
            return self.policy.select_action(batch, **kwargs)

    def supports_rtc(self) -> bool:
        return self.policy.supports_rtc()


def _known(config: CotrainConfig, policy: Any) -> dict[str, Any]:
    """What recipes may ask: the width of the features is the condition's, where they are one."""

    def width() -> int:
        seam = adapter_of(policy).seam_of(policy)
        if config.width is None and seam is not None and seam.feature is None and seam.pool is None:
            config.width = seam.condition_width(policy)
        if config.width is None:
            raise ValueError(
                f"the method {config.method!r} needs the width of the features of {config.base_type}, got none. "
                "Pass --policy.width=..., or train with cotrain lerobot-train, which measures it."
            )
        return config.width

    guided_alone = [name for name, _ in calls(config.method)] == ["cfg"]  # a token is as wide as the condition
    return {"width": 1 if guided_alone else width, "ratio": 0.5 if config.ratio is None else config.ratio}


def _labels(config: CotrainConfig, meta: Any) -> EpisodeDomains:
    """Which domain each episode of the dataset is of."""
    path = Path(meta.root) / "meta" / "domains.json"
    if config.target_episodes:
        target = sorted(numbers(config.target_episodes))
        if beyond := [each for each in target if each >= meta.total_episodes]:
            raise ValueError(
                f"target_episodes lie below {meta.total_episodes}, the dataset's episodes, got {beyond[0]}."
            )
        rest = sorted(set(range(meta.total_episodes)) - set(target))
        if not rest:
            raise ValueError(f"target_episodes leave episodes to the source, got all {meta.total_episodes} of them.")
        return EpisodeDomains({"source": rest, "target": target})
    if path.is_file():
        domains = EpisodeDomains(json.loads(path.read_text()))
        config.domains = list(domains.names)
        return domains
    raise ValueError(
        "policy.type=cotrain needs to know which episodes are the target's, got neither --policy.target_episodes=0-19 "
        f"nor {path}."
    )


def _share(labels: EpisodeDomains, meta: Any) -> float:
    """The target's share of the frames."""
    lengths = torch.tensor([int(n) for n in meta.episodes["length"]])
    domain = labels.of(list(range(meta.total_episodes)))
    share = float(lengths[domain == labels.names.index("target")].sum() / lengths.sum())
    logging.info(f"cotrain: the target has {share:.4f} of the frames; samples are weighed to the ratio")
    return share
