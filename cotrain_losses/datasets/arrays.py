"""npz files: action (N, d), optionally state (N, s), and where episodes end.

Accepted names: action or actions; state, states, obs or observation; episode_ends (E,), episode_lengths (E,) or
episode_index (N,).  Without any of the last three the file is one episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .demonstrations import Array, Demonstrations, Frames, as_columns, check_key, rate_of, readable, register


@register("an .npz", lambda path: path.suffix == ".npz")
def arrays(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in an npz file.  It is read whole: npz cannot be read in pieces."""
    with readable(path, "npz"), np.load(path, allow_pickle=False) as file:
        held = {key: file[key] for key in file.files if file[key].dtype.kind in "fiub"}
    action_key = action or _first(held, "action", "actions") or "action"
    state_key = state or _first(held, "state", "states", "obs", "observation")
    check_key(path, action_key, held, "--action-key")
    check_key(path, state_key, held, "--state-key")
    actions = as_columns(held[action_key])
    states = as_columns(held[state_key]) if state_key else None
    episode = _episodes(held, len(actions))

    whole = Frames(episode, actions, states)
    times = next((held[key] for key in ("timestamp", "timestamps", "time") if key in held), None)
    rate = None if times is None else rate_of(times)
    return Demonstrations(path, "npz", len(actions), len(np.unique(episode)), lambda: iter([whole]), rate=rate)


def _episodes(held: Mapping[str, Array], frames: int) -> Array:
    if "episode_index" in held:
        return held["episode_index"]
    ends = held.get("episode_ends")
    if ends is None and "episode_lengths" in held:
        ends = np.cumsum(held["episode_lengths"])
    return np.zeros(frames, int) if ends is None else np.searchsorted(ends, np.arange(frames), side="right")


def _first(held: Mapping[str, Array], *names: str) -> str | None:
    return next((name for name in names if name in held), None)
