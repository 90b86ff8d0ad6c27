"""A training script that builds its own policy, taken as it is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def after(owner: Any, name: str, then: Callable[..., Any], *, optional: bool = False) -> Iterator[None]:
    """While the block runs, whatever a call of `owner.name` returns goes to `then(returned, *args, **kwargs)` first.

    `owner` is the module in which the script looks the name up: a factory of policies, so that `then` attaches a method
    to each, or a function that saves, so that `then` saves more.

    Raises RuntimeError when the block ends and nothing has called it, unless that is `optional`.

    >>> import math
    >>> with after(math, "sqrt", lambda returned, x: print("returned", returned)):
    ...     root = math.sqrt(4.0)
    returned 2.0
    """
    original, own, calls = getattr(owner, name), vars(owner).get(name), 0

    @functools.wraps(original, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        returned = original(*args, **kwargs)
        then(returned, *args, **kwargs)
        return returned

    setattr(owner, name, call)
    try:
        yield
    finally:
        delattr(owner, name) if own is None else setattr(owner, name, own)
    if not calls and not optional:
        raise RuntimeError(
            f"a script within after() calls {name}, got none of {getattr(owner, '__name__', owner)}. Name the module "
            "in which the script looks it up: after `from robomimic.algo import algo_factory`, the script's own."
        )
