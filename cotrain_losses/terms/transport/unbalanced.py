"""Unbalanced transport without entropy (reg = 0), to the last digit.

    primal   min over P >= 0       of   <P, C> + rho_a KL(P 1 | a) + rho_b KL(P' 1 | b)
    dual     max over f + g <= C   of   rho_a <a, 1 - exp(-f / rho_a)> + rho_b <b, 1 - exp(-g / rho_b)>

P lives where f + g = C and has the marginals a exp(-f / rho_a) and b exp(-g / rho_b).  The tight pairs form a forest;
in each of its trees one number is free, the shift f + s, g - s, whose best value is known:

    s = rho_a rho_b / (rho_a + rho_b) log(rows' mass / columns' mass)              (rho_b alone where rho_a = inf)

All trees move to their best shifts until another pair becomes tight and joins two of them.  Once all have arrived, the
marginals determine the flow along each tree.  Where it is negative, that pair is cut; where it is negative nowhere,
primal and dual agree and both are optimal.  This is the active-set method (Nocedal & Wright 2006, ch. 16) for a
separable concave function, started from entropic potentials; a step costs O(n m).
"""

from __future__ import annotations

import numpy as np

from .problem import INF, Array, Problem, Solution, dual_value, wanted
from .sinkhorn import annealed, iterate

START = 1e-3  # eps of the start against the largest cost
STEPS = 100  # at most, per row and column
ROUNDING = 1e-12  # of a tree's mass: a flow that is less is none
Pairs = list[tuple[int, int]]


def unbalanced(cost: Array, a: Array, b: Array, rho: tuple[float, float]) -> Solution:
    """The optimal plan, as a solution at eps = 0, from a float64 cost; +inf forbids a pair."""
    a, b, n = a.astype(float), b.astype(float), len(a)
    problem = Problem(a, b, np.ones_like(a), np.ones_like(b), 0.0, rho)
    h, pairs = _start(problem, cost)
    tree, done = _trees(pairs, *cost.shape), 0
    while done <= STEPS * len(h):  # a degenerate problem could turn in a circle; its error would tell
        done += 1
        h, joined = _moved(problem, cost, h, tree)
        if joined is not None:
            pairs.append(joined)
            tree[tree == tree[n + joined[1]]] = tree[joined[0]]
            continue
        _, worst = _flow(problem, h, pairs, tree)
        if worst is None:
            break
        del pairs[worst]
        tree = _trees(pairs, *cost.shape)
    plan, (f, g) = np.zeros(cost.shape), (h[:n], h[n:])
    plan[tuple(np.array(pairs).T)] = np.maximum(_flow(problem, h, pairs, tree)[0], 0.0)
    error = float(np.abs(plan.sum(1) - wanted(f, a, rho[0])).sum() + np.abs(plan.sum(0) - wanted(g, b, rho[1])).sum())
    value = dual_value(problem, f, g, 0.0)
    return Solution(problem, plan, problem.alpha, problem.beta, f, g, error, done, "active set", value)


def _start(problem: Problem, cost: Array) -> tuple[Array, Pairs]:
    """Entropic potentials made feasible, each row and each column tight somewhere."""
    a, b, n = problem.a, problem.b, len(problem.a)
    spread = max(float(np.max(cost, where=np.isfinite(cost), initial=0.0)), 1e-300)
    smooth = Problem(a, b, a, b, START * spread, problem.rho)
    f = iterate(annealed(smooth, cost), cost, 1e-3, 200).f
    if not np.isfinite(f).all():
        f = np.zeros_like(a)
    slack = cost - f[:, None]
    up = slack.argmin(0)
    g = slack[up, np.arange(len(b))]
    slack = cost - g
    across = slack.argmin(1)
    f = slack[np.arange(n), across]
    return np.concatenate([f, g]), _acyclic(
        [*enumerate(across.tolist()), *zip(up.tolist(), range(len(b)), strict=True)], n
    )


def _acyclic(pairs: Pairs, n: int) -> Pairs:
    root: dict[int, int] = {}

    def find(k: int) -> int:
        while k in root:
            k = root[k]
        return k

    kept = []
    for i, j in pairs:
        left, right = find(i), find(n + j)
        if left != right:
            root[left] = right
            kept.append((i, j))
    return kept


def _trees(pairs: Pairs, n: int, m: int) -> Array:
    """(n + m,) the number of the tree that each row and column is in."""
    from scipy.sparse import coo_array  # type: ignore[import-untyped]  # comes with POT
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    i, j = np.array(pairs).reshape(-1, 2).T
    labels: Array = connected_components(coo_array((np.ones(len(i)), (i, n + j)), (n + m, n + m)), directed=False)[1]
    return labels


def _moved(problem: Problem, cost: Array, h: Array, tree: Array) -> tuple[Array, tuple[int, int] | None]:
    """The potentials after the step towards the best shifts, and the pair that stopped it, if one did."""
    n = len(problem.a)
    slack = np.maximum(cost - h[:n, None] - h[n:], 0.0)
    shift = _best_shifts(problem, h, tree)
    alone = np.isinf(shift)  # a row or a column by itself goes as far as it is let
    far = np.max(slack, where=np.isfinite(slack), initial=0.0) + np.max(np.abs(shift), where=~alone, initial=0.0)
    shift = np.clip(shift, -4.0 * far - 1.0, 4.0 * far + 1.0)[tree]
    closing = shift[:n, None] - shift[n:]
    with np.errstate(divide="ignore", invalid="ignore"):
        time = np.where(closing > 1e-14 * far, slack / closing, INF)
    first = int(time.argmin())
    i, j = divmod(first, cost.shape[1])
    step = min(1.0, float(time[i, j]))
    return h + step * np.concatenate([shift[:n], -shift[n:]]), (i, j) if step < 1.0 else None


def _best_shifts(problem: Problem, h: Array, tree: Array) -> Array:
    n, (rho_a, rho_b) = len(problem.a), problem.rho
    price = rho_b if rho_a == INF else rho_a if rho_b == INF else rho_a * rho_b / (rho_a + rho_b)
    count = int(tree.max()) + 1
    rows = _log_masses(np.log(problem.a) - h[:n] / rho_a, tree[:n], count)
    columns = _log_masses(np.log(problem.b) - h[n:] / rho_b, tree[n:], count)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(price * (rows - columns), nan=0.0, posinf=INF, neginf=-INF)


def _log_masses(logs: Array, tree: Array, count: int) -> Array:
    """(count,) log of the sum of exp over each tree."""
    total = np.full(count, -INF)
    np.logaddexp.at(total, tree, logs)
    return total


def _flow(problem: Problem, h: Array, pairs: Pairs, tree: Array) -> tuple[Array, int | None]:
    """What the marginals make of each pair, and which pair has the most negative flow for its tree's mass."""
    n = len(problem.a)
    left = np.concatenate([wanted(h[:n], problem.a, problem.rho[0]), -wanted(h[n:], problem.b, problem.rho[1])])
    mass = np.bincount(tree, np.abs(left))[tree]
    ends = np.array(pairs) + np.array([0, n])
    flow = _leaf_by_leaf(ends, left.tolist())
    share = flow / np.maximum(mass[ends[:, 0]], 1e-300)
    worst = int(share.argmin())
    return flow, worst if share[worst] < -ROUNDING else None


def _leaf_by_leaf(ends: Array, left: list[float]) -> Array:
    """The only flow (k,) along the k edges of a forest that leaves nothing at the leaves."""
    edges: list[set[int]] = [set() for _ in left]
    for k, (i, j) in enumerate(ends.tolist()):
        edges[i].add(k)
        edges[j].add(k)
    flow = np.zeros(len(ends))
    leaves = [v for v, at in enumerate(edges) if len(at) == 1]
    while leaves:
        leaf = leaves.pop()
        if not edges[leaf]:
            continue
        k = edges[leaf].pop()
        i, j = ends[k]
        other = j if leaf == i else i
        flow[k] = left[leaf] if leaf == i else -left[leaf]
        left[other] += left[leaf]
        edges[other].discard(k)
        if len(edges[other]) == 1:
            leaves.append(other)
    return flow
