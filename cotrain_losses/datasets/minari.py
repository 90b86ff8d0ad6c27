"""Minari datasets: a folder, or its main file alone.

    <dataset>/data/main_data.hdf5     episode_i.attrs["total_steps"], episode_i/{actions, observations, rewards ...}
    <dataset>/data/metadata.json      total_episodes, total_steps

Observations have one row more than actions: what was seen last.  Both may be dictionaries of arrays.
"""

from __future__ import annotations

import json
from os.path import lexists
from pathlib import Path

from .demonstrations import Demonstrations, register
from .episodes import gaps
from .faults import Fault, Unreadable, check_file, readable
from .groups import Groups, compare, numbered
from .hdf5 import SUFFIXES, episodes_at_top, names_in
from .names import listed, shown

_FORMAT = "Minari HDF5"
_MAIN = "main_data.hdf5"


def _file(path: Path) -> Path:
    """The file of a dataset's folder, or of its data folder; a file itself."""
    inside = (path / "data" / _MAIN, path / _MAIN) if path.is_dir() else ()
    return next((file for file in inside if file.exists()), path)


def _recognised(path: Path) -> bool:
    return (path.is_dir() and _file(path) != path) or (path.suffix in SUFFIXES and bool(episodes_at_top(path)))


@register("a Minari folder (with data/main_data.hdf5)", _recognised)
def minari(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a Minari folder or file; `state` names observations, None joins all vectors of floats."""
    import h5py  # type: ignore[import-untyped]  # only those who read HDF5 need it

    main, faults = _file(path), list[Fault]()
    groups = Groups(main, _FORMAT, "", "total_steps")
    with readable(main, _FORMAT), h5py.File(check_file(main), "r") as file:
        names = numbered(episodes_at_top(main))
        if not names:
            raise Unreadable(f"{shown(main)} holds no episodes, groups named episode_0 and so on. Record it again.")
        others = [name for name in names_in(file) if name not in {*names.values()}]
        layout = groups.layout(file, list(names.values()), action, state)
        lengths = groups.lengths(file, names, layout, faults)
    if others:
        faults.append(Fault(f"{listed(others)} at its top is no episode"))
    faults += [Fault(f"episode_{n} is missing", n) for n in gaps(names, 0)]
    _compare_totals(main, lengths, faults)
    return groups.demonstrations(path, names, layout, lengths, faults)


def _compare_totals(main: Path, lengths: dict[int, int], faults: list[Fault]) -> None:
    """What metadata.json says, where it lies beside the file, against what is there."""
    table = main.with_name("metadata.json")
    if not lexists(table):  # a link to nowhere is one that should be there
        return
    with readable(table, "Minari's metadata.json"):
        says = json.loads(check_file(table).read_text())
        compare(says.get("total_steps"), "total_steps", sum(lengths.values()), "the dataset", Fault(""), faults)
        if says.get("total_episodes", len(lengths)) != len(lengths):
            faults.append(Fault(f"it has {len(lengths)} episodes, metadata.json says {says['total_episodes']}"))
