"""Times the libraries that one interpreter has, interleaved; run by `processes`, one JSON line per row on stdout.

    {"libraries": [...], "losses": [...], "sizes": [...], "widths": [...], "repeats": 31, "seed": 0, "device": "cpu"}

One thread, CPU time of the process, medians; on a GPU the time until the device is idle again.  A call's first run is
not counted (compilation, allocation).
"""

from __future__ import annotations

import gc
import json
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .definitions import right
from .libraries import LIBRARIES, floor
from .problems import EPS, Array, seconds, sides

DEFINED = ("balanced", "unbalanced", "divergence")
"""losses whose definition all libraries share and whose float64 gradient is quick to find"""
SLOW = 4.0  # seconds of CPU after which a call is not repeated more than twice


def main(task: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    if task["device"] != "cpu" and (reason := _no_device(task["device"])):
        _print(peer=task["device"], status=reason)
        return
    calls, failed = _calls(task["libraries"])
    for name, reason in failed.items():
        _print(peer=name, status=reason)
    for loss in task["losses"]:
        for d in task["widths"]:
            for n in task["sizes"] if loss in calls else []:
                for row in _compare(loss, calls[loss], n, d, task):
                    _print(loss=loss, n=n, d=d, **row)


def _no_device(device: str) -> str | None:
    import torch

    return None if torch.cuda.is_available() else f"not run: torch {torch.__version__} finds no {device} device"


def _calls(names: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The calls of the libraries that can be imported, and why the others cannot."""
    calls: dict[str, dict[str, Any]] = {}
    failed = {}
    for name in names:
        try:
            for loss, entries in LIBRARIES[name]().items():
                calls.setdefault(loss, {}).update(entries)
        except Exception as error:  # whatever another library raises is a row, not an end
            failed[name] = f"not run: {type(error).__name__}: {error}".splitlines()[0]
    return calls, failed


def _compare(loss: str, calls: dict[str, Any], n: int, d: int, task: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per library: median CPU time and the error of its gradient."""
    x, y = sides(n, d, task["seed"])
    expected, device = right(loss, x, y, EPS)[1] if loss in DEFINED else None, task["device"]
    runs = {name: _prepared(name, call, x, y, device) for name, call in calls.items()}
    if "ours" in task["libraries"] and loss != "exact":
        runs["floor"] = _floor(loss, x, y, device)
    rows: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        try:
            gradient = run()
            rows[name] = {"peer": name, "status": "ok", "gradient_error": _error(gradient, expected)}
        except Exception as error:
            rows[name] = {"peer": name, "status": f"failed: {type(error).__name__}: {error}".splitlines()[0]}
    repeats = max(5, min(task["repeats"], task["repeats"] * 128 // n))
    gc.collect()
    gc.disable()  # a collection would fall on whoever happens to run
    for _ in range(repeats):
        for name in [name for name, row in rows.items() if row["status"] == "ok"]:
            if not (len(times[name]) >= 2 and statistics.median(times[name]) > SLOW):
                times[name].append(seconds(runs[name], device))
    gc.enable()
    return [row | _summary(times[name]) for name, row in rows.items()]


def _floor(loss: str, x: Array, y: Array, device: str) -> Callable[[], None]:
    if device == "cpu":
        return lambda: floor(loss, x, y)
    import torch

    at = [torch.from_numpy(side).to(device) for side in (x, y)]
    return lambda: floor(loss, *at)


def _prepared(name: str, call: Callable[..., Any], x: Array, y: Array, device: str) -> Callable[[], Any]:
    """One run, forward and backward: returns the gradient at x."""
    if "JAX" in name:
        import jax.numpy as jnp

        at = jnp.asarray(x), jnp.asarray(y)
        return lambda: np.asarray(call(*at)[1][0])
    import torch

    torch.set_num_threads(1)
    left, right = (torch.from_numpy(side.copy()).to(device).requires_grad_() for side in (x, y))

    def run() -> Any:
        left.grad = right.grad = None
        call(left, right).backward()
        return left.grad

    return run


def _error(gradient: Any, expected: Array | None) -> float | None:
    if expected is None or gradient is None:
        return None
    array = gradient if isinstance(gradient, np.ndarray) else gradient.cpu().numpy()
    return float(np.linalg.norm(array - expected) / np.linalg.norm(expected))


def _summary(times: list[float]) -> dict[str, Any]:
    if not times:
        return {}
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75]) * 1e3
    return {"ms": float(middle), "ms_low": float(low), "ms_high": float(high), "repeats": len(times)}


def _print(**row: Any) -> None:
    print(json.dumps(row), flush=True)
