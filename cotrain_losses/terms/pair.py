"""The two sides that a step compares: checked, widened and matched once, then given to every term.

    Pair.of(name, source, target)     shapes, widths, types, devices and finiteness checked; at least float32
    pair.masses(least)                (n,), (m,) each row's mass after groups were matched
    pair.across, pair.within          which rows are of one group
    pair.enough(least)                whether there is something to compare

Terms of one step share these: a mask or a mass is made once, whoever asks first.  All rows of a batch may be on both
sides, with a mass of zero where a row is not of that side: the values are those of the rows that have mass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .._core import kernels
from .._core.checks import check_features, check_mass, length, post_length
from .._core.flags import Flags, common
from .._core.rows import SIDES, Rows, narrow, wide
from .masses import own_mass, two_numbers, with_shared_groups
from .weighed import Weighed, weighed


class Pair:
    """Source rows (n, d) and target rows (m, d) that were checked, and what terms share about them.

    Args:
        source, target: rows; features that are narrower than float32 are widened when a term asks for them.
        flags: where terms post what only the data decides.

    Attributes:
        n, m: rows of each side.
        grouped: whether rows are compared within groups only.
        plain: whether all rows count alike and may be compared with any.
        eager: whether both sides are computed with op by op on the CPU, so that values may be looked at.
        name: what compares the rows, for messages.
        finished: a value that is already zero where too few rows have mass, and NaN where a row is not finite.

    >>> pair = Pair.of("my term", torch.zeros(4, 2, dtype=torch.float16), torch.zeros(3, 2))
    >>> pair.n, pair.m, pair.source.features.dtype, pair.plain
    (4, 3, torch.float32, True)
    """

    def __init__(
        self,
        source: Rows,
        target: Rows,
        eager: bool,
        flags: Flags | None = None,
        shared: Any = None,
        name: str = "A term",
    ) -> None:
        self._given, self.eager, self.name = (source, target), eager, name
        self._wide = None if narrow(source.features) or narrow(target.features) else (source, target)
        self.flags = common if flags is None else flags  # a default that torch 2.6's compiler can trace
        self.n, self.m = source.features.shape[0], target.features.shape[0]
        self.grouped = source.group is not None
        self.plain = not self.grouped and source.mass is None and target.mass is None
        self._shared: dict[Any, Any] = {} if shared is None else shared
        self.finished: Tensor | None = None

    @classmethod
    def of(cls, name: str, source: Rows | Tensor, target: Rows | Tensor, flags: Flags | None = None) -> Pair:
        """Both sides as checked rows; `name` says in errors what compares them.

        Raises:
            TypeError, ValueError: sides that cannot be compared, masses that are negative, groups on one side only.
        """
        source = source if isinstance(source, Rows) else Rows.of(source)
        target = target if isinstance(target, Rows) else Rows.of(target)
        flags = common if flags is None else flags
        at_once = check_features(name, source.features, target.features)
        if (source.group is None) != (target.group is None):
            missing = "the target" if source.group is None else "the source"
            raise ValueError(
                f"rows of one group are compared with rows of the same group, got a group on {missing} side only.\n"
                "Pass group=... on both sides."
            )
        pair = cls(source, target, at_once, flags, name=name)
        if pair.plain and not (source.extras or target.extras):
            return pair
        if any(narrow(x) for rows in (source, target) for _, x in rows.parts()):
            source, target = source.widened(), target.widened()
            pair = cls(source, target, at_once, flags, name=name)
        for side, rows in zip(SIDES, (source, target), strict=True):
            if rows.mass is not None:
                check_mass(f"{name}: the {side} mass", rows.mass, None if pair.weighable else flags)
        return pair

    @property
    def source(self) -> Rows:
        """The source's rows in at least float32."""
        return self._widened()[0]

    @property
    def target(self) -> Rows:
        """The target's rows in at least float32."""
        return self._widened()[1]

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Both sides' features as they came, for kernels; in at least float32 where their types differ."""
        x, y = self._given[0].features, self._given[1].features
        return (x, y) if x.dtype == y.dtype else (self.source.features, self.target.features)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self._given[0].features.device

    def _widened(self) -> tuple[Rows, Rows]:
        if self._wide is None:
            source, target = self._given
            first = source.widened()
            if target.features is source.features:  # all rows on both sides
                target = replace(target, features=first.features)
            self._wide = first, target.widened()
        return self._wide

    @property
    def across(self) -> Tensor | None:
        """(n, m) bool, True where two rows may be compared; None where all may."""
        return self._same("across", self.source, self.target)

    @property
    def within(self) -> tuple[Tensor | None, Tensor | None]:
        """(n, n) and (m, m) bool, the same within each side."""
        return self._same("source", self.source, self.source), self._same("target", self.target, self.target)

    def masses(self, least: int = 1) -> tuple[Tensor, Tensor]:
        """The masses a (n,) and b (m,), constants that sum to one; all zero when nothing can be compared.

        Args:
            least: a group is compared where both sides hold at least this many of its rows.
        """
        found: tuple[Tensor, Tensor] = self._once(("masses", least), lambda: self._matched(least))
        return found

    def pooled_mass(self, least: int = 1) -> Tensor:
        """(n + m,) both in one tensor."""
        if self.plain:
            x = self._given[0].features
            return two_numbers(1 / max(self.n, 1), self.n, 1 / max(self.m, 1), self.m, x, wide(x.dtype))
        if (weighed := self._weighed(least)) is not None:
            return weighed.both
        return torch.cat(self.masses(least))

    def enough(self, least: int) -> bool | Tensor:
        """Whether both sides hold `least` rows of mass that can be compared; on a device, its answer as a tensor."""
        if min(self.n, self.m) < least:
            return False
        if self.plain:
            return True
        answer: bool | Tensor = self._once(("enough", least), lambda: self._counted(least))
        return answer

    @property
    def weighable(self) -> bool:
        """Whether a kernel makes the masses: of rows without groups, on a device that has kernels."""
        answer: bool = self._once("weighable", self._weighable)
        return answer

    def _weighable(self) -> bool:
        a, b = (rows.mass for rows in self._given)
        if self.eager or self.grouped or min(self.n, self.m) == 0 or a is None or b is None:
            return False
        return kernels.readable(*self.features) and kernels.usable(a, b)

    @property
    def unmatched(self) -> int:
        """Rows left out because no row of their group is on the other side; counted on the CPU, elsewhere 0."""
        if (across := self.across) is None or not self.eager:
            return 0
        count: int = self._once("unmatched", lambda: int((~across.any(1)).sum() + (~across.any(0)).sum()))
        return count

    @property
    def doubt(self) -> Tensor:
        """Zero where all features are finite, NaN where one is not: a term's value takes it along off the CPU."""
        found: Tensor = self._once("doubt", self._doubted)
        return found

    def present(self) -> Pair:
        """The rows that have mass, on the CPU, with the masses that they have here."""
        if self.plain:
            return self
        a, b = self.masses()
        shared = self._once("present", lambda: {("masses", 1): (a[a > 0], b[b > 0])})
        return Pair(self.source[a > 0], self.target[b > 0], self.eager, self.flags, shared, self.name)

    def map(self, function: Callable[[Tensor], Tensor]) -> Pair:
        """`function` applied to features and extras; masses and groups stay, and what is known of them."""
        return self.replaced(*(rows.map_features(function) for rows in (self.source, self.target)))

    def replaced(self, source: Rows, target: Rows) -> Pair:
        """Other features for the same rows."""
        return Pair(source, target, self.eager, self.flags, self._shared, self.name)

    def _doubted(self) -> Tensor:
        lengths = [length(rows.features) for rows in (self.source, self.target)]
        for side, found in zip(SIDES, lengths, strict=True):
            post_length(f"{self.name}: the {side} features", found, self.flags)
        return 0.0 * (lengths[0] + lengths[1])

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def _same(self, key: str, rows: Rows, others: Rows) -> Tensor | None:
        if rows.group is None or others.group is None:
            return None
        group, other = rows.group, others.group
        same: Tensor = self._once(key, lambda: group[:, None] == other[None, :])
        return same

    def _matched(self, least: int) -> tuple[Tensor, Tensor]:
        if (weighed := self._weighed(least)) is not None:
            return weighed.masses
        a, b = own_mass(self.source), own_mass(self.target)
        (of_source, of_target), across = self.within, self.across
        if across is None or of_source is None or of_target is None:
            return a, b
        return with_shared_groups(a, b, across, of_source, least), with_shared_groups(b, a, across.T, of_target, least)

    def _weighed(self, least: int) -> Weighed | None:
        """The masses by one launch; None where torch makes them."""
        if not self.weighable:
            return None
        rows = self._given
        found: Weighed | None = self._once(
            ("weighed", least), lambda: kernels.attempted(lambda: weighed(self.name, *rows, least, self.flags))
        )
        return found

    def _counted(self, least: int) -> bool | Tensor:
        if (weighed := self._weighed(least)) is not None:
            return weighed.enough
        a, b = self.masses(least)
        enough: Tensor = torch.minimum((a > 0).sum(), (b > 0).sum()) >= least
        return bool(enough) if self.eager else enough
