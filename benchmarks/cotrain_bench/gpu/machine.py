"""The device that figures are taken on: how long a call takes there, what it launches, waits for and holds."""

from __future__ import annotations

import statistics
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from .held import Held

Row = dict[str, Any]
OURS = "cotrain_losses"


class NotHere(RuntimeError):
    """What cannot be measured on this machine, and why."""


@dataclass
class Machine:
    """A device, how large the problems may be, and how long the part may still take."""

    device: str
    tiny: bool = False
    limit: float = 60.0
    started: float = field(default_factory=time.monotonic)

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    def left(self) -> float:
        """Seconds that this part may still take."""
        return self.limit - (time.monotonic() - self.started)

    def idle(self) -> None:
        """Wait until the device is idle."""
        if self.cuda:
            torch.cuda.synchronize()

    def milliseconds(self, call: Callable[[], Any], calls: int = 10, rounds: int = 5) -> float:
        """Wall time of one of several calls back to back: the median over rounds, after two calls that do not count."""
        calls, rounds = (1, 2) if self.tiny else (calls, rounds)
        times: list[float] = []
        for _ in range(2):
            call()
        start = time.perf_counter()
        while len(times) < rounds and (not times or time.perf_counter() - start < 1.0):
            self.idle()
            began = time.perf_counter()
            for _ in range(calls):
                call()
            self.idle()
            times.append(1e3 * (time.perf_counter() - began) / calls)
        return statistics.median(times)

    def kernels(self, call: Callable[[], Any]) -> int:
        """How many kernels one call launches."""
        if not self.cuda:
            raise NotHere("kernels are launched on a GPU only")
        from torch.profiler import ProfilerActivity, profile

        for _ in range(3):
            call()
        self.idle()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
            call()
            self.idle()
        on_device = [e.name for e in record.events() if str(e.device_type).endswith("CUDA")]
        return sum(not name.startswith(("Memcpy", "Memset")) for name in on_device)

    @contextmanager
    def waits(self) -> Iterator[dict[str, int]]:
        """Counts the calls that wait for the device while the block runs, by the line of this library."""
        if not self.cuda:
            raise NotHere("torch.cuda.set_sync_debug_mode needs a GPU")
        found: dict[str, int] = {}

        def told(message: Any, *_: Any, **__: Any) -> None:
            if "called a synchronizing" in str(message):
                frames = [f for f in traceback.extract_stack() if f"/{OURS}/" in f.filename] or [
                    traceback.extract_stack()[-3]
                ]
                place = f"{frames[-1].filename.split(f'/{OURS}/')[-1]}:{frames[-1].lineno}"
                found[place] = found.get(place, 0) + 1

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = told
            self.idle()
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield found
            finally:
                torch.cuda.set_sync_debug_mode("default")

    def peak(self, call: Callable[[], Any]) -> int:
        """Bytes that a call holds at its peak beyond what was held before it: of the allocator, else by counting."""
        if not self.cuda:
            held = Held()
            with held:
                call()
            return held.most
        call()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        self.idle()
        return int(torch.cuda.max_memory_allocated() - before)

    def tried(self, what: str, measure: Callable[[], Row]) -> Row:
        """The row that a measurement gives, or one that says why there is none."""
        if self.left() <= 0:
            return {"what": what, "status": f"not run: the part's {self.limit:.0f} s are used up"}
        try:
            return {"what": what, "status": "ok", **measure()}
        except NotHere as why:
            return {"what": what, "status": f"not run: {why}"}
        except Exception as error:  # whatever a library raises is a row, not an end
            lines = str(error).splitlines() or [""]
            at = [f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
            return {"what": what, "status": f"failed: {type(error).__name__}: {lines[0]}", "at": at[-3:]}
