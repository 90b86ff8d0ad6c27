"""Files of every format with bytes changed at random, read to the end: a part of `make long`.

    python -m tests.tools.fuzz [--count 2000] [--seed 0]

Each is read in a process of its own.  It may be refused in a sentence, or read with a note, or read with as many frames
as were written; never a traceback, a crash, another total without a word, more than 10 seconds or 1 GiB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from cotrain_losses.datasets import Unreadable, open_demonstrations
from tests.formats import FORMATS, LENGTHS, demos
from tests.tools.apart import End, apart

NOTED, OTHER, REFUSED = 3, 4, 5
KINDS = ("tracebacks", "crashes", "hangs", "wrong totals", "beyond 1 GiB")


def main() -> None:
    """Read mutated files; the last line is the outcome."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    outcomes = Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        originals = {form: write(_made(Path(name, form)), demos()) for form, write in FORMATS.items()}
        for number in range(asked.count):
            form = list(originals)[number % len(originals)]
            rng = np.random.default_rng([asked.seed, number])
            end, changed = _read(originals[form], Path(name, "mutated"), rng)
            outcomes[kind(end)] += 1
            if kind(end) in KINDS:
                print(f"{form}, {asked.seed}, {number}, {changed}: {kind(end)}\n{end.said[-1500:]}", flush=True)
    bad = sum(outcomes[what] for what in KINDS)
    good = ", ".join(f"{outcomes[what]} {what}" for what in ("refused", "as written", "noted"))
    wrong = ", ".join(f"{outcomes[what]} {what}" for what in KINDS)
    print(f"{outcomes.total() - bad} of {outcomes.total()} mutated files read right or refused: {good}; {wrong}")
    sys.exit(bool(bad))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes with bits flipped, a block zeroed, cut, repeated or drawn again, or the end lost."""
    if not data:
        return b"\0"
    out, at = bytearray(data), int(rng.integers(len(data)))
    size = int(rng.integers(1, 65))
    how = rng.integers(6)
    if how == 0:
        for place in rng.integers(len(out), size=size):
            out[place] ^= 1 << int(rng.integers(8))
    elif how == 1:
        out[at : at + size] = bytes(len(out[at : at + size]))
    elif how == 2:
        del out[at : at + size]
    elif how == 3:
        out[at:at] = out[at : at + size]
    elif how == 4:
        out[at : at + size] = rng.bytes(len(out[at : at + size]))
    else:
        del out[at:]
    return bytes(out)


def read(path: Path) -> int:
    """How a dataset is read: as it was written, with a note, refused, or with another total."""
    try:
        found = open_demonstrations(path)
        frames = sum(len(frames.action) for frames in found.read())
    except Unreadable as error:
        print(error)
        return REFUSED
    whole = (frames, found.frames, found.episodes) == (sum(LENGTHS), sum(LENGTHS), len(LENGTHS))
    print(f"{frames} frames read, {found.frames} and {found.episodes} episodes told, {found.notes}")
    return NOTED if found.notes else (0 if whole else OTHER)


def kind(end: End) -> str:
    """What came of one file."""
    if end.mebibytes > 1024:
        return "beyond 1 GiB"
    if end.status < 0:
        return "hangs" if end.hangs else "crashes"
    return {0: "as written", NOTED: "noted", REFUSED: "refused", OTHER: "wrong totals"}.get(end.status, "tracebacks")


def _read(original: Path, folder: Path, rng: np.random.Generator) -> tuple[End, str]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    copy = folder / original.name
    shutil.copytree(original, copy) if original.is_dir() else shutil.copy(original, copy)
    files = sorted(part for part in (copy.rglob("*") if copy.is_dir() else [copy]) if part.is_file())
    file = files[int(rng.integers(len(files)))]
    file.write_bytes(mutated(file.read_bytes(), rng))
    return apart(lambda: read(copy)), str(file.relative_to(folder))


if __name__ == "__main__":
    main()
