"""Who is computing a cell: a lease beside its result, renewed while its owner lives and free when that one died.

    held     its owner lives: the process, on the same machine; elsewhere a lease that was renewed lately
    free     anything else: the next worker takes it

A lease only saves work.  Results are written whole and are the same whoever computes them, so where a job is suspended
for longer than LEASE, or a file system hides renewals, two workers compute one cell: its time is lost and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from .results import CannotContinue, unwritten

BEAT, LEASE = 30.0, 120.0
"""seconds between two renewals of a lease, and after which one that was not renewed is free"""


class Claim:
    """A cell's lease as one worker sees it.

    Keep it while you wait for a cell: on another machine an owner is dead when this object has seen no renewal for
    LEASE seconds.
    """

    def __init__(self, result: Path) -> None:
        self.path = result.with_suffix(".claim")
        self._lease = SoftFileLease(self.path, lease_duration=LEASE, heartbeat_interval=BEAT)

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Holds the lease for as long as the context lasts; False where somebody else holds it.

        Raises:
            CannotContinue: when the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lease.acquire(blocking=False)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise CannotContinue(unwritten(self.path, error)) from error
        try:
            yield True
        finally:
            self._lease.release()

    def held(self) -> bool:
        """Whether another living worker holds the lease."""
        if not self.path.exists():
            return False
        with self.taken() as free:
            return not free
