"""Sites: the calls of a policy at which a role acts, what is read there, and which sample owns each row.

call       a module, or any method of any part of the policy
argument   a path into the call's arguments          output     a path into what it returns
rows       side by side   s0 s0 s1 s1      k rows of a sample follow one another (steps, cameras)
           end to end     s0 s1 s0 s1      k whole batches follow one another, parts of the samples
           repeated       s0 s1 s0 s1      x.repeat(k, 1, 1): k copies of the batch, of which features are the first
           in turn        s0 s1 s2 | s3    each call of a step goes on where the one before ended
           rows(n, domain) -> (n,)         positions in the batch, for n rows and the (b,) domain labels
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from einops import rearrange
from torch import Tensor

from .._core.device import moved

RowRule: TypeAlias = str | Callable[[int, Tensor], Tensor]
"""which sample owns each row: "side by side", "end to end", "repeated", "in turn", or a function"""
WHOLE = ("side by side", "end to end", "repeated")
"""rules of calls that have the whole batch"""
RULES = (*WHOLE, "in turn")


@dataclass(frozen=True)
class Site:
    """One place of a policy.

    Args:
        call: dotted path of a module, or of any method: "model.unet", "model.predict_velocity".  A module whose
            `forward` is handed on is named with it: "net.forward".
        argument: name or position of one of its arguments, or a path into it: "states.state_images", "0.tokens".
        output: path into what it returns; None is the whole.
        rows: which sample owns each row there.

    >>> Site("net.forward", argument="states.image", rows="repeated").call
    'net.forward'
    """

    call: str
    argument: str | int | None = None
    output: str | int | None = None
    rows: RowRule = "side by side"

    def __post_init__(self) -> None:
        if not callable(self.rows) and self.rows not in RULES:
            raise ValueError(f"rows is {', '.join(map(repr, RULES))} or a function, got {self.rows!r}.")

    @property
    def place(self) -> str:
        """The site in words for an error."""
        if self.argument is not None:
            return f"{self.call}({self.argument})"
        return self.call if self.output is None else f"{self.call} -> {self.output}"


Places: TypeAlias = str | Site | tuple[str | Site, ...] | None
"""where a role acts: one site or several, each by its path alone or as a `Site`"""


def sites(places: Places, rows: RowRule, argument: str | int | None = None) -> tuple[Site, ...]:
    """Each place as a site; of a bare path the argument and the rows are those given."""
    if places is None:
        return ()
    each = places if isinstance(places, tuple) else (places,)
    return tuple([x if isinstance(x, Site) else Site(x, argument, rows=rows) for x in each])


class Owners(NamedTuple):
    """Which sample owns each row of one call."""

    site: Site
    domain: Tensor
    """(b,) labels of the samples"""
    start: int = 0
    """rows that earlier calls of the step had, where each goes on after the one before"""

    def of(self, values: Tensor, rows: int) -> Tensor:
        """(b, ...) a value for each sample -> (rows, ...) one for each row."""
        b, rule = len(values), self.site.rows
        if rows == b and not self.start and not callable(rule):
            return values
        if rule in WHOLE and b and rows and rows % b == 0:
            k = rows // b
            return values.repeat_interleave(k, 0) if rule == WHOLE[0] else values.repeat(k, *[1] * (values.ndim - 1))
        return values[moved(self.positions(rows), values.device)]

    def positions(self, rows: int) -> Tensor:
        """(rows,) the sample that each row belongs to, on the CPU."""
        b, rule = len(self.domain), self.site.rows
        if callable(rule):
            return self._given(torch.as_tensor(rule(rows, self.domain)), rows)
        if rule == "in turn":
            start = self.start % b if b else 0
            if start + rows > b:
                raise self._nobody(rows, f", {start} of which had their rows in earlier calls")
            return torch.arange(start, start + rows)
        if b == 0 or rows == 0 or rows % b:
            raise self._nobody(rows)
        every = torch.arange(b)
        return every.repeat_interleave(rows // b) if rule == "side by side" else every.repeat(rows // b)

    def _given(self, positions: Tensor, rows: int) -> Tensor:
        b, kind = len(self.domain), str(positions.dtype).removeprefix("torch.")
        whole = not (positions.is_floating_point() or positions.dtype == torch.bool)
        inside = not positions.numel() or 0 <= int(positions.min()) <= int(positions.max()) < b
        if positions.shape != (rows,) or not (whole and inside):
            ends = f" from {positions.min()} to {positions.max()}" if whole and positions.numel() else ""
            raise ValueError(
                f"rows(n, domain) gives each of n rows a position in the batch, shape ({rows},) from 0 to {b - 1}, got "
                f"{kind} {tuple(positions.shape)}{ends} at {self.site.place}. Count the samples as the labels do."
            )
        return positions.long()

    def _nobody(self, rows: int, more: str = "") -> ValueError:
        return ValueError(
            f"every row belongs to a sample, one row (or a whole number of rows) per sample, got {rows} rows at "
            f"{self.site.place} for {len(self.domain)} domain labels{more}. Pass a label for each sample, or say whose "
            "the rows are: Seam(rows='in turn') for a batch in parts, 'repeated' for copies, or a function."
        )


class Captured(NamedTuple):
    """Features that one call had."""

    z: Tensor
    owners: Owners
    repeats: bool
    """whether later calls have the same features again, as calls of a head in one step do"""


def learned(captured: Sequence[Captured]) -> Sequence[Captured]:
    """Without the calls under no_grad (a teacher, actions sampled for a log) of sites also called with gradients."""
    with_gradient = {each.owners.site for each in captured if each.z.requires_grad}
    return [each for each in captured if each.z.requires_grad or each.owners.site not in with_gradient]


def features(captured: Sequence[Captured], pool: Callable[[Tensor], Tensor] | None) -> Tensor:
    """One row a sample: several rows, calls and sites of a sample are side by side, (b, k * ...).

    Calls that have a part of the batch each are put together first.
    """
    whole, parts, seen = list[Tensor](), list[tuple[Tensor, Tensor]](), set[Site]()
    for z, owners, repeats in captured:
        if repeats and owners.site in seen and owners.site.rows != "in turn":
            continue
        seen.add(owners.site)
        z, b = z if pool is None else pool(z), len(owners.domain)
        if z.ndim == 0:
            raise ValueError(
                f"features hold one row per sample, got a number at {owners.site.place}. Pass Seam(pool=)."
            )
        if owners.site.rows in WHOLE:
            whole.append(_unfolded(z, owners))
            continue
        parts.append((z, owners.positions(len(z))))
        if sum(len(place) for _, place in parts) >= b:
            whole.append(_together(parts, owners))
            parts = []
    if parts:
        _together(parts, captured[-1].owners)
    return whole[0] if len(whole) == 1 else torch.cat(whole, 1)


def _unfolded(z: Tensor, owners: Owners) -> Tensor:
    """(b * k, ...) -> (b, k * ...)."""
    b, rule = len(owners.domain), owners.site.rows
    if len(z) == b and b:
        return z if z.ndim == 2 else z.reshape(b, -1)
    owners.positions(len(z))  # refuses rows that are nobody's
    if rule == "repeated":
        return z[:b].reshape(b, -1)
    order = "(b k) f -> b (k f)" if rule == "side by side" else "(k b) f -> b (k f)"
    return rearrange(z.reshape(len(z), -1), order, b=b)


def _together(parts: list[tuple[Tensor, Tensor]], owners: Owners) -> Tensor:
    """Rows of several calls in the order of the samples, as many of each."""
    rows, place = torch.cat([z.reshape(len(z), -1) for z, _ in parts]), torch.cat([place for _, place in parts])
    b = len(owners.domain)
    if len(set(place.bincount(minlength=b).tolist())) != 1:
        raise ValueError(
            f"features hold as many rows of every sample, got {len(place)} rows at {owners.site.place} of which some "
            f"of the {b} samples have fewer. Name a module that sees the whole batch: Seam(feature=...)."
        )
    order = moved(place.argsort(stable=True), rows.device)
    return rearrange(rows[order], "(b k) f -> b (k f)", b=b)
