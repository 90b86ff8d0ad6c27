"""From a path to the demonstrations in it, all or a part, counted and checked.

    open_demonstrations("data/real")
    open_demonstrations("data/merged::domain=real")                 a domain that the dataset names
    open_demonstrations("data/merged::episodes=0-49,60")            or some of its episodes
    open_demonstrations("sim.hdf5::action=delta::state=eef+grip")   keys of this dataset alone

The settings behind "::" are what a command line gives for one dataset of several; in Python they are arguments too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial as bound
from pathlib import Path

from .demonstrations import FORMATS, UNKNOWN, Demonstrations, Frames
from .episodes import Pass, numbers, ranges, refuse
from .faults import Unreadable, check_file, readable
from .names import distinct, listed, shown, told_apart

SETTINGS = ("action", "state", "domain", "episodes")


def open_demonstrations(
    path: str | Path,
    *,
    action: str | None = None,
    state: str | None = None,
    domain: str | None = None,
    episodes: str | Iterable[int] | None = None,
    partial: bool = False,
) -> Demonstrations:
    """The demonstrations at a path, whatever their format.

    Args:
        path: a LeRobot dataset's directory (v2.0 to v3.1), a robomimic, Isaac Lab or D4RL .hdf5, a folder of ALOHA's
            or Minari's, a zarr replay buffer (v2, v3, directory or .zip), an .npz, an RLDS directory, or what a
            registered format recognises; settings may follow it, `PATH::domain=real::action=KEY`.
        action, state: the keys of actions and of proprioception, where they are not the format's own; "a+b" joins two.
        domain: one of the domains that the dataset names: a robomimic filter key, an entry of `domains.json`.
        episodes: numbers of the episodes to read, or ranges, "0-49,60".
        partial: read a dataset that is partial, doubled or unsorted nevertheless: each episode once, with a note.

    Raises Unreadable, a ValueError that names the path and the fault, when it is opened or while it is read;
    ModuleNotFoundError without the format's library.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     action = np.zeros((30, 7))
    ...     np.savez(f"{folder}/real.npz", action=action, episode_lengths=[10, 20])
    ...     real = open_demonstrations(f"{folder}/real.npz")
    ...     rows = sum(len(frames.action) for frames in real.read())
    ...     print(real.format, real.frames, real.episodes, rows)
    npz 30 2 30
    """
    place, settings = split(path)
    found = _opened(place, settings.get("action", action), settings.get("state", state))
    domain, episodes = settings.get("domain", domain), settings.get("episodes", episodes)
    wanted = _episodes(found, domain, episodes)
    faults = [f for f in found.faults if wanted is None or f.episode is None or f.episode in wanted]
    refuse(found, faults, partial)
    texts = {"domain": domain, "episodes": None if episodes is None else ranges(wanted or ())}
    part = "::".join(f"{name}={shown(text)}" for name, text in texts.items() if text is not None)
    if wanted is None and len(found.domains) > 1:
        found.notes.append(
            f"All its domains are read as one ({listed(found.domains)}). Name one: {shown(place.name)}::domain=NAME."
        )
    return _counted(replace(found, part=part, name=" ".join(filter(None, (shown(place.stem), part)))), wanted, partial)


def named_apart(every: Sequence[Demonstrations]) -> list[Demonstrations]:
    """The same datasets, their names with as many folders as tell them apart.

    >>> import numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
    ...     paths = [f"{folder}/data.npz" for folder in (one, other)]
    ...     for path in paths:
    ...         np.savez(path, action=np.zeros((4, 2)), episode_lengths=[4])
    ...     apart = named_apart([open_demonstrations(path) for path in paths])
    >>> len({each.name for each in apart})
    2
    """
    names = told_apart([found.path for found in every])
    parts = [" ".join(filter(None, (name, found.part))) for name, found in zip(names, every, strict=True)]
    return [replace(found, name=name) for name, found in zip(distinct(parts), every, strict=True)]


def split(path: str | Path) -> tuple[Path, dict[str, str]]:
    """A path and the settings behind it, "PATH::name=value::name=value".

    >>> split("merged::domain=real")
    (PosixPath('merged'), {'domain': 'real'})
    """
    place, *settings = str(path).split("::")
    if not settings or _exists(Path(path)):
        return Path(path), {}
    pairs = dict(setting.partition("=")[::2] for setting in settings)
    wrong = [name for name, value in pairs.items() if name not in SETTINGS or not value]
    if wrong or len(pairs) < len(settings):
        raise ValueError(
            f"settings behind a path are {', '.join(f'{name}=...' for name in SETTINGS)}, each once, got "
            f"{shown('::'.join(settings))!r}. Write PATH::domain=real, for example."
        )
    return Path(place), pairs


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, a loop of links
        return False


def _opened(path: Path, action: str | None, state: str | None) -> Demonstrations:
    if not _exists(path):
        raise Unreadable(f"{shown(path)} does not exist. Give the directory or file of a dataset.")
    with readable(path, "a dataset"):
        check_file(path)
        form = next((form for form in FORMATS if form.recognises(path)), None)
    if form is None:
        raise Unreadable(_unknown(path))
    try:
        with readable(path, form.description.partition(" ")[2]):
            return form.reader(path, action, state)
    except ModuleNotFoundError as error:
        brought = "'cotrain-losses[data]'"
        raise ModuleNotFoundError(
            f"reading {shown(path)} needs {error.name}, which is not installed: pip install {brought}.", name=error.name
        ) from error


def _unknown(path: Path) -> str:
    known = ", or ".join(form.description for form in reversed(FORMATS))
    inside = []
    if path.is_dir():
        children = sorted(path.iterdir())[:200]
        inside = [child for child in children if any(form.recognises(child) for form in FORMATS)]
    hint = f" It holds {listed(child.name for child in inside)}: name that." if inside else ""
    return f"{shown(path)} is no dataset known here. Give {known}.{hint}"


def _episodes(found: Demonstrations, domain: str | None, episodes: str | Iterable[int] | None) -> frozenset[int] | None:
    """The numbers of the episodes that are asked for, None for all."""
    if domain is not None and domain not in found.domains:
        named = f"names the domains {listed(found.domains)}" if found.domains else "names no domains"
        raise Unreadable(f"{shown(found.path)} {named}, got {shown(domain)!r}. Name one, or episodes=0-49.")
    chosen = None if domain is None else frozenset(found.domains[domain])
    if episodes is not None:
        asked = numbers(episodes) if isinstance(episodes, str) else frozenset(int(number) for number in episodes)
        chosen = asked if chosen is None else asked & chosen
    if chosen is not None:
        _check_there(found, chosen)
    return chosen


def _check_there(found: Demonstrations, chosen: frozenset[int]) -> None:
    left_out = {fault.episode for fault in found.faults}
    absent = [] if found.lengths is None else [n for n in chosen if n not in found.lengths and n not in left_out]
    if absent or not chosen:
        there = "" if found.lengths is None else f" It has {ranges(found.lengths)}."
        raise Unreadable(
            f"{shown(found.path)} does not have the episodes asked for ({ranges(absent) or 'none'}).{there}"
        )


def _counted(found: Demonstrations, wanted: frozenset[int] | None, partial: bool) -> Demonstrations:
    """The dataset with its reader behind the count, its numbers those of the part that is read."""
    if wanted is not None and found.lengths is not None:
        own = {number: found.lengths[number] for number in sorted(wanted) if number in found.lengths}
        found = replace(found, lengths=own, frames=sum(own.values()), episodes=sum(map(bool, own.values())))
    if partial or found.frames == UNKNOWN or (wanted is not None and found.lengths is None):
        one = Pass(found, wanted, partial)
        for _ in one:
            pass
        found = replace(found, lengths=dict(one.counts), frames=one.counts.total(), episodes=len(one.counts))
    if not found.frames:
        told = f"{found.episodes} episodes, no frames"
        raise Unreadable(f"{shown(found.path)} is empty: {told}. Record or convert it again.")
    return replace(found, read=bound(_frames, found, wanted, partial))


def _frames(found: Demonstrations, wanted: frozenset[int] | None, partial: bool) -> Iterator[Frames]:
    yield from Pass(found, wanted, partial)
