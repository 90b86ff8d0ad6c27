"""What a user says of domains and shares, brought to one form: labels, names, one share per domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .._core.checks import check_share

Ratio: TypeAlias = "float | Mapping[str, float]"
Domain: TypeAlias = "Tensor | NDArray[Any] | Sequence[Any]"


def labels_and_names(
    domain: Domain, domains: Sequence[str] | None = None, target: str = "target"
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Each entry's position among the names, and the names; a mask alone reads (source, target)."""
    given = domain.detach().cpu().numpy() if isinstance(domain, Tensor) else np.asarray(domain)
    if given.ndim != 1:
        raise ValueError(f"domain has one entry per sample, shape (samples,), got {given.shape}. Flatten it.")
    if given.dtype == bool:
        return _from_mask(given, domains, target)
    if given.dtype.kind in "UO":
        return _from_names(given.astype(str), domains)
    if given.dtype.kind not in "iu" or domains is None:
        raise TypeError(
            f"domain is a bool mask (True = target), names, or integers with domains=(...), got {given.dtype} with "
            f"domains={domains!r}. For integer labels name them: domains=('real', 'sim_a', 'sim_b')."
        )
    if len(given) and not 0 <= given.min() <= given.max() < len(domains):
        raise ValueError(
            f"integer labels index domains={tuple(domains)} and lie in [0, {len(domains) - 1}], got values from "
            f"{given.min()} to {given.max()}. Name every domain that occurs."
        )
    return given, tuple(domains)


def shares(
    what: str, value: Ratio, names: Sequence[str], *, target: str = "target", sizes: Sequence[int] | None = None
) -> list[float]:
    """One share per domain, summing to 1; several sources split what the target leaves by their sizes."""
    if isinstance(value, Mapping):
        return _named(what, value, names)
    check_share(what, value)
    if target not in names or (sizes is None and len(names) != 2):
        raise ValueError(
            f"one number for {what} is the share of the target, got domains {tuple(names)} and target={target!r}. "
            f"Name the target, target={names[0]!r}, or give a mapping: {what}={{name: share, ...}}."
        )
    others = [0 if name == target else n for name, n in zip(names, sizes or [1] * len(names), strict=True)]
    if sum(others) == 0:  # the sources are all empty: equal parts, so that drawing them is refused by name
        others = [int(name != target) for name in names]
    return [value if name == target else (1 - value) * n / sum(others) for name, n in zip(names, others, strict=True)]


def check_drawn(sizes: Mapping[str, int], share: Mapping[str, float]) -> None:
    """Whatever is drawn has samples."""
    for name, n in sizes.items():
        if n == 0 and share[name] > 0:
            raise ValueError(
                f"a domain that is drawn has samples, got {name!r} with none and share {share[name]:g}. "
                f"Check the mask or labels (True = target), or set its share to 0; sizes: {dict(sizes)}."
            )


def _from_mask(mask: NDArray[Any], domains: Sequence[str] | None, target: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    names = ("source", "target") if domains is None else tuple(domains)
    if len(names) != 2 or target not in names:
        raise TypeError(
            f"a bool mask tells target from source, got one with domains {names} and target={target!r}. "
            "Label the samples with integers or names, or name two domains and which is the target."
        )
    return (mask if names[1] == target else ~mask).astype(np.int8), names


def _from_names(given: NDArray[Any], domains: Sequence[str] | None) -> tuple[NDArray[Any], tuple[str, ...]]:
    found, labels = np.unique(given, return_inverse=True)
    names = tuple(found.tolist()) if domains is None else tuple(domains)
    if unknown := sorted(set(found.tolist()) - set(names)):
        raise ValueError(f"domain is one of {names}, got {unknown}. Name every domain that occurs.")
    return np.array([names.index(name) for name in found.tolist()], dtype=np.int64)[labels], names


def _named(what: str, value: Mapping[str, float], names: Sequence[str]) -> list[float]:
    if set(value) != set(names):
        missing, unknown = sorted(set(names) - set(value)), sorted(set(value) - set(names))
        raise ValueError(
            f"{what} names every domain once, got {dict(value)} for domains {tuple(names)} "
            f"(missing: {missing}, unknown: {unknown}). Write 0.0 for a domain to leave out."
        )
    found = [check_share(f"{what}[{name!r}]", value[name]) for name in names]
    if not math.isclose(math.fsum(found), 1.0, abs_tol=1e-6):
        raise ValueError(
            f"the shares of {what} sum to 1, got {math.fsum(found):g} from {dict(value)}. Divide each by the sum."
        )
    return [share / math.fsum(found) for share in found]
