"""One layer diagnosed: alignment, discernibility, regime; what cannot be measured is said and the rest kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch

from .alignment import (
    Estimate,
    Squared,
    estimate,
    pooled_spread,
    spread,
    squared_gromov,
    squared_mmd,
    squared_sinkhorn,
    squared_sliced,
    squared_wasserstein,
)
from .discernibility import Reading, probe_accuracy
from .neighbours import KernelTest, kernel_test, neighbour_mixing
from .regime import Regime, regime, relative_distance
from .sides import Side, replicates

T = TypeVar("T")


@dataclass
class Diagnosis:
    """What was measured of one layer; a part that could not be is absent, and `notes` says why."""

    source_rows: int
    target_rows: int
    distances: dict[str, Estimate] = field(default_factory=dict)
    mixing: float | None = None
    kernel: KernelTest | None = None
    probe: Reading | None = None
    linear_probe: Reading | None = None
    regime: Regime | None = None
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """{"alignment": {...}, "discernibility": {...}, "regime": ...} in plain numbers, ready for JSON."""
        alignment: dict[str, Any] = {name: each.value for name, each in self.distances.items()}
        alignment |= {f"{name}_multiple": _finite(each.multiple) for name, each in self.distances.items()}
        if self.regime is not None:
            alignment["relative_distance"] = list(self.regime.distance)
        alignment |= {} if self.mixing is None else {"neighbour_mixing": self.mixing}
        alignment |= {} if self.kernel is None else {"mmd2": self.kernel.mmd2, "mmd_p_value": self.kernel.p_value}
        alignment["estimates"] = {name: _plain(each.as_dict()) for name, each in self.distances.items()}
        discernibility = {} if self.probe is None else self.probe.as_dict()
        if self.linear_probe is not None:
            discernibility["linear"] = self.linear_probe.as_dict()
        found: dict[str, Any] = {"alignment": alignment, "discernibility": discernibility}
        found["regime"] = None if self.regime is None else self.regime.name
        if self.regime is not None:
            found |= {"between": list(self.regime.between), "because": self.regime.because}
            found |= {"found": self.regime.found, "next": self.regime.next}
        return {**found, "rows": {"source": self.source_rows, "target": self.target_rows}, "notes": self.notes}


def diagnosis(
    source: Any,
    target: Any,
    *,
    source_groups: Any = None,
    target_groups: Any = None,
    rows: int = 1024,
    repeats: int = 5,
    neighbours: int = 10,
    seed: int = 0,
) -> Diagnosis:
    """Alignment, discernibility and regime of one layer.

    Args:
        source: features (n, d) of the source domain, a tensor or array; (n, ...) is folded to (n, d).
        target: features (m, d) of the target domain.
        source_groups: (n,) the episode of each row, numbers or names.  Without, rows count as independent, which
            frames of one episode are not: distances and intervals then look more certain than they are.
        target_groups: (m,) likewise.
        rows: distances are measured between halves of at most this many rows.
        repeats: halvings that distances are averaged over.
        neighbours: how many nearest rows neighbour mixing looks at.
        seed: of every random draw.

    Different widths leave Gromov-Wasserstein alone, with a note.

    Raises:
        ValueError, TypeError: features that are not finite real numbers, or fewer than two rows.
    """
    s, t = Side.of("source", source, source_groups), Side.of("target", target, target_groups)
    found = Diagnosis(len(s), len(t))
    _note_groups(found, s, t)
    unit = pooled_spread(s.features, t.features)
    if unit <= 1e-12 * max(float(s.features.abs().max()), float(t.features.abs().max()), 1e-300):
        same = s.features.shape[1] == t.features.shape[1] and bool((s.features[0] == t.features[0]).all())
        raise ValueError(
            "distances are relative to how features vary, got constant features in both domains "
            f"({'the same' if same else 'different'} values): this layer is dead, or its output was never written."
        )
    for name, side in (("source", s), ("target", t)):
        if spread(side.features) <= 1e-9 * unit:
            found.notes.append(f"features of the {name} are constant: the layer has collapsed on that domain.")
    if s.features.shape[1] != t.features.shape[1]:
        return _other_widths(found, s, t, repeats, seed)
    return _same_width(found, s, t, unit, rows, repeats, neighbours, seed)


def _same_width(
    found: Diagnosis, s: Side, t: Side, unit: float, rows: int, repeats: int, neighbours: int, seed: int
) -> Diagnosis:
    drawn = list(replicates(s, t, rows=rows, repeats=repeats, seed=seed))
    kernel = found.kernel = _kept(found, "MMD", partial(kernel_test, s, t, rows=rows, seed=seed))
    measures: dict[str, tuple[Squared, float]] = {
        "wasserstein": (squared_wasserstein, unit),
        "sinkhorn": (partial(squared_sinkhorn, blur=0.5 * unit), unit),
        "sliced_wasserstein": (squared_sliced, unit),
        "gromov_wasserstein": (squared_gromov, unit),  # the slowest: few rows, see there
    }
    if kernel is not None:
        total = torch.cat([s.features, t.features])
        measures["mmd"] = (partial(squared_mmd, bandwidth=kernel.bandwidth * spread(total)), 1.0)
    for name, (measure, scale) in measures.items():
        value = _kept(found, name, partial(estimate, measure, drawn, unit=scale))
        if value is not None:
            found.distances[name] = value
    found.mixing = _kept(found, "neighbour mixing", partial(neighbour_mixing, s, t, neighbours=neighbours, seed=seed))
    found.probe = _kept(found, "the probe", partial(probe_accuracy, s, t, seed=seed))
    found.linear_probe = _kept(found, "the linear probe", partial(probe_accuracy, s, t, hidden=None, seed=seed))
    if found.probe is not None and "wasserstein" in found.distances:
        distance = relative_distance(found.distances["wasserstein"], unit, spread(t.features))
        found.regime = regime(distance, found.probe)
    return found


def _other_widths(found: Diagnosis, s: Side, t: Side, repeats: int, seed: int) -> Diagnosis:
    found.notes.append(
        f"features of one width are compared point by point, got widths {s.features.shape[1]} (source) and "
        f"{t.features.shape[1]} (target): only Gromov-Wasserstein, which compares geometries, was measured. "
        "Take both domains from the same layer for the rest."
    )
    drawn = list(replicates(s, t, rows=128, repeats=repeats, seed=seed))
    unit = pooled_spread(s.features, t.features)
    value = _kept(found, "gromov_wasserstein", partial(estimate, squared_gromov, drawn, unit=unit))
    if value is not None:
        found.distances["gromov_wasserstein"] = value
    return found


def _note_groups(found: Diagnosis, s: Side, t: Side) -> None:
    for name, side in (("source", s), ("target", t)):
        if not side.grouped:
            found.notes.append(
                f"no groups for the {name}: frames of one episode may be on both sides of every split, so distances "
                "look larger against split halves and intervals narrower than they are."
            )
        elif side.episodes < 3:
            found.notes.append(
                f"the {name} comes in {side.episodes} episode{'s' * (side.episodes > 1)}: too few to hold any out, so "
                "its rows were split instead. What is said holds for these episodes, not for the domain."
            )


def _kept(found: Diagnosis, name: str, measure: Callable[[], T]) -> T | None:
    try:
        return measure()
    except (ValueError, RuntimeError, ArithmeticError) as problem:
        found.notes.append(f"{name} was not measured: {problem}")
        return None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _finite(v) if isinstance(v, float) else v for name, v in values.items()}
