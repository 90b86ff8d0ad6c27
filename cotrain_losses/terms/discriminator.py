"""Domain discriminators: align features until a classifier cannot tell their domain.

    BCE(z; phi) = 1/2 E_source softplus(D(z)) + 1/2 E_target softplus(-D(z))

D is the logit of "target".  Each domain is averaged by itself, so both count equally whatever their
counts.  The optimum over D is D*(z) = log p_target(z) / p_source(z), and there BCE = log 2 - JSD(source, target):
log 2 = 0.693 exactly when the two distributions are equal, 0 when they can be told apart.

Reversal is the sign of the weight (see term.py): -lambda * DomainClassifier is Ganin & Lempitsky, ICML
2015; Lei et al. 2026 call this ADDA.  Tzeng et al., CVPR 2017 (ADDA) train the encoder on inverted labels
instead: `DomainAdversary`.  Conditional discriminators are Long et al., NeurIPS 2018 (CDAN).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._core.checks import whole
from .._core.rows import Rows
from .masses import two_numbers
from .pair import Pair
from .term import Term


class DomainClassifier(Term):
    """Balanced binary cross-entropy of a classifier that reads the domain from the features.

    Args:
        width: width of the features.
        hidden: widths of the hidden layers; each is followed by LayerNorm and ReLU.  The features
            themselves are not normalised, so a difference of scale stays visible.
        conditional: extras the classifier also reads, name -> flattened width.  They are constants here:
            no gradient goes into them.
        combine: "concatenate" the extras to the features, or take the "multilinear" product of the
            features with (1, extras), random projections of both where it would be wider than 4096.
        penalty: weight of E |grad_z D|^2 / 2 on the head (Mescheder et al., ICML 2018, R1 on both sides).
            It reaches the head only and leaves value and encoder gradient as they are.

    Shape:
        source (n, width), target (m, width), n and m free -> scalar.  Cost O((n + m) P) for P parameters.

    Labels: target = 1, source = 0; others have it the other way round, which changes nothing but the
    sign of the logit.

    >>> value = DomainClassifier(width=3)(torch.randn(24, 3), torch.randn(8, 3) + 1.0)
    >>> opposed = -0.05 * DomainClassifier(width=3)  # gradient reversal
    >>> opposed.strengths()
    {'domain_classifier': -0.05}
    """

    def __init__(
        self,
        width: int,
        *,
        hidden: tuple[int, ...] = (256, 256),
        conditional: Mapping[str, int] | None = None,
        combine: str = "concatenate",
        penalty: float = 0.0,
    ) -> None:
        super().__init__()
        if combine not in ("concatenate", "multilinear"):
            raise ValueError(f'combine is "concatenate" or "multilinear", got {combine!r}.')
        if penalty < 0:
            raise ValueError(f"penalty weighs a squared gradient and must be >= 0, got {penalty}. 0 switches it off.")
        self.width, self.penalty = width, penalty
        self.join = _Join(width, dict(conditional or {}), combine)
        self.head = _head(self.join.width, hidden)

    def compare(self, pair: Pair) -> Tensor:
        self._check_width(pair.source)
        value = self._cross_entropy(pair, self.logits)
        if self.penalty and torch.is_grad_enabled():
            value = value + _only_gradient(self.penalty * self._roughness(pair))
        return value

    def logits(self, rows: Rows | Tensor) -> Tensor:
        """The logit of "target" for each of n rows -> (n,)."""
        logits: Tensor = self.head(self._read(Rows.of(rows)))
        return logits.squeeze(-1)

    def _read(self, rows: Rows) -> Tensor:
        return self.join(rows).to(next(self.head.parameters()).dtype)  # type: ignore[no-any-return]

    def _check_width(self, rows: Rows) -> None:
        if rows.features.shape[1] != self.width:
            name, width = type(self).__name__, rows.features.shape[1]
            raise ValueError(
                f"{name}(width=...) is the width of the features it reads, got width {self.width} for features of "
                f"width {width}.\nBuild it with that: {name}({width}), or a recipe with width={width}."
            )

    def _cross_entropy(self, pair: Pair, logits: Callable[[Rows], Tensor], true: float = 1.0) -> Tensor:
        """The balanced cross-entropy, of inverted labels where `true` is -1; off the CPU both sides in one pass."""
        if not pair.eager and (rows := self._pooled(pair)) is not None:
            sign = two_numbers(true, pair.n, -true, pair.m, pair.source.features)
            return 0.5 * torch.dot(pair.pooled_mass(), F.softplus(sign * logits(rows)).to(sign))
        (a, b), first, second = pair.masses(), logits(pair.source), logits(pair.target)
        first, second = (first, -second) if true > 0 else (-first, second)
        return 0.5 * ((a * F.softplus(first)).sum() + (b * F.softplus(second)).sum())

    def _pooled(self, pair: Pair) -> Rows | None:
        """Both sides in one, with what the head reads; None where only one of them tells which steps are real."""
        names = self.join.conditional
        sides = [
            Rows(rows.features, {name: rows.extra(name) for name in names}, valid=rows.valid)
            for rows in (pair.source, pair.target)
        ]
        return Rows.joined(sides) if len({rows.valid is None for rows in sides}) == 1 else None

    def _roughness(self, pair: Pair) -> Tensor:
        """E |grad_z D|^2 / 2, each domain averaged by itself."""
        from torch.func import grad  # as below; torch.compile follows it, unlike torch.autograd.grad

        value = pair.source.features.new_zeros(())
        for rows, mass in zip((pair.source, pair.target), pair.masses(), strict=True):
            slope = grad(partial(self._total, rows))(rows.features.detach())
            value = value + 0.25 * (mass * slope.square().sum(1)).sum()
        return value

    def _total(self, rows: Rows, features: Tensor) -> Tensor:
        return self.logits(Rows(features, rows.extras, valid=rows.valid)).sum()

    def extra_repr(self) -> str:
        return f"width={self.width}"


class DomainAdversary(DomainClassifier):
    """The encoder asks for inverted labels, the head learns the true ones: Tzeng et al. 2017, eq. 9.

        value      1/2 E_source softplus(-D(z)) + 1/2 E_target softplus(D(z))   labels inverted
        encoder    its gradient, the head held fixed
        head       the gradient of the cross-entropy on true labels, the features held fixed

    So a positive weight aligns: 0.05 * DomainAdversary(width).  Unlike reversal its gradient does not vanish
    where the head is right.  Arguments and shapes are those of `DomainClassifier`.  Tzeng et al. freeze a
    separate source encoder; here one encoder serves both domains and both are moved.  Two passes of the head.

    >>> (0.05 * DomainAdversary(width=3)).strengths()
    {'domain_adversary': 0.05}
    """

    def compare(self, pair: Pair) -> Tensor:
        true = super().compare(pair.map(torch.Tensor.detach))
        return self._cross_entropy(pair, self._fixed, -1.0) + _only_gradient(true)

    def _fixed(self, rows: Rows) -> Tensor:
        """The logits by a head that learns nothing from it."""
        from torch.func import functional_call  # imports a good part of torch that nothing else here needs

        fixed = {name: parameter.detach() for name, parameter in self.head.named_parameters()}
        logits: Tensor = functional_call(self.head, fixed, (self._read(rows),))
        return logits.squeeze(-1)


class _Join(nn.Module):
    """Features, and with them the extras a conditional discriminator reads."""

    widest = 4096
    left: Tensor | None
    right: Tensor | None

    def __init__(self, width: int, conditional: dict[str, int], combine: str) -> None:
        super().__init__()
        width = whole("width", width, 1)
        self.conditional, self.combine = conditional, combine
        extra = 1 + sum(conditional.values())
        self.width = width + extra - 1
        self.register_buffer("left", None)
        self.register_buffer("right", None)
        if combine == "multilinear":
            self.width = min(width * extra, self.widest)
            if width * extra > self.widest:  # Long et al. 2018, eq. 6: random maps in place of the full product
                self.register_buffer("left", torch.randn(width, self.width))
                self.register_buffer("right", torch.randn(extra, self.width) / self.width**0.5)

    def forward(self, rows: Rows) -> Tensor:
        features = rows.features
        if not self.conditional:
            return features
        extras = torch.cat([self._extra(rows, name) for name in self.conditional], 1).to(features)
        if self.combine == "concatenate":
            return torch.cat([features, extras], 1)
        extras = torch.cat([torch.ones_like(extras[:, :1]), extras], 1)
        if self.left is not None and self.right is not None:
            return (features @ self.left.to(features)) * (extras @ self.right.to(features))
        return torch.einsum("nd,ne->nde", features, extras).flatten(1)

    def _extra(self, rows: Rows, name: str) -> Tensor:
        value = rows.extra(name).detach()
        if rows.valid is not None and value.ndim == 3:
            value = value.where(rows.valid[..., None], value.new_zeros(()))
        value = value.flatten(1)
        if value.shape[1] != self.conditional[name]:
            raise ValueError(
                f"conditional gives {name!r} a flattened width of {self.conditional[name]}, got "
                f"{tuple(rows.extras[name].shape)}, that is {value.shape[1]}.\n"
                f"Pass conditional={{{name!r}: {value.shape[1]}}}."
            )
        return value


def _head(width: int, hidden: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide in (whole("hidden", each, 1) for each in hidden):
        layers += [nn.Linear(width, wide), nn.LayerNorm(wide), nn.ReLU()]
        width = wide
    return nn.Sequential(*layers, nn.Linear(width, 1))


def _only_gradient(value: Tensor) -> Tensor:
    return value - value.detach()  # exactly zero in value
