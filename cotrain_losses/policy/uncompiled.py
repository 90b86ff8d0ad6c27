"""Functions that torch.compile leaves out of its graphs.

torch.compiler.disable loads the compiler, 2 CPU seconds at import, so it is applied once a program has loaded that.
"""

from __future__ import annotations

import sys
from typing import Any

import torch


class Uncompiled:
    """A method that is left out of compiled graphs, with all that it calls or (not recursive) alone."""

    def __init__(self, owner: Any, name: str, *, recursive: bool = True) -> None:
        self.owner, self.name, self.recursive = owner, name, recursive
        self.call, self.left_out = getattr(owner, name), False
        self.leave_out()

    def leave_out(self) -> None:
        """Take it out of graphs from now on, if the compiler is loaded."""
        if not self.left_out and "torch._dynamo" in sys.modules:
            self.left_out = True
            self.call = torch.compiler.disable(self.call, recursive=self.recursive)  # type: ignore[no-untyped-call]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)
