"""Verdicts of the studies: the rule of each, on worlds that are built to be as published or not."""

from __future__ import annotations

import numpy as np
import pytest
from cotrain_bench.paired import Contrast, Correlation, holm
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.studies import plans, tables
from cotrain_bench.sim2sim.studies.catalogue import STUDIES
from cotrain_bench.sim2sim.studies.findings import Answer, Finding
from hypothesis import given
from hypothesis import strategies as st

from tests.invented import invented, noise

# verdicts


def answer(mean: float, half: float, p: float, wanted: int = 1) -> Answer:
    return Answer("it", wanted, Contrast(mean, mean - half, mean + half, p, 5, 0.1), p)


@given(st.floats(-1, 1), st.floats(0.001, 1), st.floats(0, 1), st.sampled_from([-1, 1]))
def test_a_verdict_follows_its_rule(mean, half, p, wanted):
    verdict = Finding("It.", "", [answer(mean, half, p, wanted)]).verdict
    towards = wanted * mean
    if p <= 0.05 and mean:
        assert verdict == ("reproduced" if towards > 0 else "contradicted")
    elif p > 0.05:
        assert verdict == ("contradicted" if towards + half < 0.02 else "underpowered")


def test_a_finding_needs_all_its_contrasts_and_falls_with_one():
    yes, no, open_ = answer(0.3, 0.1, 0.001), answer(-0.3, 0.1, 0.001), answer(0.3, 0.4, 0.5)
    assert Finding("It.", "", [yes, yes]).verdict == "reproduced"
    assert Finding("It.", "", [yes, open_]).verdict == "underpowered"
    assert Finding("It.", "", [yes, open_, no]).verdict == "contradicted"
    assert Finding("It.", "", []).verdict == "not asked"


def test_a_correlation_is_judged_by_its_interval():
    for low, high, wanted, verdict in [
        (0.1, 0.9, 1, "reproduced"),
        (0.1, 0.9, -1, "contradicted"),
        (-0.9, -0.1, -1, "reproduced"),
        (-0.1, 0.9, 1, "underpowered"),
    ]:
        found = Answer("it", wanted, Correlation((low + high) / 2, low, high, 40), None)
        assert Finding("It.", "", [found]).verdict == verdict


def verdicts(study, success):
    return [finding.verdict for finding in STUDIES[study].findings(invented(study, success))]


def test_worlds_built_to_be_as_published_are_reproduced_and_their_opposites_contradicted():
    better = {"real_only": -0.3, "cfg_adda": 0.3}
    assert verdicts("methods", lambda c: 0.5 + noise(c) + better.get(c.method, 0)) == ["reproduced", "reproduced"]
    assert verdicts("methods", lambda c: 0.5 + noise(c) - better.get(c.method, 0)) == ["contradicted", "contradicted"]
    inside = lambda c: c.method == "cotraining" and 0.016 <= c.ratio <= 0.3
    assert verdicts("ratios", lambda c: 0.4 + noise(c) + 0.3 * inside(c)) == ["reproduced"]
    assert verdicts("ratios", lambda c: 0.6 + noise(c) - 0.3 * inside(c)) == ["contradicted"]
    assert verdicts("guidance", lambda c: 0.6 + noise(c)) == ["reproduced"]
    told = {"physics": 0.3, "control": -0.3}
    assert verdicts("label", lambda c: 0.5 + noise(c) + c.label * told.get(c.gap, 0)) == ["reproduced", "contradicted"]


def balance_verdicts(gained, tuned: float = 0.0) -> list[str]:
    """The three verdicts where the recipe gains so much by gap, and tuning so much everywhere."""

    def success(cell: Cell) -> float:
        rate = 0.5 + noise(cell) + tuned * plans.TUNED.has(cell)
        return rate + (gained.get(cell.gap, 0.0) if cell.method == "structured" else 0.0)

    return verdicts("balance", success)


def test_the_verdicts_say_from_which_bound_on_a_margin_is_kept():
    lines = tables.verdicts(STUDIES["balance"].findings(invented("balance", noise))).rows
    assert [line[2] for line in lines if line[3]] == ["wanted > -0.05"] * 4 + ["wanted > 0"] * 8


def test_the_recipe_is_judged_by_harm_in_every_gap_and_help_in_two():
    everywhere = dict.fromkeys(plans.GAPS, 0.2)
    assert balance_verdicts(everywhere) == ["reproduced"] * 3
    assert balance_verdicts(everywhere, tuned=0.4) == ["reproduced", "reproduced", "contradicted"]
    assert balance_verdicts({"control": 0.2, "hard": 0.2})[:2] == ["reproduced", "reproduced"]
    assert balance_verdicts({"control": 0.2})[1] == balance_verdicts({})[1] == "underpowered"
    assert balance_verdicts({**everywhere, "visual": -0.2})[0] == "contradicted"
    assert balance_verdicts({**everywhere, "visual": -0.04})[0] == "underpowered"


def test_a_family_of_questions_is_corrected_by_itself():
    results = invented("balance", lambda c: 0.5 + 0.1 * noise(c) + 0.02 * (c.method == "structured"))
    harm, plain, tuned = STUDIES["balance"].findings(results)
    assert [a.margin for a in harm.answers] == [0.05] * 4 and [len(f.answers) for f in (plain, tuned)] == [4, 4]
    for finding in (plain, tuned):
        assert [a.p for a in finding.answers] == holm([a.estimate.p for a in finding.answers])
        assert {a.estimate.pairs for a in finding.answers} == {21}
    assert [a.p for a in harm.answers] == [a.estimate.p for a in harm.answers]


def test_tables_of_the_development_and_of_stability_say_what_was_chosen_and_what_collapsed():
    results = invented("balance-development", lambda c: 0.4 + 0.2 * (c.method == "structured") + c.budget.learning_rate)
    table = tables.trials(results)
    best = max(table.rows, key=lambda line: line[3])
    assert len(table.rows) == 16 and best[:3] == ["structured (ours)", 0.1, "own"] and best[5] == 6
    results = invented("stability", lambda c: 0.2 if c.method == "adda" and c.seed < 43 else 0.5)
    lines = {line[0]: line[1:4] for line in tables.collapses(results).rows}
    assert lines["+ ADDA"] == [20, 3, pytest.approx(-0.3)] and lines["structured (ours)"] == [20, 0, 0.0]


def test_where_nothing_differs_and_pairs_agree_a_finding_is_contradicted_and_where_they_scatter_it_is_underpowered():
    assert verdicts("label", lambda c: 1.0)[0] == "contradicted"
    assert verdicts("label", lambda c: 0.5 + 0.4 * np.sin(91 * c.seed + 5 * c.label))[0] == "underpowered"


def test_distance_that_goes_with_success_is_found_gap_by_gap():
    results = invented("correlation", lambda c: 0.5)
    for cell, row in results:
        sign = 1 if cell.gap == "physics" else -1
        row["success"] = 0.5 + 0.1 * sign * row["log_wasserstein"]
    (finding,) = STUDIES["correlation"].findings(results)
    assert finding.verdict == "reproduced" and len(finding.answers) == 3
    table = tables.correlations(results)
    assert {row[2] for row in table.rows} >= {"all", 0.1} and {row[1] for row in table.rows} == {
        "visual",
        "physics",
        "hard",
    }
