"""What a run is asked for, read from text: datasets and their names, the ratio, the method, what is renamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from ...datasets.episodes import numbers
from ...datasets.names import shown
from ...mixing.shares import shares

Ratio: TypeAlias = "float | Mapping[str, float]"
STATISTICS = ("target", "pooled", "per-domain")


class Refused(ValueError):
    """What cannot be run, in one sentence for the user."""


@dataclass(frozen=True)
class Settings:
    """The options of one run, as given."""

    target: str
    source: tuple[str, ...]
    ratio: str = ""
    method: str = "cotraining"
    rename: tuple[str, ...] = ()
    episodes: tuple[str, ...] = ()
    stats: str = "pooled"

    def __post_init__(self) -> None:
        if not self.target or not self.source:
            raise Refused("co-training mixes a target with one source or more: pass --target and --source.")
        if self.stats not in STATISTICS:
            raise Refused(f"--stats is one of {', '.join(STATISTICS)}, got {self.stats!r}.")

    @property
    def datasets(self) -> dict[str, str]:
        """The name of each domain with its folder or Hub id, the target first."""
        given = (self.target, *self.source)
        short = [each.rstrip("/").rpartition("/")[2] for each in given]
        if len({Path(each).resolve() if is_folder(each) else each for each in given}) < len(given):
            raise Refused(f"each dataset is one domain, got one of {', '.join(given)} twice.")
        return dict(zip(short if len(set(short)) == len(short) else given, given, strict=True))

    @property
    def selected(self) -> dict[str, list[int]]:
        """The episodes of the domains that `--episodes NAME=0-19,25` restricts."""
        try:
            return {name: sorted(numbers(text)) for name, text in self._named("--episodes", self.episodes).items()}
        except ValueError as error:
            raise error if isinstance(error, Refused) else Refused(f"--episodes: {error}") from error

    @property
    def renamed(self) -> dict[str, dict[str, str]]:
        """What each domain's features are called: `--rename NAME:OLD=NEW`, or OLD=NEW in every source."""
        new: dict[str, dict[str, str]] = {name: {} for name in self.datasets}
        for each in self.rename:
            before, colon, pair = each.rpartition(":")
            old, equals, now = pair.partition("=")
            if not equals or not old or not now or (colon and before not in new):
                raise Refused(f"--rename takes OLD=NEW or NAME:OLD=NEW, NAME {_among(new)}, got {each!r}.")
            for name in [before] if colon else list(new)[1:]:
                new[name][old] = now
        return new

    def _named(self, option: str, given: tuple[str, ...]) -> dict[str, str]:
        pairs = dict(each.rpartition("=")[::2] for each in given)
        if wrong := [name for name in pairs if name not in self.datasets]:
            raise Refused(f"{option} takes NAME=..., NAME {_among(self.datasets)}, got {wrong[0]!r}.")
        if len(pairs) < len(given):
            raise Refused(f"{option} takes each NAME once, got {', '.join(given)}.")
        return pairs

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def of(cls, text: str, **given: Any) -> Settings:
        """From JSON; what is given goes before."""
        held = json_object(text, "cotrain.json")
        known = {name: value for name, value in held.items() if name in cls.__annotations__}
        lists: dict[str, Any] = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
        words = [word for value in known.values() for word in (value if isinstance(value, list) else [value])]
        if not {"target", "source"} <= set(known) or not all(isinstance(word, str) for word in words):
            raise Refused(
                f"a run's cotrain.json names its target, its source and its options, got {shown(known)}. Copy it again."
            )
        return replace(cls(**{**known, **lists}), **{name: value for name, value in given.items() if value})


def json_object(text: str, name: str) -> dict[str, Any]:
    """What a file of a checkpoint holds; Refused if that is no JSON object."""
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{name} is JSON, got a file that is not ({error}). Copy it again.") from error
    if not isinstance(held, dict):
        raise Refused(f"{name} is a JSON object, got {type(held).__name__}. Copy it again.")
    return held


def ratios(text: str, names: tuple[str, ...], target: str) -> dict[int, Ratio]:
    """The ratio from each optimizer step on: "0.1", "real=0.1,sim=0.6,sim2=0.3", or "0.5@0,0.1@5000".

    >>> ratios("0.5@0, 0.1@5000", ("real", "sim"), "real")
    {0: 0.5, 5000: 0.1}
    """
    plan = _plan(text, names, target)
    for ratio in plan.values():
        try:
            shares("--ratio", ratio, names, target=target, sizes=[1] * len(names))
        except ValueError as error:
            raise Refused(str(error)) from error
    return plan


def _plan(text: str, names: tuple[str, ...], target: str) -> dict[int, Ratio]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        if any("=" in part for part in parts):
            pairs = [part.split("=") for part in parts]
            return {0: {name.strip(): float(share) for name, share in pairs}}
        steps = [part.split("@") for part in parts]
        plan: dict[int, Ratio] = {int(step[0]) if step else 0: float(share) for share, *step in steps}
        if len(plan) != len(parts) or min(plan) != 0:
            raise ValueError(text)
        return dict(sorted(plan.items()))
    except ValueError as error:
        raise Refused(
            f"--ratio is the share of {target} (0.1), a share of each domain ({','.join(f'{n}=...' for n in names)}), "
            f"or shares from a step on, the first from step 0 (0.5@0,0.1@5000), got {text!r}."
        ) from error


def is_folder(dataset: str) -> bool:
    """Whether a dataset is a LeRobot folder here; anything else is an id on the Hub, or in LeRobot's own home."""
    return (Path(dataset) / "meta" / "info.json").is_file()


def _among(names: Mapping[str, Any]) -> str:
    return f"one of {', '.join(names)}"
