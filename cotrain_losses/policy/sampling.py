"""What actions are sampled from: the policy, averaged copies it keeps, or a copy beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from .passes import Guided
from .paths import exists, unwrapped
from .tap import Tap


@contextmanager
def driven(guided: Guided, tap: Tap, policy: Any, other: Any = None) -> Iterator[None]:
    """Let `guided` act in the policy that `tap` is on, or in another of its kind, while the block runs."""
    own = other is None or unwrapped(other) is unwrapped(policy)
    sampled, seam = policy if own else other, tap.seam
    averaged = [replace(seam, head=path, copies=()) for path in seam.copies if exists(sampled, path)]
    with ExitStack() as stack:
        if own:
            stack.enter_context(tap.use(guided))
        for place in averaged if own else [seam, *averaged]:
            passing = place.tap(sampled)
            stack.callback(passing.remove)
            stack.enter_context(passing.use(guided))
        yield
