"""The algebra of terms: what is asked of the features, and how strongly.

    R(source, target) = sum_k lambda_k R_k(source, target)

    value     sum_k lambda_k R_k
    gradient  lambda_k dR_k/dz  at the features,   dR_k/dphi_k  (unit rate) at a term's own parameters

The weight lambda is signed and scales only what reaches the encoder.  lambda > 0 follows a term,
lambda < 0 opposes it (for a domain classifier this *is* gradient reversal: Ganin & Lempitsky 2015,
eq. 4-6), lambda = 0 only watches.  One scalar, one backward, one optimizer.

    0.1 * MMD() + warmup(-1.0, 1000) * DomainClassifier(width)      one flat Regularizer
"""

from __future__ import annotations

import re
import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .._core.checks import check_features, check_mass
from .._core.rows import Rows, wide
from ..strength.scaling import measured, on_grad, scaled
from ..strength.strength import MeasuredStrength, Strength, checked_strength, leaves, product, strength_at
from .masses import nothing_shared, unmatched


class Term(nn.Module):
    """A comparison of source rows (n, d) with target rows (m, d), giving a scalar.

    Subclasses write `compare(source, target)`.  Calling a term does the rest once, at the door: bare
    tensors become `Rows`; shapes, widths, types and finiteness are checked; half precision is widened
    to float32 and autocast switched off; a side with fewer than `min_samples` rows gives an exact zero
    that stays on the graph, own parameters included (DDP needs them there).
    """

    min_samples: int = 1

    def compare(self, source: Rows, target: Rows) -> Tensor:
        """The term's value for two sides that passed the door."""
        raise TypeError(f"{type(self).__name__} is a Term without a rule: define compare(self, source, target) in it.")

    def skips(self, source: Rows, target: Rows) -> bool:
        """Whether these rows are too few to compare, so that the value is an exact zero."""
        return min(len(source), len(target)) < self.min_samples or nothing_shared(source, target, self.min_samples)

    def forward(self, source: Rows | Tensor, target: Rows | Tensor) -> Tensor:
        """The term's raw, unweighted value: a scalar of at least float32."""
        source, target = self.admit(source, target)
        device = source.features.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._admitted(source, target)
        return self._admitted(source, target)

    def _admitted(self, source: Rows, target: Rows) -> Tensor:
        return self.nothing(source, target) if self.skips(source, target) else self.compare(source, target)

    def admit(self, source: Rows | Tensor, target: Rows | Tensor) -> tuple[Rows, Rows]:
        """The door: both sides as rows, checked, and in at least float32."""
        source, target = Rows.of(source), Rows.of(target)
        name = type(self).__name__
        check_features(name, source.features, target.features)
        for side, rows in (("source", source), ("target", target)):
            if rows.mass is not None:
                check_mass(f"{name}: the {side} mass", rows.mass)
        return source.widened(), target.widened()

    def nothing(self, source: Rows, target: Rows) -> Tensor:
        """An exact zero, attached to the features and to the term's own parameters."""
        empty = [x.flatten()[:0].sum() for x in (source.features, target.features, *self.parameters())]
        return torch.stack([x.to(empty[0].dtype) for x in empty]).sum()

    def __mul__(self, weight: Strength) -> Regularizer:
        return Regularizer([(weight, self)])

    __rmul__ = __mul__

    def __neg__(self) -> Regularizer:
        return -1.0 * self

    def __add__(self, other: Term | Regularizer | int) -> Regularizer:
        return 1.0 * self + other

    __radd__ = __add__

    def __sub__(self, other: Term | Regularizer) -> Regularizer:
        return 1.0 * self + -1.0 * other


class Evaluation(NamedTuple):
    """What a regularizer was worth on one pair of sides."""

    value: Tensor
    """sum_k lambda_k R_k, the scalar to add to the loss."""
    raw: dict[str, Tensor]
    """each term's own value, unweighted and detached."""
    strengths: dict[str, float]
    """each term's strength lambda_k at this step."""
    n: int
    """source rows."""
    m: int
    """target rows."""
    skipped: tuple[str, ...]
    """terms that had too few rows and were an exact zero."""
    unmatched: int = 0
    """rows left out because no row of their group is on the other side; counted on the CPU, elsewhere 0."""


class Regularizer(nn.Module):
    """A flat weighted sum of terms: sum_k lambda_k R_k.

    Built by the algebra, `0.1 * MMD() - 0.05 * DomainClassifier(width)`; every sum, sign and factor
    gives one flat list of (weight, term).  A weight is a number, a function of the optimizer step, or
    measured (`balance`).

    Raises:
        ValueError: when a weight depends on the step and no step was given.

    >>> r = 2 * (0.1 * Term() - Term())
    >>> [(name, weight) for name, weight, _ in r.parts()]
    [('term', 0.2), ('term_2', -2.0)]
    """

    window = 100

    def __init__(self, parts: list[tuple[Strength, Term]]) -> None:
        super().__init__()
        self._weights = {name: checked_strength(weight) for name, (weight, _) in zip(_names(parts), parts, strict=True)}
        self.terms = nn.ModuleDict({name: term for name, (_, term) in zip(self._weights, parts, strict=True)})
        self.measured = nn.ModuleDict({n: w for n, w in self._weights.items() if isinstance(w, MeasuredStrength)})
        self._leaves = {name: leaves(weight) for name, weight in self._weights.items()}
        _check_one_term_each(self.measured_strengths())
        self._evaluations, self._skips, self._warned = 0, dict.fromkeys(self._weights, 0), set[str]()

    def parts(self) -> list[tuple[str, Strength, Term]]:
        """Each term with its name and its weight (a number or a schedule)."""
        return [(name, weight, self.terms[name]) for name, weight in self._weights.items()]  # type: ignore[misc]

    def strengths(self, step: int | None = None) -> dict[str, float]:
        """Each term's weight at an optimizer step."""
        return {name: strength_at(weight, step, name) for name, weight in self._weights.items()}

    def readings(self) -> dict[str, float]:
        """What measured weights now go by: {"mmd/policy_gradient": ...}."""
        each = [(name, part.readings()) for name, parts in self._leaves.items() for part in parts]
        return {f"{name}/{what}": value for name, found in each for what, value in found.items()}

    def measured_strengths(self) -> list[MeasuredStrength]:
        """The measured weights in the sum, those inside products included."""
        return [part for found in self._leaves.values() for part in found]

    def seam(self, z: Tensor) -> Tensor:
        """z as the policy's head is to take it, so that measured weights hear the gradient of the policy's loss there.

        Needed without `CoTrain` only: `loss = head(regularizer.seam(z)) + regularizer(z[source], z[target])`.
        """
        measured_strengths = self.measured_strengths()
        if not (measured_strengths and self._learns and z.requires_grad):
            return z
        z = z.view_as(z)  # a node of its own: what the terms send to z does not pass it
        on_grad(z, [part.on_policy_grad for part in measured_strengths])
        return z

    @property
    def _learns(self) -> bool:
        return self.training and torch.is_grad_enabled()

    def forward(self, source: Rows | Tensor, target: Rows | Tensor, *, step: int | None = None) -> Tensor:
        """The scalar to add to a loss; `evaluate` tells what it is made of."""
        return self.evaluate(source, target, step=step).value

    def evaluate(self, source: Rows | Tensor, target: Rows | Tensor, *, step: int | None = None) -> Evaluation:
        """Every term once: the weighted sum, the raw values, the row counts, the terms skipped."""
        source, target = Rows.of(source), Rows.of(target)
        if self._learns:
            for listener in self.measured_strengths():
                listener.begin(source, target, step)
        strengths, raw = self.strengths(step), {}
        value = source.features.new_zeros((), dtype=wide(source.features.dtype))
        for name, _, term in self.parts():
            if measured_strengths := self._leaves[name]:
                raw[name], summand = measured(term, strengths[name], source, target, measured_strengths, self._learns)
            else:
                raw[name], summand = scaled(term, strengths[name], source, target)
            value = value + summand
        if self._learns:
            on_grad(value, [listener.on_loss_scale for listener in self.measured_strengths()])
        skipped = tuple([name for name, _, term in self.parts() if term.skips(source, target)])
        self._count(skipped)
        return Evaluation(value, raw, strengths, len(source), len(target), skipped, unmatched(source, target))

    def _count(self, skipped: tuple[str, ...]) -> None:
        if torch.compiler.is_compiling() or not self._learns:
            return
        self._evaluations += 1
        for name in skipped:
            self._skips[name] += 1
        if self._evaluations == self.window:
            for name in self._skips:
                self._warn(name)
            self._evaluations, self._skips = 0, dict.fromkeys(self._skips, 0)

    def _warn(self, name: str) -> None:
        if self._skips[name] * 2 <= self.window or name in self._warned:
            return
        self._warned.add(name)
        needed = self.terms[name].min_samples
        warnings.warn(
            f"{name} compares at least {needed} source rows with {needed} target rows; {self._skips[name]} of "
            f"the last {self.window} batches had fewer, so it was zero there. Raise the ratio or the batch size, or "
            "draw balanced rows with MixedBatchSampler(share=0.5) and keep the policy's ratio through ratio_weights.",
            stacklevel=4,
        )

    def __mul__(self, factor: Strength) -> Regularizer:
        return Regularizer([(product(factor, weight), term) for _, weight, term in self.parts()])

    __rmul__ = __mul__

    def __neg__(self) -> Regularizer:
        return -1.0 * self

    def __add__(self, other: Term | Regularizer | int) -> Regularizer:
        if isinstance(other, int) and other == 0:  # so that sum(...) works
            return self
        if not isinstance(other, (Term, Regularizer)):
            return NotImplemented
        return Regularizer([(weight, term) for _, weight, term in (*self.parts(), *(1.0 * other).parts())])

    __radd__ = __add__

    def __sub__(self, other: Term | Regularizer) -> Regularizer:
        return self + -1.0 * other

    def extra_repr(self) -> str:
        return " + ".join(f"{weight} * {name}" for name, weight in self._weights.items())


def _check_one_term_each(measured_strengths: list[MeasuredStrength]) -> None:
    if len({id(part) for part in measured_strengths}) < len(measured_strengths):
        raise ValueError(
            "a measured weight measures one term, got one that weighs several. Write one for each: "
            "relative(0.1) * MMD() + relative(0.1) * CORAL()."
        )


def _names(parts: list[tuple[Strength, Term]]) -> list[str]:
    seen: dict[str, int] = {}
    names = []
    for _, term in parts:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(term).__name__).lower()
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names
