"""The algebra of terms: what is asked of the features, and how strongly.

    R(source, target) = sum_k lambda_k R_k(source, target)

    value     sum_k lambda_k R_k
    gradient  lambda_k dR_k/dz  at the features,   dR_k/dphi_k  (unit rate) at a term's own parameters

The strength lambda is signed and scales only what reaches the encoder.  lambda > 0 follows a term,
lambda < 0 opposes it (for a domain classifier this *is* gradient reversal: Ganin & Lempitsky 2015,
eq. 4-6), lambda = 0 only watches.  One scalar, one backward, one optimizer.

    0.1 * MMD() + warmup(-1.0, 1000) * DomainClassifier(width)      one flat Regularizer
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from .._core.device import autocasts, capturing
from .._core.flags import Flags, common, not_finite
from .._core.rows import Rows
from ..strength.strength import MeasuredStrength, Strength, checked_strength, leaves, product, strength_at
from .evaluation import Evaluation, Skips, names_of
from .pair import Pair
from .scaling import measured, on_grad, scaled


class Term(nn.Module):
    """A comparison of source rows (n, d) with target rows (m, d), giving a scalar.

    Subclasses write `compare(pair)`.  Calling a term checks the sides once (`Pair.of`): bare tensors become
    `Rows`; half precision is widened to float32 and autocast switched off; a side with fewer than `min_samples` rows of
    mass gives an exact zero that stays on the graph, own parameters included (DDP needs them there).

    >>> class MeanGap(Term):
    ...     def compare(self, pair):
    ...         means = (side.features.mean(0) for side in (pair.source, pair.target))
    ...         return torch.dist(*means) ** 2
    >>> MeanGap()(torch.zeros(5, 3), torch.ones(2, 3)).item()
    3.0
    """

    min_samples: int = 1

    def compare(self, pair: Pair) -> Tensor:
        """The term's value for two sides that can be compared."""
        raise TypeError(f"{type(self).__name__} is a Term without a rule: define compare(self, pair) in it.")

    def forward(self, source: Rows | Tensor, target: Rows | Tensor) -> Tensor:
        """The term's raw value, without a strength: a scalar of at least float32."""
        pair = Pair.of(type(self).__name__, source, target, common)
        device = pair.device
        if autocasts(device):
            with torch.autocast(device.type, enabled=False):
                return self.evaluate(pair)
        return self.evaluate(pair)

    def evaluate(self, pair: Pair) -> Tensor:
        """The value of a checked pair; an exact zero where too few rows have mass."""
        enough = pair.enough(self.min_samples)
        if enough is False:
            return self.zero(pair)
        value = self.compare(pair)
        whole = pair.eager or value is pair.finished
        doubt = 0.0 if whole else pair.doubt  # first, so that bad features are told before a bad value
        if not (pair.eager and math.isfinite(value.detach())):
            pair.flags.post(f"{type(self).__name__} value", value, self._not_finite, not_finite)
        if enough is not True and value is not pair.finished:
            value = torch.where(enough, value, 0.0)
        return value if whole else value + doubt

    def _not_finite(self, flag: float) -> None:
        raise ValueError(
            f"{type(self).__name__} has no finite value for these features: they are finite, but too large or too far "
            "apart for their type.\nNormalise them first, or put the seam behind a LayerNorm."
        )

    def zero(self, pair: Pair) -> Tensor:
        """An exact zero, attached to the features and to the term's own parameters."""
        held = (pair.source.features, pair.target.features, *self.parameters())
        empty = [x.flatten()[:0].sum() for x in held]
        return torch.stack([x.to(empty[0].dtype) for x in empty]).sum()

    def __mul__(self, strength: Strength) -> Regularizer:
        return Regularizer([(strength, self)])

    __rmul__ = __mul__

    def __neg__(self) -> Regularizer:
        return -1.0 * self

    def __add__(self, other: Term | Regularizer | int) -> Regularizer:
        return 1.0 * self + other

    __radd__ = __add__

    def __sub__(self, other: Term | Regularizer) -> Regularizer:
        return 1.0 * self + -1.0 * other


class Regularizer(nn.Module):
    """A flat sum of terms, each with its strength: sum_k lambda_k R_k.

    Built by the algebra, `0.1 * MMD() - 0.05 * DomainClassifier(width)`; every sum, sign and factor
    gives one flat list of (strength, term).  A strength is a number, a function of the optimizer step, or
    measured (`strength.relative`, `strength.balanced`).

    Attributes:
        flags: what the data decided in steps on a device other than the CPU, read every 100 steps.

    Raises ValueError when a strength depends on the step and no step was given.

    >>> r = 2 * (0.1 * Term() - Term())
    >>> [(name, strength) for name, strength, _ in r.parts()]
    [('term', 0.2), ('term_2', -2.0)]
    """

    def __init__(self, parts: list[tuple[Strength, Term]]) -> None:
        super().__init__()
        strengths = [checked_strength(strength) for strength, _ in parts]
        self._strengths = dict(zip(names_of([term for _, term in parts]), strengths, strict=True))
        self.terms = nn.ModuleDict({name: term for name, (_, term) in zip(self._strengths, parts, strict=True)})
        self.measured = nn.ModuleDict({n: w for n, w in self._strengths.items() if isinstance(w, MeasuredStrength)})
        self._leaves = {name: leaves(strength) for name, strength in self._strengths.items()}
        self._measured = [part for parts in self._leaves.values() for part in parts]
        _check_one_term_each(self._measured)
        self.flags = Flags()
        self._skips = Skips(
            self.flags, {name: term.min_samples for name, (_, term) in zip(self._strengths, parts, strict=True)}
        )

    def parts(self) -> list[tuple[str, Strength, Term]]:
        """Each term with its name and its strength (a number, a schedule or measured)."""
        return [(name, strength, self.terms[name]) for name, strength in self._strengths.items()]  # type: ignore[misc]

    def strengths(self, step: int | None = None) -> dict[str, float]:
        """Each term's strength at an optimizer step."""
        each = self._strengths.items()
        return {name: s if isinstance(s, float) else strength_at(s, step, name) for name, s in each}

    def readings(self) -> dict[str, float]:
        """What measured strengths now go by: {"mmd/policy_gradient": ...}."""
        each = [(name, part.readings()) for name, parts in self._leaves.items() for part in parts]
        return {f"{name}/{what}": value for name, readings in each for what, value in readings.items()}

    def measured_strengths(self) -> list[MeasuredStrength]:
        """The measured strengths in the sum, those inside products included."""
        return self._measured

    def seam(self, z: Tensor) -> Tensor:
        """z as the policy's head is to take it, so that measured strengths see the policy's gradient there.

        Needed without `CoTrain` only: `loss = head(regularizer.seam(z)) + regularizer(z[source], z[target])`.
        """
        if not (self._measured and self._learns and z.requires_grad):
            return z
        z = z.view_as(z)  # a node of its own: what the terms send to z does not pass it
        on_grad(z, [part.on_policy_grad for part in self._measured])
        return z

    @property
    def _learns(self) -> bool:
        return self.training and torch.is_grad_enabled()

    def forward(self, source: Rows | Tensor, target: Rows | Tensor, *, step: int | None = None) -> Tensor:
        """The scalar to add to a loss; `evaluate` tells what it is made of."""
        return self.evaluate(source, target, step=step).value

    def evaluate(self, source: Rows | Tensor, target: Rows | Tensor, *, step: int | None = None) -> Evaluation:
        """Every term once: the sum, the raw values, the row counts, the terms skipped."""
        name = type(next(iter(self.terms.values()))).__name__ if len(self.terms) == 1 else "A regularizer"
        pair = Pair.of(name, source, target, self.flags)
        device = pair.device
        if autocasts(device):
            with torch.autocast(device.type, enabled=False):
                return self._evaluation(pair, step)
        return self._evaluation(pair, step)

    def _evaluation(self, pair: Pair, step: int | None) -> Evaluation:
        learns = self._learns
        if learns:
            for each in self._measured:
                each.on_rows(pair.source, pair.target, step)
        strengths = self.strengths(step)
        if capturing():
            self._tell_of_replays()
        parts = {name: self._scaled(name, strength, pair, learns) for name, strength in strengths.items()}
        raw, summands = {name: part[0] for name, part in parts.items()}, [part[1] for part in parts.values()]
        value = sum(summands[1:], summands[0]) if summands else pair.source.features.new_zeros(())
        if learns and self._measured:
            on_grad(value, [each.on_loss_scale for each in self._measured])
        unmatched = pair.unmatched if pair.grouped else 0
        return Evaluation(value, raw, strengths, pair.n, pair.m, self._skipped(pair, learns), unmatched)

    def _tell_of_replays(self) -> None:
        if changing := [name for name, strength in self._strengths.items() if not isinstance(strength, float)]:
            warnings.warn(
                f"replays of a captured step keep the strengths of its capture, got a strength of {changing[0]} that "
                "changes from step to step. Capture again when it has changed, or use a number.",
                stacklevel=2,
            )

    def _scaled(self, name: str, strength: float, pair: Pair, learns: bool) -> tuple[Tensor, Tensor]:
        term: Term = self.terms[name]  # type: ignore[assignment]
        if measures := self._leaves[name]:
            return measured(term.evaluate, strength, pair, measures, training=learns)
        own = any(p.requires_grad for p in term.parameters())
        return scaled(term.evaluate, strength, pair, learns=own)

    def _skipped(self, pair: Pair, learns: bool) -> tuple[str, ...]:
        """The terms known to be skipped; a warning follows where most batches of a window skip one."""
        enough = {name: pair.enough(term.min_samples) for name, term in self.terms.items()}  # type: ignore[arg-type]
        if learns:
            self._skips.count(enough)
        return tuple([name for name, known in enough.items() if known is False])

    def __mul__(self, factor: Strength) -> Regularizer:
        return Regularizer([(product(factor, strength), term) for _, strength, term in self.parts()])

    __rmul__ = __mul__

    def __neg__(self) -> Regularizer:
        return -1.0 * self

    def __add__(self, other: Term | Regularizer | int) -> Regularizer:
        if isinstance(other, int) and other == 0:  # so that sum(...) works
            return self
        if not isinstance(other, (Term, Regularizer)):
            return NotImplemented
        return Regularizer([(strength, term) for _, strength, term in (*self.parts(), *(1.0 * other).parts())])

    __radd__ = __add__

    def __sub__(self, other: Term | Regularizer) -> Regularizer:
        return self + -1.0 * other

    def extra_repr(self) -> str:
        return " + ".join(f"{strength} * {name}" for name, strength in self._strengths.items())


def _check_one_term_each(measures: list[MeasuredStrength]) -> None:
    if len({id(part) for part in measures}) < len(measures):
        raise ValueError(
            "a measured strength measures one term, got one that scales several. Write one for each: "
            "relative(0.1) * MMD() + relative(0.1) * CORAL()."
        )
