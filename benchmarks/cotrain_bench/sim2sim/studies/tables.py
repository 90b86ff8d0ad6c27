"""Tables of a study: verdicts, success by gap, differences, correlations, what was published."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import product

from cotrain_losses.cli.report import Table

from ...paired import Contrast, Correlation, Weighted, contrast, holm, mean_interval
from ...stratified import Stratified
from ..methods import METHODS
from . import plans
from .claims import related
from .findings import Finding, Result, distinct, select
from .plans import title

PUBLISHED_R = {"visual": -0.76, "physics": 0.57, "visual-control": -0.70, "hard": -0.70}  # with log distance


def verdicts(findings: Sequence[Finding]) -> Table:
    """One line an answer; a finding's own line carries its verdict."""
    lines: list[list[object]] = []
    for finding in findings:
        lines.append([finding.claim, finding.verdict, finding.published, None, None, None])
        for answer in finding.answers:
            name = f"\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}{answer.name}"
            detectable = answer.estimate.detectable if isinstance(answer.estimate, Contrast) else None
            wanted = f"wanted {'>' if answer.wanted > 0 else '<'} {-answer.margin if answer.margin else 0.0:g}"
            lines.append([name, "", wanted, interval(answer.estimate), answer.p, detectable])
    return Table(
        ["finding", "verdict", "published", "measured, 95 % interval over pairs", "p (Holm)", "detectable"],
        lines,
        "Detectable: the smallest true difference of success this study finds with power .8. Underpowered means that "
        "the data do not say, not that there is no effect. Correlations are judged by their interval. Where more than "
        "a margin below zero is wanted, both bounds are one-sided, p is of the margin, and not corrected.",
    )


def interval(estimate: Contrast | Correlation | Stratified) -> str:
    """A mean or a correlation, which is the first of its numbers, with its interval."""
    return f"{estimate[0]:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"


def success(results: Sequence[Result]) -> Table:
    """Mean success over pairs, with its bootstrap interval, by what differs between cells."""
    groups: dict[tuple[object, ...], list[float]] = {}
    for cell, row in results:
        ratio = 1.0 if cell.method == "real_only" else cell.ratio
        key = (cell.task, plans.gap(cell), title(cell), ratio, f"{cell.target_demos} / {cell.source_demos}")
        groups.setdefault(key, []).append(row["success"])
    lines = [
        [*key, sum(values) / len(values), *mean_interval(values), len(values), " ".join(f"{v:.2f}" for v in values)]
        for key, values in groups.items()
    ]
    return Table(
        ["task", "gap", "method", "ratio", "demos", "success", "low", "high", "pairs", "each pair"],
        lines,
        "Interval: 95 % bootstrap over pairs (a demonstration draw with a training seed); too narrow with few pairs.",
    )


def differences(results: Sequence[Result]) -> Table:
    """Each method against plain co-training in the same gap, pair by pair."""
    plain = select(results, method="cotraining", label=False)
    bases = {(c.task, c.gap, c.seed, c.ratio): row for c, row in plain}
    names: dict[tuple[str, str], list[Weighted]] = {}
    for c, row in results:
        base = bases.get((c.task, c.gap, c.seed, c.ratio))
        if base is not None and (c.method != "cotraining" or c.label):
            name = METHODS[c.method].title + (", label seen" if c.label else "")
            names.setdefault((c.gap, name), []).append([(1.0, row), (-1.0, base)])
    kept = {key: pairs for key, pairs in names.items() if len(pairs) > 1}
    contrasts = [contrast(pairs, family=len(kept)) for pairs in kept.values()]
    adjusted = holm([c.p for c in contrasts])
    lines = [
        [gap, name, f"{c.mean:+.3f}", f"[{c.low:+.2f}, {c.high:+.2f}]", c.p, p, c.detectable]
        for (gap, name), c, p in zip(kept, contrasts, adjusted, strict=True)
    ]
    return Table(
        ["gap", "method", "minus co-training", "95 % interval", "p", "p (Holm)", "detectable"],
        lines,
        "Paired t tests over pairs; Holm over this table. Tasks are pooled.",
    )


def trials(results: Sequence[Result]) -> Table:
    """What each trial of the development reached, averaged over gaps and seeds, at each guidance scale."""
    lines = []
    for arm in (*plans.RECIPE_TRIALS, *plans.PLAIN_TRIALS):
        some = [(cell, row) for cell, row in results if arm.has(cell)]
        for scale in ("own", *arm.scales) if some else ():
            rates = [(c.gap, row["success"] if scale == "own" else row["scales"][str(scale)]) for c, row in some]
            by_gap = {gap: [rate for name, rate in rates if name == gap] for gap in distinct(some, "gap")}
            shown = "; ".join(f"{gap} {sum(values) / len(values):.2f}" for gap, values in by_gap.items())
            mean = sum(rate for _, rate in rates) / len(rates)
            lines.append([title(some[0][0]), arm.ratio, scale, mean, shown, len(some)])
    note = "Means over gaps and seeds; the highest of the recipe's and of plain co-training's is chosen."
    return Table(["trial", "ratio", "guidance scale", "success", "by gap", "policies"], lines, note)


def collapses(results: Sequence[Result]) -> Table:
    """How many policies of each method solve less than half of what plain co-training of the same pair does."""
    plain = {cell.seed: row["success"] for cell, row in results if plans.PLAIN.has(cell)}
    lines = []
    for name in dict.fromkeys(title(cell) for cell, _ in results):
        rates = [(row["success"], plain[c.seed]) for c, row in results if title(c) == name and c.seed in plain]
        worst = min(rate - base for rate, base in rates)
        mean = sum(rate for rate, _ in rates) / len(rates)
        lines.append([name, len(rates), sum(rate < base / 2 for rate, base in rates), worst, mean])
    return Table(["method", "policies", "collapsed", "worst difference", "success"], lines, "Of one task, one gap.")


def correlations(results: Sequence[Result]) -> Table:
    """Measures of alignment and discernibility against success: by gap, and within the base ratio."""
    lines = []
    ratios = ["all", *sorted(distinct(results, "ratio"))]
    names = {"log_wasserstein": "log distance", "probe_accuracy": "probe accuracy"}
    for of, gap, ratio in product(names, distinct(results, "gap"), ratios):
        some = select(results, gap=gap, **({} if ratio == "all" else {"ratio": ratio}))
        pearson, spearman = (related(some, of=of, ranks=ranks) for ranks in (False, True))
        if pearson is not None and spearman is not None and pearson.cells >= 8:
            published = PUBLISHED_R.get(gap) if of == "log_wasserstein" and ratio == "all" else None
            shown = [interval(pearson), interval(spearman)]
            lines.append([names[of], gap, ratio, pearson.cells, *shown, published])
    return Table(
        ["measure", "gap", "ratio", "cells", "Pearson, 95 %", "Spearman, 95 %", "published r"],
        lines,
        "Intervals draw whole pairs anew. Groups of fewer than eight cells are left out.",
    )


def published_methods() -> Table:
    return Table(
        ["method", "simulation, balanced ratios", "simulation, other ratios", "robot, of 30"],
        [[method.title, *method.published] for method in METHODS.values() if method.published],
        "Lei et al. 2026: robosuite and MimicGen tasks with images, 50 target and about 3000 source demonstrations. "
        "Other tasks, observations and sizes than ours: compare orders, not figures.",
    )


def costs(results: Sequence[Result]) -> Table:
    parts = ("train_cpu_s", "evaluation_cpu_s", "measures_cpu_s")
    lines = []
    for name in distinct(results, "method"):
        rows = [row for _, row in select(results, method=name)]
        medians = [statistics.median(row[part] for row in rows) for part in parts]
        lines.append([METHODS[name].title, len(rows), *medians])
    return Table(["method", "cells", "training", "evaluation", "measures"], lines, "Medians of CPU seconds of a cell.")
