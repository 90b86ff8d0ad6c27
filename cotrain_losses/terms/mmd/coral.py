"""CORAL: align the covariances of two sets of features.

    L = |C_source - C_target|_F^2 / (4 d^2)     [+ |mean_source - mean_target|^2 / d]

C is the unbiased covariance of one side.  Sun & Saenko, "Deep CORAL", ECCV 2016 workshops, eq. 1-3.  It does not
see the means; the optional term does.  tllib's CorrelationAlignmentLoss is 4 times the first plus the second.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..._core.device import accurate, transformed
from ..gradients import with_gradients
from ..masses import two_numbers, two_sides
from ..pair import Pair
from ..term import Term


class CORAL(Term):
    """Squared distance of the covariances, scaled by 1 / (4 d^2).

    Args:
        mean: add the squared distance of the means, divided by d.

    Shape:
        source (n, d), target (m, d) with n, m >= 2, n and m free -> scalar.  With groups: the mean over groups,
        each counted by its share.

    Cost: O(min((n + m) d^2, (n + m)^2 d)): where rows are fewer than columns, through their inner products.  First
    derivatives only on a device other than the CPU.

    >>> source, target = torch.eye(3), 1.0 + torch.eye(3)  # only the means differ
    >>> round(CORAL()(source, target).item(), 6)
    0.0
    >>> round(CORAL(mean=True)(torch.eye(3), 1.0 + torch.eye(3)).item(), 4)
    1.0
    """

    min_samples = 2

    def __init__(self, *, mean: bool = False) -> None:
        super().__init__()
        self.mean = mean

    def compare(self, pair: Pair) -> Tensor:
        source, target, grouped = pair.source, pair.target, pair.grouped
        if not (grouped or pair.eager or torch.compiler.is_compiling() or transformed(source.features)):
            return self._known(pair)
        a, b = pair.masses(self.min_samples)
        if source.group is None or target.group is None:
            return self._of(source.features, target.features, a, b)
        if not pair.eager:
            return self._grouped(pair, a, b)
        values = [
            a[i].sum() * self._of(source.features[i], target.features[j], a[i] / a[i].sum(), b[j] / b[j].sum())
            for group in torch.unique(source.group[a > 0])
            for i, j in [(source.group == group, target.group == group)]
        ]
        return torch.stack(values).sum()

    def _grouped(self, pair: Pair, a: Tensor, b: Tensor) -> Tensor:
        """All groups at once, in constant shape: inner products of rows of one group, times the group's share."""
        (same_source, same_target), across = pair.within, pair.across
        assert same_source is not None and same_target is not None and across is not None
        x, y, d = pair.source.features, pair.target.features, pair.source.features.shape[1]
        left, right = (_whitened_within(*each) for each in ((x, a, same_source), (y, b, same_target)))
        share = same_source.to(a) @ a, same_target.to(b) @ b
        of_source = (share[0][:, None] * same_source * (left @ left.T).square()).sum()
        of_target = (share[1][:, None] * same_target * (right @ right.T).square()).sum()
        of_both = (share[0][:, None] * across * (left @ right.T).square()).sum()
        value = (of_source + of_target - 2 * of_both) / (4 * d**2)
        apart = _means(x, a, same_source) - _means(y, b, across)
        return value + (a * apart.square().mean(1)).sum() if self.mean else value

    def _known(self, pair: Pair) -> Tensor:
        """The value with its gradient, in few launches: T = R R' diag(s) R, s = 1 of the source, -1 of the target.

        |L'L - R'R|^2 = sum_i s_i <r_i, T_i>,   its gradient at a centred row   4 s_i T_i times the row's scale
        """
        x, y, (n, m) = pair.source.features, pair.target.features, (pair.n, pair.m)
        d = x.shape[1]
        half, (means_of, root, pull) = 1 / (2 * d), self._weights(pair)
        pooled = torch.cat([x, y])
        with torch.no_grad():
            means = means_of @ pooled
            rows = torch.addmm(pooled, two_sides(1.0, n, 1.0, m, x).T, means, alpha=-1.0) * root[:, None]
            signed = rows * two_numbers(half, n, -half, m, x)[:, None]
            moved = (rows @ rows.T) @ signed if n + m < d else rows @ (rows.T @ signed)
            value, at = torch.dot(signed.flatten(), moved.flatten()), moved * pull[:, None]
            if self.mean:
                apart = means[0] - means[1]
                value = value + apart.square().mean()
                at = at + (means_of[0] - means_of[1])[:, None] * (apart * (2 / d))
        return with_gradients(value, (pooled, at))

    def _weights(self, pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
        """(2, n + m) what gives both means; (n + m,) roots of what a row counts in a covariance; 2 s_i / d times it."""
        x, n, m = pair.source.features, pair.n, pair.m
        d = x.shape[1]
        if pair.plain:
            roots = (n - 1) ** -0.5, (m - 1) ** -0.5
            pull = two_numbers(2 * roots[0] / d, n, -2 * roots[1] / d, m, x)
            return two_sides(1 / n, n, 1 / m, m, x), two_numbers(roots[0], n, roots[1], m, x), pull
        mass = pair.pooled_mass(self.min_samples)
        sides = [side.to(accurate(x)) for side in (mass[:n], mass[n:])]
        left = torch.cat([torch.dot(side, side.sum() - side).expand(len(side)) for side in sides])  # 1 - sum m^2
        root = (mass / left.clamp_min(1e-30)).sqrt().to(x)
        return two_sides(1.0, n, 1.0, m, x) * mass, root, root * two_numbers(2 / d, n, -2 / d, m, x)

    def _of(self, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        mean_x, mean_y = a @ x, b @ y
        left, right = _whitened(x - mean_x, a), _whitened(y - mean_y, b)
        if len(x) + len(y) < x.shape[1]:  # |L'L - R'R|^2 = |LL'|^2 + |RR'|^2 - 2 |LR'|^2
            squared = (left @ left.T).square().sum() + (right @ right.T).square().sum()
            squared = squared - 2 * (left @ right.T).square().sum()
        else:
            squared = (left.T @ left - right.T @ right).square().sum()
        value = squared / (4 * x.shape[1] ** 2)
        return value + (mean_x - mean_y).square().mean() if self.mean else value


def _whitened(centred: Tensor, mass: Tensor) -> Tensor:
    """Rows whose Gram matrix is the unbiased covariance."""
    before = torch.nn.functional.pad(mass.cumsum(0)[:-1], (1, 0))
    left = (2 * mass @ before).clamp_min(torch.finfo(mass.dtype).tiny)  # 1 - sum m^2, without cancellation
    return centred * (mass / left).sqrt()[:, None]


def _means(rows: Tensor, mass: Tensor, same: Tensor) -> Tensor:
    """(k, d) for each row of `same` (k, n) the mean of the rows of its group."""
    weights = same * mass
    return weights @ rows / weights.sum(1, keepdim=True).clamp_min(torch.finfo(mass.dtype).tiny)


def _whitened_within(x: Tensor, mass: Tensor, same: Tensor) -> Tensor:
    """Rows whose Gram matrix is, group by group, the unbiased covariance."""
    tiny = torch.finfo(mass.dtype).tiny
    own = mass / (same.to(mass) @ mass).clamp_min(tiny)
    before = (same.tril(-1).to(mass)) @ own
    left = (2 * same.to(mass) @ (own * before)).clamp_min(tiny)  # 1 - sum m^2, without cancellation
    return (x - _means(x, mass, same)) * (own / left).sqrt()[:, None]
