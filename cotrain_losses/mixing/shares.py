"""Shares of domains, brought to one form: one number per domain, summing to 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import SupportsFloat, TypeAlias

from .._core.checks import check_share

Ratio: TypeAlias = "SupportsFloat | Mapping[str, float]"


def shares(
    what: str, value: Ratio, names: Sequence[str], *, target: str = "target", sizes: Sequence[int] | None = None
) -> list[float]:
    """One share per domain, summing to 1; several sources split what the target leaves by their sizes."""
    if isinstance(value, Mapping):
        return _named(what, value, names)
    share = check_share(what, value)
    if target not in names or (sizes is None and len(names) != 2):
        raise ValueError(
            f"one number for {what} is the share of the target, got domains {tuple(names)} and target={target!r}. "
            f"Name the target, target={names[0]!r}, or give a mapping: {what}={{name: share, ...}}."
        )
    others = [0 if name == target else n for name, n in zip(names, sizes or [1] * len(names), strict=True)]
    if sum(others) == 0:  # the sources are all empty: equal parts, so that drawing them is refused by name
        others = [int(name != target) for name in names]
    return [share if name == target else (1 - share) * n / sum(others) for name, n in zip(names, others, strict=True)]


def factors(ratio: Ratio, share: Ratio, names: Sequence[str], *, target: str = "target") -> list[float]:
    """ratio_k / share_k of each domain: what its samples count, drawn at `share`, to train as if drawn at `ratio`."""
    wanted, sampled = (shares(what, x, names, target=target) for what, x in (("ratio", ratio), ("share", share)))
    for name, w, s in zip(names, wanted, sampled, strict=True):
        if w > 0 and s == 0:
            raise ValueError(
                f"weights scale samples that are drawn, got share 0 and ratio {w:g} for {name!r}. "
                "Draw some of it (a share above 0), or set its ratio to 0."
            )
    return [w / s if s > 0 else 0.0 for w, s in zip(wanted, sampled, strict=True)]


def check_drawn(sizes: Mapping[str, int], share: Mapping[str, float]) -> None:
    """Whatever is drawn has samples."""
    for name, n in sizes.items():
        if n == 0 and share[name] > 0:
            raise ValueError(
                f"a domain that is drawn has samples, got {name!r} with none and share {share[name]:g}. "
                f"Check the mask or labels (True = target), or set its share to 0; sizes: {dict(sizes)}."
            )


def _named(what: str, value: Mapping[str, float], names: Sequence[str]) -> list[float]:
    if set(value) != set(names):
        missing, unknown = sorted(set(names) - set(value)), sorted(set(value) - set(names))
        raise ValueError(
            f"{what} names every domain once, got {dict(value)} for domains {tuple(names)} "
            f"(missing: {missing}, unknown: {unknown}). Write 0.0 for a domain to leave out."
        )
    checked = [check_share(f"{what}[{name!r}]", value[name]) for name in names]
    if not math.isclose(total := math.fsum(checked), 1.0, abs_tol=1e-6):
        raise ValueError(f"the shares of {what} sum to 1, got {total:g} from {dict(value)}. Divide each by the sum.")
    return [share / total for share in checked]
