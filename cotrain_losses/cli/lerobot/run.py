"""One run of LeRobot's own training script, in which a few of its functions are replaced while it lasts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..._core.device import drawn_on
from ...mixing.ratios import natural_ratio
from ...mixing.shares import shares
from . import files
from .attach import Trial, attached, drawn_at, method_of
from .fit import fitted, keys_of, single
from .frames import MixedFrames
from .joined import Joined, Sample, Streams, meta_of
from .reports import Reports
from .settings import Ratio, Refused, Settings, ratios
from .sources import opened
from .statistics import Moved, modes_of, pooled

REPLACED = {
    "make_train_eval_datasets": "datasets",
    "EpisodeAwareSampler": "sampler",
    "make_pre_post_processors": "processors",
    "make_optimizer_and_scheduler": "optimizer",
    "save_checkpoint": "checkpoint",
}
"""functions of lerobot_train, and the methods of `Run` that stand for them"""


class Run:
    """What replaces those functions, and what they tell one another."""

    def __init__(self, settings: Settings, script: Any) -> None:
        self.settings, self.script, self.names = settings, script, tuple(settings.datasets)
        self.target = self.names[0]
        self.plan: dict[int, Ratio] = ratios(settings.ratio, self.names, self.target) if settings.ratio else {}
        self.original = {name: getattr(script, name) for name in REPLACED}
        self.given = self.plan.get(0)
        drawn_at(settings.method, self.given, len(self.names))

    @property
    def main(self) -> bool:
        """Whether this is the process that tells."""
        return int(os.environ.get("RANK", "0")) == 0

    def say(self, text: str) -> None:
        """Tell the user, once."""
        if self.main:
            logging.info(f"cotrain: {text}")

    # -- datasets

    def datasets(self, cfg: Any) -> tuple[Any, Any]:
        """The joined datasets to train on and to evaluate on, made by LeRobot one by one."""
        self.cfg = cfg
        make, selected = self.original["make_train_eval_datasets"], self.settings.selected
        made = {name: opened(make, cfg, name, at, selected.get(name)) for name, at in self.settings.datasets.items()}
        train = {name: pair[0] for name, pair in made.items()}
        self.fit = fitted({name: each.meta.info for name, each in train.items()}, self.settings.renamed, self.target)
        for told in self.fit.told if cfg.resume is False else []:
            self.say(told)
        if cfg.dataset.streaming and cfg.dataset.eval_split:
            raise Refused("streams have no episodes to hold out: pass --dataset.eval_split without streaming.")
        if cfg.dataset.streaming and not cfg.num_workers:
            raise Refused("LeRobot reads a stream in as many parts as there are workers, got --num_workers=0. Pass 1.")
        self.frames = {name: each.num_frames for name, each in train.items()}
        self.plan = self.plan or {0: self._own_ratio()}
        self.joined = self._joined(train)
        held_out = {name: pair[1] for name, pair in made.items() if pair[1] is not None}
        evaluated = self._joined(held_out, len(self.joined)) if held_out else None
        parts = [self.joined, *([] if evaluated is None else [evaluated])]
        self.domain = torch.arange(len(self.names)) if cfg.dataset.streaming else torch.cat([p.domain for p in parts])
        return self.joined, evaluated

    def labels(self, batch: Any) -> torch.Tensor:
        """(b,) the domain of each sample of a batch."""
        return self.domain[_index(batch)]

    def _joined(self, parts: dict[str, Any], first: int = 0) -> Any:
        features = {name: each.meta.features for name, each in parts.items()}
        keys = {name: keys_of(name, each, self.settings.renamed[name]) for name, each in features.items()}
        named = {
            name: {keys[name].get(key, key): stats for key, stats in each.meta.stats.items()}
            for name, each in parts.items()
        }
        kept = {name: {key: each[key] for key in self.fit.features if key in each} for name, each in named.items()}
        moved = {name: self._moved(kept[name], kept[self.target]) if name != self.target else None for name in parts}
        samples = {name: Sample(self.fit.features, keys[name], moved[name]) for name in parts}
        meta = meta_of(parts[self.target], self.fit.features, self._statistics(kept), parts)
        if self.cfg.dataset.streaming:
            return Streams(parts, samples, meta, self._shares(), self.cfg.batch_size)
        return Joined(parts, samples, meta, first)

    def _shares(self) -> list[float]:
        return shares("ratio", self.plan[0], self.names, target=self.target, sizes=list(self.frames.values()))

    def _moved(self, source: Any, target: Any) -> Moved | None:
        if self.settings.stats != "per-domain":
            return None
        from lerobot.utils.feature_utils import dataset_to_policy_features

        kinds = dataset_to_policy_features(self.fit.features)
        modes = modes_of(kinds, getattr(self.cfg.policy, "normalization_mapping", {}))
        if all(mode == "IDENTITY" for mode in modes.values()):
            raise Refused(f"--stats per-domain needs a policy that LeRobot normalises for, got {self.cfg.policy.type}.")
        return Moved(source, target, modes)

    def _statistics(self, kept: dict[str, Any]) -> Any:
        if self.settings.stats != "pooled":
            return kept[self.target]
        from lerobot.datasets.compute_stats import aggregate_stats

        cameras = {key for key, each in self.fit.features.items() if each["dtype"] in ("image", "video")}
        numbers = {name: {key: x for key, x in each.items() if key not in cameras} for name, each in kept.items()}
        each = dict(zip(self.names, self._shares(), strict=True))
        return kept[self.target] | pooled(numbers, each, aggregate_stats)

    def _own_ratio(self) -> Ratio:
        """The method's ratio; without one, the share of frames that the target has."""
        source, target = self.sizes()
        own = drawn_at(self.settings.method, None, len(self.names), (source, target))
        return natural_ratio(source=source, target=target) if own is None else own

    def sizes(self) -> tuple[int, int]:
        """Frames of the sources, and of the target."""
        target = self.frames[self.target]
        return sum(self.frames.values()) - target, target

    # -- batches

    def sampler(self, *args: Any, **how: Any) -> MixedFrames:
        """LeRobot's frames of each dataset, in batches of the exact ratio."""

        def used(part: Any) -> list[int]:
            episodes, mapped = part.meta.episodes, part.absolute_to_relative_idx
            ends = episodes["dataset_from_index"], episodes["dataset_to_index"]
            own = {"episode_indices_to_use": part.episodes, "absolute_to_relative_idx": mapped}
            own["drop_n_last_frames"] = how.get("drop_n_last_frames", 0)
            return list(self.original["EpisodeAwareSampler"](*ends, **own).indices)

        places = self.joined.places(used)
        seed = {"seed": how.get("seed", 0), "domains": self.names, "target": self.target}
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        frames = MixedFrames(places, self.joined.domain[places], self.cfg.batch_size, self.plan, world_size, **seed)
        for step, ratio in self.plan.items():
            self.say(f"from step {step} on the ratio is {ratio}; batches {frames.phases[step * world_size]!r}")
        return frames

    # -- the method

    def processors(self, *args: Any, **kwargs: Any) -> Any:
        """LeRobot's own; the method is tried on what they make of a batch."""
        made = self.original["make_pre_post_processors"](*args, **kwargs)
        self.preprocessor = made[0]
        return made

    def optimizer(self, cfg: Any, policy: Any) -> Any:
        """LeRobot's own, of a policy in which the method is installed."""
        trial = self._trial()
        try:
            with torch.random.fork_rng(drawn_on(policy)):
                self.method = method_of(self.settings.method, policy, trial, cfg.steps, self.given)
                self.cotrain, found = attached(policy, self.method, trial)
        except (ValueError, TypeError, RuntimeError) as error:
            raise Refused(f"{error}{single(self.fit.features)}") from error
        self.say("one step tried\n" + found)
        if cfg.resume:
            files.load(self.method, Path(cfg.checkpoint_path) / "pretrained_model")
        installation = self.cotrain.install(
            domain=self.labels, index=None if cfg.dataset.streaming else _index, step=lambda: self.reports.step
        )
        self.reports = Reports(policy, installation, self.labels, self.main)
        self.reports.step = self._step(cfg)
        return self.original["make_optimizer_and_scheduler"](cfg, policy)

    def _trial(self) -> Trial:
        """A few samples of each domain, through LeRobot's own processors."""
        from lerobot.utils.collate import lerobot_collate_fn

        collate = lerobot_collate_fn if self.joined.meta.has_language_columns else torch.utils.data.default_collate
        batch = self.preprocessor(collate(self._few(4)))
        if "index" not in batch:
            raise Refused(
                f"labels are found by the samples' index, which the processors of {self.cfg.policy.type} drop. "
                "Attach the method in Python: docs/codebases.md."
            )
        return Trial(batch, self.labels(batch), self.names, self.target, self.sizes())

    def _few(self, n: int) -> list[dict[str, Any]]:
        if isinstance(self.joined, Streams):
            return self.joined.few(n)
        firsts = [int((self.joined.domain == k).nonzero()[0]) for k in range(len(self.names))]
        return [self.joined[first + i] for first in firsts for i in range(n)]

    def _step(self, cfg: Any) -> int:
        from lerobot.common.train_utils import load_training_step

        if not cfg.resume:
            return 0
        if cfg.dataset.streaming:
            logging.warning("cotrain: a stream cannot be resumed at a sample; it begins again, the rest goes on.")
        return int(load_training_step(Path(cfg.checkpoint_path) / "training_state"))

    # -- the end

    def checkpoint(self, checkpoint_dir: Path, *args: Any, **kwargs: Any) -> None:
        """LeRobot's own, and the method beside it."""
        self.original["save_checkpoint"](checkpoint_dir, *args, **kwargs)
        facts = {"domains": list(self.names), "frames": self.frames}
        files.write(Path(checkpoint_dir) / "pretrained_model", self.settings, facts, self.method)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The script with its functions replaced."""
        for name, own in REPLACED.items():
            setattr(self.script, name, getattr(self, own))
        try:
            yield
        finally:
            for name, function in self.original.items():
                setattr(self.script, name, function)


def _index(batch: Any) -> torch.Tensor:
    return batch["index"].detach().cpu().long()  # type: ignore[no-any-return]
