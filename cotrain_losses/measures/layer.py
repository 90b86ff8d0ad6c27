"""One layer diagnosed: alignment, discernibility, regime; what cannot be measured is noted and the rest kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch

from .alignment import Estimate, Squared, estimate, spread, squared_gromov, squared_measures
from .coverage import Uncovered, uncovered
from .discernibility import ProbeReading, probe_accuracy
from .neighbours import KernelTest, kernel_test, neighbour_mixing
from .regime import Regime, collapsed, regime, relative_distance
from .sides import Replicate, Side, in_units, replicates

T = TypeVar("T")


@dataclass
class Diagnosis:
    """What was measured of one layer; a part that could not be is absent, and `notes` says why.

    >>> notes = ["fewer than two target rows"]
    >>> Diagnosis(source_rows=120, target_rows=60, notes=notes).regime is None
    True
    """

    source_rows: int
    target_rows: int
    distances: dict[str, Estimate] = field(default_factory=dict)
    mixing: float | None = None
    kernel: KernelTest | None = None
    probe: ProbeReading | None = None
    linear_probe: ProbeReading | None = None
    regime: Regime | None = None
    uncovered: Uncovered | None = None
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """{"alignment": {...}, "discernibility": {...}, "regime": ...} in plain numbers, ready for JSON."""
        alignment: dict[str, Any] = {name: each.value for name, each in self.distances.items()}
        alignment |= {f"{name}_multiple": _finite(each.multiple) for name, each in self.distances.items()}
        if self.regime is not None:
            alignment["relative_distance"] = [_finite(u) for u in self.regime.distance]
        alignment |= {} if self.mixing is None else {"neighbour_mixing": self.mixing}
        alignment |= {} if self.kernel is None else {"mmd2": self.kernel.mmd2, "mmd_p_value": self.kernel.p_value}
        plain = {name: each.as_dict().items() for name, each in self.distances.items()}
        alignment["estimates"] = {name: {part: _finite(x) for part, x in parts} for name, parts in plain.items()}
        discernibility = {} if self.probe is None else self.probe.as_dict()
        if self.linear_probe is not None:
            discernibility["linear"] = self.linear_probe.as_dict()
        result: dict[str, Any] = {"alignment": alignment, "discernibility": discernibility}
        result["regime"] = None if self.regime is None else self.regime.name
        if self.regime is not None:
            result |= {"between": list(self.regime.between), "because": self.regime.because}
            result |= {"found": self.regime.found, "next": self.regime.next}
        if self.uncovered is not None:
            result["uncovered"] = {"share": self.uncovered.share, "episodes": self.uncovered.episodes}
        return {**result, "rows": {"source": self.source_rows, "target": self.target_rows}, "notes": self.notes}


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
        source, target: features (n, d) and (m, d), tensors or arrays; (n, ...) is folded to (n, d).
        source_groups, target_groups: (n,), (m,) the episode of each row, numbers or names.  Without, rows count as
            independent, which frames of one episode are not: intervals then look more certain than they are.
        rows, repeats: distances are averaged over `repeats` halvings, between halves of at most `rows` rows.
        neighbours: how many nearest rows neighbour mixing looks at.

    Both sides are first brought to units of their pooled spread, so that neither a shift nor a scale (1e-300 to 1e300)
    changes what is measured.  Different widths leave Gromov-Wasserstein alone, with a note.  A layer that is
    constant in both domains has the regime "collapsed" and nothing else.  Raises ValueError or TypeError on features
    that are not finite real numbers, or of fewer than two rows, and on counts that are too small.
    """
    for name, value, least in (("rows", rows, 2), ("repeats", repeats, 1), ("neighbours", neighbours, 1)):
        if value < least:
            raise ValueError(f"{name} counts from {least}, got {value}.")
    s, t = Side.of("source", source, source_groups), Side.of("target", target, target_groups)
    result, scaled = Diagnosis(len(s), len(t)), in_units(s, t)
    if scaled is None:
        result.regime = collapsed(torch.equal(s.features[0], t.features[0]))
        return result
    s, t = scaled
    _note_sides(result, s, t)
    if s.features.shape[1] == t.features.shape[1]:
        _compare(result, s, t, rows=rows, repeats=repeats, neighbours=neighbours, seed=seed)
    else:
        halvings = list(replicates(s, t, rows=128, repeats=repeats, seed=seed))
        _measure(result, {"gromov_wasserstein": (squared_gromov, 1.0)}, halvings)
    if result.probe is not None and "wasserstein" in result.distances:
        distance = relative_distance(result.distances["wasserstein"], 1.0, spread(t.features))
        result.regime = regime(distance, result.probe)
    _note_coverage(result)
    return result


def _compare(result: Diagnosis, s: Side, t: Side, *, rows: int, repeats: int, neighbours: int, seed: int) -> None:
    """Everything that compares points of one width."""
    kernel = result.kernel = _noted(result, "MMD", partial(kernel_test, s, t, rows=rows, seed=seed))
    total = spread(torch.cat([s.features, t.features]))
    measures = squared_measures(1.0, None if kernel is None else kernel.bandwidth * total)
    _measure(result, measures, list(replicates(s, t, rows=rows, repeats=repeats, seed=seed)))
    mixing = partial(neighbour_mixing, s, t, neighbours=neighbours, seed=seed)
    result.mixing = _noted(result, "neighbour mixing", mixing)
    result.uncovered = _noted(result, "coverage", partial(uncovered, s, t, seed=seed))
    result.probe = _noted(result, "the probe", partial(probe_accuracy, s, t, seed=seed))
    result.linear_probe = _noted(result, "the linear probe", partial(probe_accuracy, s, t, hidden=None, seed=seed))


def _measure(result: Diagnosis, measures: dict[str, tuple[Squared, float]], halvings: list[Replicate]) -> None:
    for name, (measure, unit) in measures.items():
        value = _noted(result, name, partial(estimate, measure, halvings, unit=unit))
        if value is not None:
            result.distances[name] = value


def _note_coverage(result: Diagnosis) -> None:
    """Which part of the source the target has no rows near, where the layer as a whole does not keep them apart."""
    found, apart = result.uncovered, result.regime is not None and result.regime.name == "disjoint"
    if found is not None and found.certain and not apart:
        result.notes.append(
            f"{found.share:.0%} of the source's rows, and most of the rows of {found.episodes:.0%} of its episodes, "
            "lie where the target has none: there the policy knows the target through the source alone. Count success "
            "there apart, or collect target data there."
        )


def _note_sides(result: Diagnosis, s: Side, t: Side) -> None:
    """What the sides leave unmeasured or uncertain."""
    for name, side in (("source", s), ("target", t)):
        if not side.grouped:
            result.notes.append(
                f"no groups for the {name}: frames of one episode may be on both sides of every split, so distances "
                "look larger against split halves and intervals narrower than they are."
            )
        elif side.episodes < 3:
            result.notes.append(
                f"the {name} comes in {side.episodes} episode{'s' * (side.episodes > 1)}: too few to hold any out, so "
                "its rows were split instead. The result holds for these episodes, not for the domain."
            )
        if spread(side.features) <= 1e-9:
            result.notes.append(f"features of the {name} are constant: the layer has collapsed on that domain.")
    if s.features.shape[1] != t.features.shape[1]:
        result.notes.append(
            f"features of one width are compared point by point, got widths {s.features.shape[1]} (source) and "
            f"{t.features.shape[1]} (target): only Gromov-Wasserstein, which compares geometries, was measured. "
            "Take both domains from the same layer for the rest."
        )


def _noted(result: Diagnosis, name: str, measure: Callable[[], T]) -> T | None:
    try:
        return measure()
    except (ValueError, RuntimeError, ArithmeticError) as problem:
        result.notes.append(f"{name} was not measured: {problem}")
        return None


def _finite(value: T) -> T | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
