"""Episodes of an HDF5 file that are a group of arrays each, as robomimic and Minari keep them.

    <inside>/<name>/{actions (T, d), obs/**/<key> (T, ...)}       observations may be one array, nested, or a row longer

What most episodes hold is what is read; what the others lack of it is a fault of theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .demonstrations import Demonstrations, Frames
from .faults import Fault, Unreadable, readable
from .fields import Array, check_key, is_proprioception, keys_of
from .hdf5 import datasets, member, names_in, opened, rows, vectors
from .names import distinct, listed, places, shown

_ACTIONS = ("actions", "action")
_OBSERVATIONS = ("obs", "observations")


class Layout(NamedTuple):
    """What is read of every episode: keys, each with its width."""

    actions: dict[str, int]
    states: dict[str, int]

    @property
    def state_names(self) -> tuple[str, ...]:
        """The name of every dimension of the state."""
        fields = [places(key.partition("/")[2] or key, width) for key, width in self.states.items()]
        return distinct([name for field in fields for name in field])


@dataclass(frozen=True)
class Groups:
    """The episodes of a file: where their groups are, and the attribute in which each says its frames."""

    path: Path
    format: str
    inside: str
    count: str

    def layout(self, parent: Any, names: list[str], action: str | None, state: str | None) -> Layout:
        """What is read; raises Unreadable without actions, or without a key that was named."""
        path, fields = self.path, {name: self._fields(parent, name) for name in names}
        often = Counter(fields.values())
        typical = max(often, key=lambda held: (often[held], sum(map(len, held))))
        held = dict(datasets(path, member(path, parent, next(name for name in names if fields[name] == typical))))
        parts = sorted(key for key in held if key.startswith("actions/") and _is_vector(held[key]))
        actions = keys_of(path, action, _ACTIONS, held, "action") or parts
        check_key(path, None if actions else "actions", typical[0], "--action-key, or PATH::action=KEY for one dataset")
        name = next((each for each in _OBSERVATIONS if each in typical[0]), "obs")
        before = "" if name in held else f"{name}/"
        observed = {key.removeprefix(before): held[key] for key in held if key.startswith(before or name)}
        vectors_there = sorted(key for key, found in observed.items() if _is_vector(found))
        states = vectors_there if state is None else keys_of(path, state, (), observed, "state")
        keys = actions, [before + key for key in states]
        return Layout(*({key: vectors(path, key, held[key].id).width for key in part} for part in keys))

    def lengths(self, parent: Any, names: dict[int, str], layout: Layout, faults: list[Fault]) -> dict[int, int]:
        """Frames of each episode that has actions; the others, and counts that do not agree, are faults."""
        lengths, key = dict[int, int](), next(iter(layout.actions))
        for number, name in names.items():
            try:
                with readable(self.path, self.format, f"{self.inside}{name}"):
                    episode = member(self.path, parent, name)
                    lengths[number] = len(member(self.path, episode, key))
                    compare(episode.attrs.get(self.count), self.count, lengths[number], name, Fault("", number), faults)
            except Unreadable as error:
                faults.append(self._fault(name, number, error))
        return lengths

    def demonstrations(
        self, path: Path, names: dict[int, str], layout: Layout, lengths: dict[int, int], faults: list[Fault]
    ) -> Demonstrations:
        """The dataset at a path, its episodes in this file."""
        empty = [names[number] for number, length in lengths.items() if not length]
        read = partial(self.read, {n: names[n] for n, length in lengths.items() if length}, layout, faults)
        notes = [f"Without frames: {listed(empty)}."] if empty else []
        return Demonstrations(
            path,
            self.format,
            sum(lengths.values()),
            len(lengths),
            read,
            state_names=layout.state_names,
            lengths=lengths,
            faults=faults,
            notes=notes,
        )

    def read(self, names: dict[int, str], layout: Layout, faults: list[Fault]) -> Iterator[Frames]:
        """The frames of each episode; one that cannot be read is a fault."""
        import h5py  # type: ignore[import-untyped]  # only those who read HDF5 need it

        with readable(self.path, self.format), h5py.File(self.path, "r") as file:
            for number, name in names.items():
                try:
                    with readable(self.path, self.format, f"{self.inside}{name}"):
                        frames = _frames(self.path, member(self.path, file, f"{self.inside}{name}"), number, layout)
                except Unreadable as error:
                    faults.append(self._fault(name, number, error))
                else:
                    yield frames

    def _fields(self, parent: Any, name: str) -> tuple[frozenset[str], frozenset[str]]:
        """Names of what an episode holds, and of its observations; nothing of a broken one."""
        import h5py

        try:
            held = frozenset(names_in(episode := member(self.path, parent, name)))
            seen = next((episode[key] for key in _OBSERVATIONS if key in held), None)
            return held, frozenset(names_in(seen) if isinstance(seen, h5py.Group) else ())
        except Exception:  # of h5py, on a damaged group
            return frozenset(), frozenset()

    def _fault(self, name: str, number: int, error: Unreadable) -> Fault:
        return Fault(f"{shown(name)}: {str(error).removeprefix(shown(self.path)).strip(' :.')}", number)


def numbered(names: list[str]) -> dict[int, str]:
    """The names of episodes by number: demo_7 is 7; where names do not end in numbers, by place."""
    ordered = sorted(names, key=lambda name: (_number(name), name))
    own = [_number(name) for name in ordered]
    places = range(len(own)) if -1 in own or len({*own}) < len(own) else own
    return dict(zip(places, ordered, strict=True))


def compare(says: Any, key: str, held: int, what: str, fault: Fault, faults: list[Fault]) -> None:
    """A count that a table keeps, beside what is there; None where it keeps none."""
    if says is not None and not np.array_equal(np.ravel(says), [held]):
        faults.append(fault._replace(text=f"{shown(what)} has {held} frames, its {key} says {shown(says)}"))


def _number(name: str) -> int:
    tail = name[len(name.rstrip("0123456789")) :]
    return int(tail) if 0 < len(tail) < 16 else -1


def _is_vector(found: Any) -> bool:
    return is_proprioception(found.shape or (), found.dtype)


def _frames(path: Path, episode: Any, number: int, layout: Layout) -> Frames:
    """One episode; raises Unreadable or what h5py raises."""
    groups = {"": episode}
    actions = np.concatenate([_field(path, groups, key, width, None) for key, width in layout.actions.items()], 1)
    states = [_field(path, groups, key, width, len(actions)) for key, width in layout.states.items()]
    return Frames(np.full(len(actions), number), actions, np.concatenate(states, 1) if states else None)


def _field(path: Path, groups: dict[str, Any], key: str, width: int, frames: int | None) -> Array:
    """A field of an episode; `groups` are those that were opened for it before."""
    group, _, name = key.rpartition("/")
    if group not in groups:
        groups[group] = member(path, groups[""], group)
    found = vectors(path, key, opened(path, groups[group], name.encode("utf-8", "surrogateescape")))
    length = found.shape[0]
    if found.width != width:
        raise Unreadable(f"{shown(key)!r} is {found.width} wide, in most demonstrations {width}")
    if frames is not None and length not in (frames, frames + 1):
        raise Unreadable(f"{shown(key)!r} has {length} rows for {frames} actions")
    return rows(found)[:frames]
