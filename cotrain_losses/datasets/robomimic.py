"""robomimic HDF5, as robomimic, robosuite, MimicGen and Isaac Lab write it.

    data.attrs["total"]                                   frames of all demonstrations, where it is kept
    data/demo_i.attrs["num_samples"]                      frames of one
    data/demo_i/{actions (T, d), obs/**/<key> (T, ...)}   observations may be nested, and one row longer: the last
    mask/<name>                                           filter keys, names of demonstrations: domains of the file

Only vectors are read, never images.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .demonstrations import Demonstrations, Frames, register
from .faults import Fault, Unreadable, readable
from .fields import Array, check_key, is_proprioception, keys_of
from .hdf5 import SUFFIXES, datasets, filter_keys, flat, member, names_in, opened, rows, vectors
from .names import distinct, listed, places, shown

_FORMAT = "robomimic HDF5"
_OBSERVATIONS = ("obs", "observations")


class _Layout(NamedTuple):
    """What is read of every demonstration: keys, each with its width."""

    actions: dict[str, int]
    states: dict[str, int]


@register("a robomimic .hdf5", lambda path: path.suffix in SUFFIXES and not flat(path))
def robomimic(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a robomimic file; `state` names observations, None joins all vectors of floats."""
    import h5py  # type: ignore[import-untyped]  # only those who read robomimic files need it

    faults = list[Fault]()
    with readable(path, _FORMAT), h5py.File(path, "r") as file:
        data = member(path, file, "data") if "data" in file else None
        if not isinstance(data, h5py.Group) or not len(data):
            raise Unreadable(
                f"{shown(path)} holds no demonstrations under 'data', its groups are {listed(names_in(file))}."
            )
        demos = _numbered(names_in(data))
        layout = _layout(path, data, list(demos.values()), action, state)
        lengths = _lengths(path, data, demos, layout, faults)
        domains, rate = _domains(path, file, demos, faults), _rate(data)
    empty = [demos[number] for number, length in lengths.items() if not length]
    read = partial(_read, path, {n: demos[n] for n, length in lengths.items() if length}, layout, faults)
    notes = [f"Without frames: {listed(empty)}."] if empty else []
    names = distinct([name for key, width in layout.states.items() for name in places(key.partition("/")[2], width)])
    total = sum(lengths.values())
    return Demonstrations(
        path, _FORMAT, total, len(lengths), read, (), names, rate, lengths, domains, faults, notes=notes
    )


def _numbered(names: list[str]) -> dict[int, str]:
    """The names of demonstrations by number: demo_7 is 7; where names do not end in numbers, by place."""
    ordered = sorted(names, key=lambda name: (_number(name), name))
    own = [_number(name) for name in ordered]
    places = range(len(own)) if -1 in own or len({*own}) < len(own) else own
    return dict(zip(places, ordered, strict=True))


def _number(name: str) -> int:
    tail = name[len(name.rstrip("0123456789")) :]
    return int(tail) if 0 < len(tail) < 16 else -1


def _layout(path: Path, data: Any, demos: list[str], action: str | None, state: str | None) -> _Layout:
    """What most demonstrations hold is what is read; what the others lack of it is a fault of theirs."""
    fields = {name: _fields(path, data, name) for name in demos}
    often = Counter(fields.values())
    typical = max(often, key=lambda held: (often[held], sum(map(len, held))))
    example = member(path, data, next(name for name in demos if fields[name] == typical))
    held = dict(datasets(path, example))
    actions = keys_of(path, action, ("actions", "action"), held, "action")
    check_key(path, None if actions else "actions", typical[0], "--action-key, or PATH::action=KEY for one dataset")
    group = next((f"{name}/" for name in _OBSERVATIONS if name in typical[0]), "obs/")
    observed = {key.removeprefix(group): found for key, found in held.items() if key.startswith(group)}
    floats = sorted(key for key, found in observed.items() if is_proprioception(found.shape or (), found.dtype))
    states = floats if state is None else keys_of(path, state, (), observed, "state")
    widths = [
        {key: vectors(path, key, held[key].id).width for key in keys} for keys in (actions, [group + s for s in states])
    ]
    return _Layout(*widths)


def _fields(path: Path, data: Any, name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names of what a demonstration holds, and of its observations; nothing of a broken one."""
    try:
        held = frozenset(names_in(demo := member(path, data, name)))
        return held, frozenset(names_in(next((demo[key] for key in _OBSERVATIONS if key in held), ())))
    except Exception:  # of h5py, on a damaged group
        return frozenset(), frozenset()


def _lengths(path: Path, data: Any, demos: dict[int, str], layout: _Layout, faults: list[Fault]) -> dict[int, int]:
    """Frames of each demonstration that has actions; the others, and counts that do not agree, are faults."""
    lengths, key = dict[int, int](), next(iter(layout.actions))
    for number, name in demos.items():
        try:
            with readable(path, _FORMAT, f"data/{name}"):
                demo = member(path, data, name)
                lengths[number] = len(member(path, demo, key))
                _compare(demo.attrs, "num_samples", lengths[number], name, Fault("", number), faults)
        except Unreadable as error:
            faults.append(_fault(path, name, number, error))
    _compare(data.attrs, "total", sum(lengths.values()), "data", Fault(""), faults)
    return lengths


def _compare(attributes: Any, key: str, held: int, what: str, fault: Fault, faults: list[Fault]) -> None:
    says = attributes.get(key)
    if says is not None and not np.array_equal(np.ravel(says), [held]):
        faults.append(fault._replace(text=f"{shown(what)} has {held} frames, its {key} says {shown(says)}"))


def _domains(path: Path, file: Any, demos: dict[int, str], faults: list[Fault]) -> dict[str, list[int]]:
    """The filter keys; a demonstration that one names and the file lacks has a number below zero and a fault."""
    numbers = {name: number for number, name in demos.items()}
    domains = dict[str, list[int]]()
    for key, names in filter_keys(path, file).items():
        for name in names:
            if name not in numbers:
                numbers[name] = -1 - len(numbers)
                faults.append(Fault(f"filter key {shown(key)!r} names {shown(name)}, which is missing", numbers[name]))
        domains[key] = [numbers[name] for name in names]
    return domains


def _rate(data: Any) -> float | None:
    """Control steps a second, where the environment's arguments say."""
    with suppress(Exception):  # arguments of any environment: free text
        rate = float(json.loads(data.attrs["env_args"])["env_kwargs"]["control_freq"])
        return rate if 0 < rate < 1e6 else None
    return None


def _read(path: Path, demos: dict[int, str], layout: _Layout, faults: list[Fault]) -> Iterator[Frames]:
    import h5py

    with readable(path, _FORMAT), h5py.File(path, "r") as file:
        for number, name in demos.items():
            try:
                with readable(path, _FORMAT, f"data/{name}"):
                    frames = _frames(path, member(path, file, f"data/{name}"), number, layout)
            except Unreadable as error:
                faults.append(_fault(path, name, number, error))
            else:
                yield frames


def _frames(path: Path, demo: Any, number: int, layout: _Layout) -> Frames:
    """One demonstration; raises Unreadable or what h5py raises."""
    groups = {"": demo}
    actions = np.concatenate([_field(path, groups, key, width, None) for key, width in layout.actions.items()], 1)
    states = [_field(path, groups, key, width, len(actions)) for key, width in layout.states.items()]
    return Frames(np.full(len(actions), number), actions, np.concatenate(states, 1) if states else None)


def _field(path: Path, groups: dict[str, Any], key: str, width: int, frames: int | None) -> Array:
    """A field of a demonstration; `groups` are those that were opened for it before."""
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


def _fault(path: Path, name: str, number: int, error: Unreadable) -> Fault:
    return Fault(f"{shown(name)}: {str(error).removeprefix(shown(path)).strip(' :.')}", number)
