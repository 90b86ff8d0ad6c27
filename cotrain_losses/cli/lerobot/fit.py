"""What datasets share, and why some cannot be mixed.

features = those that all have, under the names they are given, of one shape      the others are told and left out
frames a second, widths and order of actions: the same, or refused
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .settings import Refused

OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""columns that every LeRobot dataset has"""


@dataclass
class Fit:
    """The features that are kept, what is left out and why, and what a user should know."""

    features: dict[str, Any]
    told: list[str] = field(default_factory=list)


def fitted(infos: Mapping[str, Any], renamed: Mapping[str, Mapping[str, str]], target: str) -> Fit:
    """The fit of datasets, of whose metadata `fps`, `features` and `robot_type` are read.

    Raises Refused on datasets that cannot be mixed.
    """
    rates = {name: info.fps for name, info in infos.items()}
    if len(set(rates.values())) > 1:
        raise Refused(
            f"datasets that are mixed have the same frames a second, since a chunk of actions spans the same time in "
            f"all, got {_listed(rates)}. Convert one to the other's rate."
        )
    features = {name: _named(name, info.features, renamed[name]) for name, info in infos.items()}
    _check_actions(features)
    fit = Fit({key: each for key, each in features[target].items() if _in_all(key, features)})
    if not any(key.startswith("observation") for key in fit.features):
        seen = {name: [key for key in each if key.startswith("observation")] for name, each in features.items()}
        raise Refused(
            f"datasets that are mixed share an observation, got {_listed(seen)}. "
            "Give cameras one name: --rename OLD=NEW."
        )
    fit.told += _left_out(features, fit.features)
    robots = {name: info.robot_type for name, info in infos.items()}
    if len(set(robots.values())) > 1:
        fit.told.append(f"robot types differ ({_listed(robots)}); actions are mixed as they are")
    return fit


def _named(name: str, features: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """A dataset's features under their new names; a camera may be called by the last part of its key."""
    keys = dict(_keys(name, features, renamed))
    named = {keys.get(key, key): each for key, each in features.items()}
    if len(named) < len(features):
        raise Refused(f"--rename gives two features of {name} one name, got {dict(renamed)} for {', '.join(features)}.")
    return named


def _keys(name: str, features: Mapping[str, Any], renamed: Mapping[str, str]) -> list[tuple[str, str]]:
    full = []
    for old, new in renamed.items():
        camera = f"observation.images.{old}"
        if old not in features and camera not in features:
            raise Refused(f"--rename names a feature of {name}, got {old!r}. It has {', '.join(features)}.")
        full.append((old, new) if old in features else (camera, new if "." in new else f"observation.images.{new}"))
    return full


def keys_of(name: str, features: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, str]:
    """The full keys that are renamed in a dataset."""
    return dict(_keys(name, features, renamed))


def single(features: Mapping[str, Any]) -> str:
    """What to try where a policy cannot take a sample: features of one number, which LeRobot loads without an axis."""
    read = [key for key in features if key == "action" or key.startswith("observation.")]
    found = ", ".join(key for key in read if tuple(features[key]["shape"]) == (1,))
    return f" (LeRobot loads {found}, of one number, without its axis: add it to a wider feature.)" if found else ""


def _check_actions(features: Mapping[str, Mapping[str, Any]]) -> None:
    shapes = {name: tuple(each["action"]["shape"]) if "action" in each else None for name, each in features.items()}
    if len(set(shapes.values())) > 1 or None in shapes.values():
        raise Refused(f"datasets that are mixed have actions of one shape, got {_listed(shapes)}.")
    columns = {name: tuple(_columns(each["action"])) for name, each in features.items() if _columns(each["action"])}
    orders = set(columns.values())
    if len(orders) > 1 and len({tuple(sorted(each)) for each in orders}) == 1:
        raise Refused(f"datasets that are mixed order their actions alike, got {_listed(columns)}. Reorder one.")


def _columns(feature: Mapping[str, Any]) -> list[str]:
    names = feature.get("names") or []
    return [str(name) for name in (next(iter(names.values()), []) if isinstance(names, dict) else names)]


def _in_all(key: str, features: Mapping[str, Mapping[str, Any]]) -> bool:
    return (
        all(key in each for each in features.values()) and len({_shape(each[key]) for each in features.values()}) == 1
    )


def _shape(feature: Mapping[str, Any]) -> tuple[Any, ...]:
    kind = feature["dtype"]
    return ("image" if kind == "video" else kind, *feature["shape"])


def _left_out(features: Mapping[str, Mapping[str, Any]], kept: Mapping[str, Any]) -> list[str]:
    told = []
    for key in sorted({key for each in features.values() for key in each} - set(kept) - set(OWN)):
        held = {name: list(each[key]["shape"]) if key in each else "none" for name, each in features.items()}
        told.append(f"{key} is left out, since not all have it in one shape ({_listed(held)})")
    orders = {name: _columns(each["action"]) for name, each in features.items()}
    if len({tuple(each) for each in orders.values() if each}) > 1:
        told.append(f"actions are named differently ({_listed(orders)}); column by column they are taken for the same")
    return told


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
