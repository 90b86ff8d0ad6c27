"""Episodes of a dataset: which are asked for, and whether it holds what it says it holds.

    numbers("0-49,60")                  the 51 numbers
    Pass(found, wanted, partial)        one pass over a dataset, counted against its own tables while frames go by

A dataset holds each of its episodes once, in one piece and whole.  One that is partial, doubled or unsorted is refused;
under `partial` what is there is read once, and what was left out is noted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from .demonstrations import UNKNOWN, Demonstrations, Frames
from .faults import Fault, Unreadable, readable
from .fields import Array, as_columns, as_integers
from .names import shown

ENOUGH = 1024
"""frames of a piece: of more, what is computed of them no longer fits into the processor's cache"""


def numbers(text: str) -> frozenset[int]:
    """Episode numbers written as ranges, both ends included.

    >>> sorted(numbers("0-2,7"))
    [0, 1, 2, 7]
    """
    found: set[int] = set()
    for part in text.split(","):
        bounds = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        if bounds is None or not 0 <= int(bounds[2] or bounds[1]) - int(bounds[1]) < 10**7:
            raise ValueError(f"episodes are numbers and ranges like 0-49,60, got {shown(text)!r}.")
        found.update(range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1))
    return frozenset(found)


def ranges(found: Collection[int]) -> str:
    """Episode numbers in a sentence.

    >>> ranges([0, 1, 2, 7])
    '0-2, 7'
    """
    ordered = np.unique(np.fromiter(found, np.int64))
    parts = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1)
    texts = [str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts[:5] if len(part)]
    return ", ".join(texts) + (" ..." if len(parts) > 5 else "")


def gaps(found: Collection[int], first: int) -> list[int]:
    """The numbers from `first` to the largest found that are none of these; of very many the first thousand.

    >>> gaps([0, 3], 0)
    [1, 2]
    """
    return list(islice((number for number in range(first, max(found)) if number not in found), 1000))


class Pass:
    """One pass over a dataset.

    Args:
        found: the dataset, as its format reads it.
        wanted: numbers of the episodes to read; None reads all.
        partial: whether a dataset that is not whole is read nevertheless.

    `counts` are the frames that have gone by, by episode.
    """

    def __init__(self, found: Demonstrations, wanted: frozenset[int] | None, partial: bool) -> None:
        self.found, self.wanted, self.partial = found, wanted, partial
        self.counts: Counter[int] = Counter()
        self._last: int | None = None
        self._told = 0
        self._widths: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Frames]:
        self._told = 0 if self.partial else len(self.found.faults)
        for frames in _joined(self._checked()):
            kept = self._wanted(frames)
            if len(kept.action) and len((once := self._once(kept)).action):
                yield once
        self._tell()
        self._compare()

    def _checked(self) -> Iterator[Frames]:
        """The pieces that hold frames, as the reader makes them."""
        for frames in _pieces(self.found):
            self._tell()
            if len((checked := self._aligned(frames)).action):
                yield checked

    def _tell(self) -> None:
        """Refuse a dataset for the faults that its reader has met since, or note them."""
        new, self._told = self.found.faults[self._told :], len(self.found.faults)
        refuse(self.found, [fault for fault in new if self._asked(fault)], self.partial)

    def _asked(self, fault: Fault) -> bool:
        return self.wanted is None or fault.episode is None or fault.episode in self.wanted

    def _aligned(self, frames: Frames) -> Frames:
        episode, state = np.asarray(frames.episode), frames.state
        action = as_columns(frames.action)
        state = None if state is None else as_columns(state)
        rows = {len(episode), len(action), *([] if state is None else [len(state)])}
        widths = action.shape[1], 0 if state is None else state.shape[1]
        if episode.ndim != 1 or len(rows) > 1 or (self._widths or widths) != widths:
            raise Unreadable(
                f"{shown(self.found.path)}: every frame has one action and one state of one width, got {len(action)} "
                f"actions {widths[0]} wide, states {widths[1]} wide and {episode.shape} episodes. Write it again."
            )
        self._widths = widths if len(action) else self._widths
        return Frames(_integers(self.found, episode), action, state)

    def _wanted(self, frames: Frames) -> Frames:
        if self.wanted is None:
            return frames
        return _rows(frames, np.isin(frames.episode, np.fromiter(self.wanted, np.int64)))

    def _once(self, frames: Frames) -> Frames:
        """The frames without those of an episode that had ended before."""
        begins = np.flatnonzero(np.diff(frames.episode, prepend=frames.episode[:1] - 1))
        kept = np.ones(len(frames.episode), bool)
        for begin, end in zip(begins, [*begins[1:], len(kept)], strict=True):
            number = int(frames.episode[begin])
            if number in self.counts and number != self._last:
                kept[begin:end] = False
                text = f"episode {number} occurs in more than one place: it is doubled, or its frames are unsorted"
                refuse(self.found, [Fault(text, number)], self.partial)
            else:
                self.counts[number] += int(end - begin)
            self._last = number
        return frames if kept.all() else _rows(frames, kept)

    def _compare(self) -> None:
        """Refuse or note a dataset that does not hold what its tables say."""
        lengths, counts = self.found.lengths, self.counts
        if lengths is None:
            said, held = (self.found.frames, self.found.episodes), (counts.total(), len(counts))
            faults = [
                f"it holds {has} {what}, its tables say {says}"
                for what, says, has in zip(("frames", "episodes"), said, held, strict=True)
                if self.wanted is None and says not in (UNKNOWN, has)
            ]
        else:
            due = {number: n for number, n in lengths.items() if self.wanted is None or number in self.wanted}
            faults = list(_differences({number: n for number, n in due.items() if n}, counts))
        refuse(self.found, [Fault(text) for text in faults], self.partial)


def _pieces(found: Demonstrations) -> Iterator[Frames]:
    with readable(found.path, found.format):
        yield from found.read()


def _joined(pieces: Iterable[Frames]) -> Iterator[Frames]:
    """Small pieces as larger ones: what is computed of a piece costs the same for one frame and for thousands."""
    held, frames = list[Frames](), 0
    for piece in pieces:
        held.append(piece)
        frames += len(piece.action)
        if frames >= ENOUGH:
            yield _concatenated(held)
            held, frames = [], 0
    if held:
        yield _concatenated(held)


def _concatenated(pieces: Sequence[Frames]) -> Frames:
    if len(pieces) == 1:
        return pieces[0]
    episode, action, state = zip(*pieces, strict=True)
    states = None if any(each is None for each in state) else np.concatenate(state)
    return Frames(np.concatenate(episode), np.concatenate(action), states)


def refuse(found: Demonstrations, faults: Sequence[Fault], partial: bool) -> None:
    """Raise Unreadable for the faults of a dataset, or note them where a partial one is wanted."""
    if not faults:
        return
    texts = list(dict.fromkeys(fault.text for fault in faults))
    text = "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "")
    if not partial:
        raise Unreadable(
            f"{shown(found.path)} does not hold what it says it holds: {text}. Copy or convert it again, or read once "
            "what is there with --partial (partial=True)."
        )
    if (note := f"Read in part: {text}.") not in found.notes:
        found.notes.append(note)


def _differences(due: dict[int, int], counts: Counter[int]) -> Iterator[str]:
    if missing := due.keys() - counts.keys():
        yield f"{len(missing)} of its {len(due)} episodes are missing ({ranges(missing)})"
    if more := counts.keys() - due.keys():
        yield f"{len(more)} episodes are in no table of it ({ranges(more)})"
    if other := [number for number in due.keys() & counts.keys() if due[number] != counts[number]]:
        first = min(other)
        yield f"episode {first} has {counts[first]} frames, its tables say {due[first]} (so {len(other)} episodes)"


def _integers(found: Demonstrations, episode: Array) -> Array:
    if episode.dtype.kind not in "fiub" or not np.array_equal(whole := as_integers(episode), episode):
        raise Unreadable(f"{shown(found.path)}: episodes are whole numbers, got {shown(episode.dtype)}.")
    return whole


def _rows(frames: Frames, kept: Array) -> Frames:
    state = None if frames.state is None else frames.state[kept]
    return Frames(frames.episode[kept], frames.action[kept], state)
