"""How long a job takes.  Other libraries' interpreters run this too, so it imports nothing but what they have."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def seconds(job: Callable[[], Any], device: str) -> float:
    """CPU time of the process; on a GPU the time from an idle device to an idle device."""
    if device == "cpu":
        started = time.process_time()
        job()
        return time.process_time() - started
    import torch

    torch.cuda.synchronize()
    started = time.perf_counter()
    job()
    torch.cuda.synchronize()
    return time.perf_counter() - started
