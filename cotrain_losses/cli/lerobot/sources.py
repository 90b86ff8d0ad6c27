"""The datasets of a run, each opened by LeRobot; one that cannot be opened is told in one sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .settings import Refused, is_folder


def opened(make: Callable[[Any], Any], cfg: Any, name: str, given: str, episodes: Sequence[int] | None) -> Any:
    """What LeRobot's `make_train_eval_datasets` makes of a run's settings with the place and episodes of one dataset.

    Raises Refused on one that is not there, that LeRobot cannot read, that lacks an episode, or that is empty.
    """
    place = {"repo_id": f"local/{name}", "root": given} if is_folder(given) else {"repo_id": given, "root": None}
    own = copy.copy(cfg)
    own.dataset = replace(cfg.dataset, episodes=episodes, **place)
    try:
        _check_episodes(name, episodes or (), **place)
        made = make(own)
    except Refused:
        raise
    except Exception as error:
        said = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
        raise Refused(
            f"a domain is a LeRobot dataset, a folder or an id on the Hub, got {given} for {name}, which LeRobot "
            f"cannot open: {type(error).__name__}: {said}"
        ) from error
    if not made[0].num_frames:
        raise Refused(f"a domain that is mixed has samples, got {given} for {name}, which has none.")
    return made


def _check_episodes(name: str, episodes: Sequence[int], repo_id: str, root: str | None) -> None:
    from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata

    held = int(LeRobotDatasetMetadata(repo_id, root=root).total_episodes) if episodes else 0
    if lacking := [number for number in episodes if number >= held]:
        raise Refused(f"--episodes names episodes that a dataset has, got {lacking[0]} for {name}, which has {held}.")
