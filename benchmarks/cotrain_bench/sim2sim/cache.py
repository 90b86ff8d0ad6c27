"""Arrays on disk that are named by all that determines them; `COTRAIN_CACHE` moves the folder."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..results import write


def cache_folder() -> Path:
    """$COTRAIN_CACHE, else the user's cache folder."""
    base = os.environ.get("COTRAIN_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "cotrain_losses"


def read_arrays(
    path: Path, shapes: Callable[[Mapping[str, Any]], Mapping[str, tuple[int, ...]]], report: Callable[[str], None]
) -> dict[str, Any] | None:
    """The arrays of a file, or None where there is none or it is damaged, which is reported.

    Args:
        shapes: what shapes arrays have to have, which may depend on others.
    """
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            arrays = dict(file)
        if all(arrays[name].shape == shape for name, shape in shapes(arrays).items()):
            return arrays
    except Exception:  # zipfile, zlib, numpy and the disk each have errors of their own for a damaged file
        pass
    report(f"{path} is damaged and not used; its demonstrations are made again.")
    return None


def write_arrays(path: Path, **arrays: Any) -> None:
    """Keep arrays, whole or not at all.

    Raises:
        CannotContinue: when the cache cannot be written.
    """
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write(path, file.getvalue())
