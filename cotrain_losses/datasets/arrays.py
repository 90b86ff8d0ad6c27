"""npz files: action (N, d), optionally state (N, s), and where episodes end.

    action, actions or acts; state(s), obs or observation(s)
    episode_ends (E,), episode_lengths (E,) or episode_index (N,); without any the file is one episode

The imitation library's own files too: acts (N, d), obs (N + E, s) with the last observation of each episode, and
indices (E - 1,), where episodes begin after the first.  Pickled arrays beside them are never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from .demonstrations import Demonstrations, Frames, register
from .faults import Fault, Unreadable, readable
from .fields import Array, as_columns, as_integers, check_key, check_vectors, keys_of, rate_of, rows_at_once
from .names import listed, shown
from .npz import Member, check_size, members, pieces, whole

_ACTIONS = ("action", "actions", "acts")
_STATES = ("state", "states", "obs", "observation", "observations")
_TIMES = ("timestamp", "timestamps", "time")


@register("an .npz", lambda path: path.suffix == ".npz")
def arrays(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in an npz file, read in pieces."""
    with readable(path, "npz"):
        held = members(path)
    actions = keys_of(path, action, _ACTIONS, held, "action")
    check_key(path, None if actions else "action", held, "--action-key, or PATH::action=KEY for one dataset")
    vectors = [key for key, member in held.items() if len(member.shape) in (1, 2) and member.dtype.kind in "fiub"]
    states = keys_of(path, state, _STATES, held if state else vectors, "state")
    for key in (*actions, *states):
        check_vectors(path, key, held[key].shape, held[key].dtype)
        with readable(path, "npz", key):
            check_size(path, held[key])
    faults = list[Fault]()
    frames = held[actions[0]].shape[0]
    with readable(path, "npz"):
        episode = _episodes(path, held, frames, faults)
    kept = _kept(held, actions, states, episode, faults)
    numbers, counts = np.unique(episode, return_counts=True)
    lengths = dict(zip(map(int, numbers), map(int, counts), strict=True))
    read = partial(_read, path, [held[key] for key in actions], [held[key] for key in states], episode, kept)
    times = next((held[key] for key in _TIMES if key in vectors), None)
    rate = None if times is None else rate_of(whole(path, times))
    pickled = [key for key, member in held.items() if member.dtype.hasobject]
    notes = [f"Pickled, and not read: {listed(pickled)}."] if pickled else []
    return Demonstrations(
        path, "npz", len(episode), len(lengths), read, rate=rate, lengths=lengths, faults=faults, notes=notes
    )


def _episodes(path: Path, held: Mapping[str, Member], frames: int, faults: list[Fault]) -> Array:
    """(n,) the episode of each frame that is in one, n at most the frames that there are."""
    if "episode_index" in held:
        episode = whole(path, held["episode_index"]).ravel()
        if len(episode) != frames:
            faults.append(Fault(f"it has {frames} actions and {len(episode)} entries of 'episode_index'"))
        return episode[:frames]
    ends = _ends(path, held, frames)
    if (np.diff(ends, prepend=0) < 0).any():
        raise Unreadable(f"{shown(path)}: episodes end one after another, got {listed(ends)}. Sort them.")
    last = int(ends[-1]) if len(ends) else 0
    if last != frames:
        faults.append(Fault(f"its episodes end at frame {last}, its actions at frame {frames}"))
    ends = ends[ends <= frames]
    return np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))


def _ends(path: Path, held: Mapping[str, Member], frames: int) -> Array:
    """(E,) where each episode ends."""
    key = next((key for key in ("episode_ends", "episode_lengths", "indices") if key in held), None)
    if key is None or (key == "indices" and "acts" not in held):
        return np.array([frames])
    listed_there = whole(path, held[key]).ravel()
    ends = as_integers(listed_there) if listed_there.dtype.kind in "fiu" else np.array([-1])
    if not np.array_equal(ends, listed_there):
        raise Unreadable(f"{shown(path)}: {key!r} holds whole numbers, got {shown(listed_there.dtype)}.")
    return {"episode_ends": ends, "episode_lengths": np.cumsum(ends)}.get(key, np.append(ends, frames))


def _kept(
    held: Mapping[str, Member], actions: list[str], states: list[str], episode: Array, faults: list[Fault]
) -> dict[str, Array]:
    """Which rows of a state are read, where it holds the last observation of each episode too."""
    frames, kept = held[actions[0]].shape[0], dict[str, Array]()
    for key in (*actions, *states):
        rows = held[key].shape[0]
        if key in states and "acts" in held and rows == frames + len(np.unique(episode)):
            last = np.flatnonzero(np.diff(episode, append=-1)) + 1
            kept[key] = np.delete(np.arange(rows), last + np.arange(len(last)))
        elif rows != frames:
            faults.append(Fault(f"it has {frames} rows of {shown(actions[0])!r} and {rows} of {shown(key)!r}"))
    return kept


def _read(
    path: Path, actions: list[Member], states: list[Member], episode: Array, kept: dict[str, Array]
) -> Iterator[Frames]:
    step = rows_at_once(max(int(np.prod(member.shape[1:])) for member in (*actions, *states)))
    with readable(path, "npz"):
        fields = [_rows(path, member, step, kept.get(member.key)) for member in (*actions, *states)]
        for number, parts in enumerate(zip(*fields, strict=False)):
            own = episode[number * step : (number + 1) * step]
            least = min(len(own), *map(len, parts))
            columns = [as_columns(part)[:least] for part in parts]
            state = np.concatenate(columns[len(actions) :], 1) if states else None
            yield Frames(own[:least], np.concatenate(columns[: len(actions)], 1), state)


def _rows(path: Path, member: Member, step: int, kept: Array | None) -> Iterator[Array]:
    """The rows of an array, `step` at a time; of those that are kept, where not all are."""
    if kept is None:
        yield from pieces(path, member, step)
        return
    begin, held = 0, np.empty((0, *member.shape[1:]), member.dtype)
    for piece in pieces(path, member, step):
        inside = kept[(kept >= begin) & (kept < begin + len(piece))] - begin
        begin, held = begin + len(piece), np.concatenate([held, piece[inside]])
        while len(held) >= step:
            yield held[:step]
            held = held[step:]
    if len(held):
        yield held
