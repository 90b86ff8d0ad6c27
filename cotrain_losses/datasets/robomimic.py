"""robomimic HDF5, as robomimic, robosuite, MimicGen and Isaac Lab write it.

    data.attrs["total"]                                   frames of all demonstrations, where it is kept
    data/demo_i.attrs["num_samples"]                      frames of one
    data/demo_i/{actions (T, d), obs/**/<key> (T, ...)}   observations may be nested, and one row longer: the last
    mask/<name>                                           filter keys, names of demonstrations: domains of the file

Only vectors are read, never images.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from .demonstrations import Demonstrations, register
from .faults import Fault, Unreadable, readable
from .groups import Groups, compare, numbered
from .hdf5 import SUFFIXES, episodes_at_top, filter_keys, flat, member, names_in
from .names import listed, shown

_FORMAT = "robomimic HDF5"


def _recognised(path: Path) -> bool:
    return path.suffix in SUFFIXES and not flat(path) and not episodes_at_top(path)


@register("a robomimic .hdf5", _recognised)
def robomimic(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a robomimic file; `state` names observations, None joins all vectors of floats."""
    import h5py  # type: ignore[import-untyped]  # only those who read robomimic files need it

    groups, faults = Groups(path, _FORMAT, "data/", "num_samples"), list[Fault]()
    with readable(path, _FORMAT), h5py.File(path, "r") as file:
        data = member(path, file, "data") if "data" in file else None
        if not isinstance(data, h5py.Group) or not len(data):
            raise Unreadable(
                f"{shown(path)} holds no demonstrations under 'data', its groups are {listed(names_in(file))}."
            )
        demos = numbered(names_in(data))
        layout = groups.layout(data, list(demos.values()), action, state)
        lengths = groups.lengths(data, demos, layout, faults)
        compare(data.attrs.get("total"), "total", sum(lengths.values()), "data", Fault(""), faults)
        domains, rate = _domains(path, file, demos, faults), _rate(data)
    return replace(groups.demonstrations(path, demos, layout, lengths, faults), rate=rate, domains=domains)


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
