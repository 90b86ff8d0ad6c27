"""Studies: plans are as announced, verdicts follow from the cells by the rule, and a report holds it all."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import typer
from cotrain_bench.paired import Contrast, Correlation, holm
from cotrain_bench.results import CannotContinue, read_results
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.methods import METHODS, Compared, studied
from cotrain_bench.sim2sim.run import Runner
from cotrain_bench.sim2sim.studies import balance, page, tables
from cotrain_bench.sim2sim.studies.catalogue import STUDIES, Study
from cotrain_bench.sim2sim.studies.findings import Answer, Finding
from cotrain_bench.sim2sim.studies.plans import SIZES, methods
from cotrain_bench.sim2sim.studies.study import cells_of, command, described
from cotrain_bench.sim2sim.tasks import TASKS
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cotrain_losses import recipes


def invented(study: str, success, preset: str = "standard"):
    """The cells of a study with rows as a rule success(cell) -> rate has them."""
    draws, results = np.random.default_rng(0), []
    for cell in cells_of(study, STUDIES[study].only or preset):
        rate = float(np.clip(success(cell), 0, 1))
        row = {**{name: v for name, v in vars(cell).items() if name not in ("budget", "scales")}, "loss": 0.1}
        row |= {"success": rate, "successes": round(100 * rate), "episodes": 100, "low": rate, "high": rate}
        row |= {"log_wasserstein": float(draws.normal()), "probe_accuracy": 0.9, "regime": "structured"}
        row |= dict.fromkeys(("train_cpu_s", "evaluation_cpu_s", "measures_cpu_s"), 1.0)
        row |= {"scales": {str(s): rate - abs(s - 0.5) / 5 for s in cell.scales}} if cell.scales else {}
        cloud = draws.normal(size=(20, 3))
        results.append((cell, row | {"picture": {"features": {"source": cloud, "target": cloud + 1}}}))
    return results


def noise(cell: Cell) -> float:
    return 0.02 * np.sin(97 * cell.seed + 13 * len(cell.gap) + 7 * len(cell.method))


# plans


@pytest.mark.parametrize("study", STUDIES)
def test_a_standard_study_has_at_most_150_cells_and_every_preset_has_some_once(study):
    only = STUDIES[study].only
    presets = [only] if only else list(SIZES)
    assert only or 1 < len(cells_of(study, "standard")) <= 150
    for preset in presets:
        cells = cells_of(study, preset)
        assert cells and len(set(cells)) == len(cells)


def test_every_method_of_the_issue_is_in_the_overnight_preset():
    wanted = "real_only cotraining normalised ot mmd energy uot jdot adda dann cfg cfg_adda probe discernibility"
    assert set(wanted.split()) == set(studied("all"))
    assert {cell.method for cell in cells_of("methods", "overnight")} == set(studied("all"))


def test_all_methods_of_a_pair_share_its_demonstrations_and_episodes():
    cells = cells_of("methods", "standard")
    for seed, gap in product({c.seed for c in cells}, {c.gap for c in cells}):
        some = [cell for cell in cells if (cell.seed, cell.gap) == (seed, gap)]
        assert len(some) == 7
        assert len({str(cell.requests()) + str(cell.evaluation_seeds()) for cell in some}) == 1


def test_studies_share_cells_and_a_ratio_of_one_is_target_only():
    methods, ratios = (set(cells_of(study, "standard")) for study in ("methods", "ratios"))
    assert len(methods & ratios) == 20
    assert {c.ratio for c in ratios if c.method == "cotraining"} == {0.0, 0.005, 0.016, 0.1, 0.3, 0.5, 0.8}
    assert {c.method for c in ratios} == {"cotraining", "real_only"}


def test_the_image_study_was_written_down_as_a_whole():
    cells = cells_of("image", "overnight")
    assert len(cells) == 20 and {c.method for c in cells} == {"real_only", "cotraining", "adda", "cfg_adda"}
    with pytest.raises(ValueError, match="image has one preset, overnight, got 'smoke'"):
        cells_of("image", "smoke")


@pytest.mark.parametrize(("study", "preset"), [("method", "smoke"), ("methods", "demo")])
def test_an_unknown_study_or_preset_is_answered_with_what_there_is(study, preset):
    with pytest.raises(ValueError, match=r"is one of (methods, ratios|smoke, standard).*, got '(method|demo)'"):
        cells_of(study, preset)


def test_the_recipe_is_tested_on_tasks_and_draws_that_it_was_not_developed_on():
    test, others = balance.test(), [*balance.development(), *balance.calibration()]
    assert not {cell.task for cell in test} & {cell.task for cell in balance.development()}
    assert not {cell.seed for cell in test} & {cell.seed for cell in others}
    arms = {(c.method, c.ratio, c.budget.learning_rate) for c in test if c.seed == balance.TEST_SEEDS[-1]}
    assert arms == {("cotraining", 0.1, 1e-3), ("structured", 0.1, 1e-3), ("cotraining", 0.1, 2e-3)}
    tried = {c.method for c in balance.development()}, {(c.ratio, c.budget) for c in balance.development()}
    assert sum(len(arm.scales) + 1 for arm in balance.RECIPE_TRIALS) == len(balance.PLAIN_TRIALS) == len(tried[1]) == 8
    held_out = [name for name, method in METHODS.items() if method.holds_out]
    assert balance.TUNED in balance.PLAIN_TRIALS and tried[0] == {"cotraining", *held_out}


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
        rate = 0.5 + noise(cell) + tuned * balance.TUNED.has(cell)
        return rate + (gained.get(cell.gap, 0.0) if cell.method == "structured" else 0.0)

    return verdicts("balance", success)


def test_the_verdicts_say_from_which_bound_on_a_margin_is_kept():
    lines = tables.verdicts(STUDIES["balance"].findings(invented("balance", noise))).rows
    assert [line[2] for line in lines if line[3]] == ["wanted > -0.05"] * 4 + ["wanted > 0"] * 8


def test_the_recipe_is_judged_by_harm_in_every_gap_and_help_in_two():
    everywhere = dict.fromkeys(balance.GAPS, 0.2)
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
        assert [a.p for a in finding.answers] == holm([a.found.p for a in finding.answers])
        assert {a.found.pairs for a in finding.answers} == {21}
    assert [a.p for a in harm.answers] == [a.found.p for a in harm.answers]


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


# reports


@pytest.mark.parametrize("study", STUDIES)
def test_a_report_holds_verdicts_figures_settings_and_failures(study, tmp_path):
    preset = STUDIES[study].only or "smoke"
    results = invented(study, lambda c: 0.5 + noise(c), preset)
    settings = described(study, preset, [cell for cell, _ in results], Runner(2), 12.0)
    written = {"settings": settings, "versions": {"torch": "2"}}
    failed = [(replace(results[0][0], seed=99), "ValueError: a policy returns finite commands, got NaN")]
    page.write_page(tmp_path, study, written, results, failed, STUDIES[study].findings(results), [])
    html = (tmp_path / "report.html").read_text()
    assert "got NaN" in html and command(study, preset, "flow") in html
    assert ("keypoints only" in html) == (study != "image")
    assert 1 <= html.count("data:image/png;base64") == len(list(tmp_path.glob("*.png"))) <= len(STUDIES[study].pictures)
    assert "verdict" in (tmp_path / "verdicts.md").read_text()


def test_a_study_runs_keeps_its_cells_for_others_and_marks_a_failed_cell(tmp_path, monkeypatch):
    from cotrain_bench.sim2sim.studies import plans, study

    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))
    tiny = replace(SIZES["smoke"], base=replace(SIZES["smoke"].base, source_demos=1, target_demos=1, episodes=2))
    monkeypatch.setitem(plans.SIZES, "smoke", replace(tiny, gaps=("control",), methods=("real_only",)))
    table, verdict = study.run_study("methods", "smoke", tmp_path / "out", Runner(1))
    written = read_results(tmp_path / "out" / "methods")
    assert len(written["rows"]) == 2 and "not asked" in verdict and table.rows
    kept = sorted((tmp_path / "out" / "cells").glob("*.json"))
    assert len(kept) == 2
    html = (tmp_path / "out" / "methods" / "report.html").read_text()
    assert "data:image/gif;base64" in html or "apt-get install" in html
    study.run_study("methods", "smoke", tmp_path / "out", Runner(1))
    assert sorted((tmp_path / "out" / "cells").glob("*.json")) == kept
    kept[0].unlink()
    study.run_study("methods", "smoke", tmp_path / "out", Runner(1), so_far=True)
    rows = read_results(tmp_path / "out" / "methods")["rows"]
    assert len(list((tmp_path / "out" / "cells").glob("*.json"))) == 1 and len(rows) == 2
    assert [row["error"] for row in rows if "error" in row] == ["not finished"]
    with pytest.raises(CannotContinue, match=r"none of 2 cells could be computed.*a factory returns an nn.Module"):
        study.run_study("methods", "smoke", tmp_path / "out", Runner(1), policy="copy:copy")


# one place each


def test_a_study_a_method_and_a_task_that_are_registered_are_known_to_the_whole_command(tmp_path, monkeypatch):
    question = "Does it help where the button is harder to see?"
    monkeypatch.setitem(TASKS, "press-again", replace(TASKS["button-press"], gate=0.5))
    monkeypatch.setitem(METHODS, "half", Compared("half and half", lambda s: recipes.cotraining(0.5), studied="all"))
    monkeypatch.setitem(STUDIES, "again", Study(question, methods, ("by_method",)))
    spec = importlib.util.find_spec("cotrain_bench.sim2sim.command")
    command = importlib.util.module_from_spec(spec)  # read anew, as a new process reads it
    spec.loader.exec_module(command)
    app = typer.Typer()
    app.command()(command.sim2sim)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert all(name in shown for name in ("press-again", "half", "again"))

    assert {cell.method for cell in cells_of("again", "overnight")} == {*studied("all")} >= {"half"}
    assert Cell(task="press-again", method="half").requests()["target"].task == "press-again"
    with pytest.raises(ValueError, match=r"a method is one of .*half.*, got 'none'"):
        Cell(method="none")

    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))
    few = ["--target-demos", "1", "--source-demos", "1", "--episodes", "1", "--steps", "2", "--workers", "1"]
    arguments = ["--preset", "smoke", "--task", "press-again", "--methods", "half", *few, "--out", str(tmp_path)]
    monkeypatch.setattr("cotrain_bench.sim2sim.run.processes", ThreadPoolExecutor)
    monkeypatch.setattr("cotrain_bench.sim2sim.run.executor", lambda *_: ThreadPoolExecutor(1))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "half and half" in (tmp_path / "report.html").read_text()

    results = invented("again", lambda c: 0.5 + noise(c), "smoke")
    settings = described("again", "smoke", [cell for cell, _ in results], Runner(2), 12.0)
    written = {"settings": settings, "versions": {"torch": "2"}}
    page.write_page(tmp_path, "again", written, results, [], STUDIES["again"].findings(results), [])
    assert question in (tmp_path / "report.html").read_text()
