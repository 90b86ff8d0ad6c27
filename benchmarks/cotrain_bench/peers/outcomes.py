"""What comes out of each library's call where such losses fail; run by `processes`, one JSON line per row on stdout.

    {"libraries": [...], "seed": 0}

A call is set against the definition of its loss in float64 on the same rows, or, where it is a loss that this project
has not, against itself in float64.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .definitions import Right, right
from .problems import EPS, Array, sides
from .tried import TRIED

WITHIN = 0.05  # of value and gradient: half precision itself costs one per cent


class Case(NamedTuple):
    """Rows x and y, the entropy, and the precision."""

    x: Array
    y: Array
    eps: float = EPS
    dtype: str = "float32"


def cases(seed: int) -> dict[str, Case]:
    """Rows of length about one, 64 on each side where nothing else is said."""
    x, y = sides(64, 16, seed)
    return {
        "base": Case(x, y),
        "n != m": Case(x, y[:48]),
        "eps 1e-3": Case(x, y, 1e-3),
        "cost x 1e4": Case(100 * x, 100 * y),
        "bfloat16": Case(x, y, dtype="bfloat16"),
        "float16": Case(x, y, dtype="float16"),
        "identical": Case(x, x),
        "n = m = 1": Case(x[:1], y[:1]),
        "one row twice": Case(x[:1], x[:1]),
        "n = 1, m = 24": Case(x[:1], y[:24]),
        "empty": Case(x[:0], y[:24]),
    }


def main(task: dict[str, Any]) -> None:
    """Print a row for every library, call and case."""
    warnings.simplefilter("ignore")
    for library in task["libraries"]:
        for case_name, case in cases(task["seed"]).items():
            try:
                calls = TRIED[library](case.eps)
            except Exception as error:  # whatever another library raises is a row, not an end
                print(json.dumps({"peer": library, "status": f"not run: {_named(error)}"}), flush=True)
                break
            for name, (loss, call) in calls.items():
                row = outcome(call, loss, case)
                print(json.dumps({"peer": library, "call": name, "case": case_name, **row}), flush=True)


def outcome(call: Callable[..., Any], loss: str | None, case: Case) -> dict[str, Any]:
    """What came out of one call, what is right, and whether the two agree."""
    try:
        value, gradient, x, y = _run(call, case.x, case.y, case.dtype)
    except Exception as error:
        return {"status": "error", "says": _named(error)}
    expected = right(loss, x, y, case.eps) if loss else _itself(call, x, y)
    beside = "definition" if loss else "itself"
    given = {"value": _plain(value), "right": expected and _plain(expected[0]), "beside": beside}
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        return {"status": _not_finite(value), **given}
    if loss is None and len(x) and not (gradient.any() or np.array_equal(x, y)):
        return {"status": "no gradient", **given}
    return {"status": "ok" if expected is None else verdict(value, gradient, expected, x), **given}


def verdict(value: float, gradient: Array, expected: Right, x: Array) -> str:
    """ok, or what is wrong in a few words; errors of a thousandth of a typical value or gradient are none."""
    wanted, slope = expected
    typical = float((x**2).sum()) / max(len(x), 1)
    off = float(np.linalg.norm(gradient - slope))
    if off > WITHIN * np.linalg.norm(slope) + 1e-3 * (typical / max(len(x), 1)) ** 0.5:
        if np.linalg.norm(gradient) < 1e-3 * np.linalg.norm(slope):
            return "no gradient"
        length = float(np.linalg.norm(slope))
        return f"gradient off by {off / length:.0%}" if length > 1e-6 * off else "gradient, where there is none"
    if abs(value - wanted) > WITHIN * abs(wanted) + 1e-4 * max(typical, 1.0):
        return "value off"
    return "ok"


def _run(call: Callable[..., Any], left: Array, right: Array, dtype: str) -> tuple[float, Array, Array, Array]:
    """Value, gradient at x, and the rows as they were after rounding to the precision."""
    import torch

    torch.set_num_threads(1)
    x, y = (torch.from_numpy(side.copy()).to(getattr(torch, dtype)).requires_grad_() for side in (left, right))
    value = call(x, y)
    value.backward()
    gradient = torch.zeros_like(x) if x.grad is None else x.grad
    return float(value.detach()), gradient.double().numpy(), x.detach().double().numpy(), y.detach().double().numpy()


def _itself(call: Callable[..., Any], x: Array, y: Array) -> Right | None:
    try:
        value, gradient, *_ = _run(call, x, y, "float64")
    except Exception:
        return None
    return (value, gradient) if np.isfinite(value) and np.isfinite(gradient).all() else None


def _not_finite(value: float) -> str:
    return "NaN gradient" if np.isfinite(value) else "NaN value" if np.isnan(value) else "infinite value"


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _named(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
