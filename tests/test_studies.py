"""The studies: their plans, their reports, and how another is registered."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import pytest
import typer
from cotrain_bench.results import CannotContinue, read_results
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.evaluation import unmeasured
from cotrain_bench.sim2sim.methods import METHODS, Compared, studied
from cotrain_bench.sim2sim.run import Runner
from cotrain_bench.sim2sim.studies import page, plans
from cotrain_bench.sim2sim.studies.catalogue import STUDIES, Study
from cotrain_bench.sim2sim.studies.plans import SIZES, methods
from cotrain_bench.sim2sim.studies.study import cells_of, command, described
from cotrain_bench.sim2sim.tasks import TASKS
from typer.testing import CliRunner

from cotrain_losses import recipes
from tests.invented import invented, noise

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
    test, others = plans.test(), [*plans.development(), *plans.calibration()]
    assert not {cell.task for cell in test} & {cell.task for cell in plans.development()}
    assert not {cell.seed for cell in test} & {cell.seed for cell in others}
    arms = {(c.method, c.ratio, c.budget.learning_rate) for c in test if c.seed == plans.TEST_SEEDS[-1]}
    assert arms == {("cotraining", 0.1, 1e-3), ("structured", 0.1, 1e-3), ("cotraining", 0.1, 2e-3)}
    tried = {c.method for c in plans.development()}, {(c.ratio, c.budget) for c in plans.development()}
    assert sum(len(arm.scales) + 1 for arm in plans.RECIPE_TRIALS) == len(plans.PLAIN_TRIALS) == len(tried[1]) == 8
    held_out = [name for name, method in METHODS.items() if method.holds_out]
    assert plans.TUNED in plans.PLAIN_TRIALS and tried[0] == {"cotraining", *held_out}


# reports


def without_features(row):
    return {name: value for name, value in row.items() if name != "picture"}


@pytest.mark.parametrize("study", STUDIES)
def test_a_report_holds_verdicts_figures_settings_and_failures(study, tmp_path):
    preset = STUDIES[study].only or "smoke"
    results = invented(study, lambda c: 0.5 + noise(c), preset)
    results = [(cell, row if k < 4 else without_features(row)) for k, (cell, row) in enumerate(results)]
    cell, row = results[-1]
    lost = without_features(row) | unmeasured(cell.region)
    results[-1] = cell, lost | {"success": 0.0, "diverged": "it stopped at step 3"}
    settings = described(study, preset, [cell for cell, _ in results], Runner(2), 12.0)
    written = {"settings": settings, "versions": {"torch": "2"}}
    failed = [(replace(results[0][0], seed=99), "ValueError: a policy returns finite commands, got NaN")]
    page.write_page(tmp_path, study, written, results, failed, STUDIES[study].findings(results), [])
    html = (tmp_path / "report.html").read_text()
    assert "it stopped at step 3" in html and "of which 1 diverged and count as 0" in html
    assert "got NaN" in html and command(study, preset, results[0][0]) in html
    assert ("keypoints only" in html) == (not study.startswith("image"))
    assert 1 <= html.count("data:image/png;base64") == len(list(tmp_path.glob("*.png"))) <= len(STUDIES[study].pictures)
    assert "verdict" in (tmp_path / "verdicts.md").read_text()


def test_a_study_runs_keeps_its_cells_for_others_and_marks_a_failed_cell(tmp_path, monkeypatch):
    from cotrain_bench.sim2sim.studies import plans, study

    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("cotrain_bench.sim2sim.cell.EPISODES", 2)
    tiny = replace(SIZES["smoke"], base=replace(SIZES["smoke"].base, source_demos=1, target_demos=1, episodes=2))
    monkeypatch.setitem(plans.SIZES, "smoke", replace(tiny, gaps=("control",), methods=("real_only",)))
    monkeypatch.setattr("cotrain_bench.sim2sim.run.executor", lambda *_: ThreadPoolExecutor(1))  # not one a run
    table, verdict = study.run_study("methods", "smoke", tmp_path / "out", Runner(1))
    written = read_results(tmp_path / "out" / "methods")
    assert len(written["rows"]) == 2 and "not asked" in verdict and table.rows
    kept = sorted((tmp_path / "out" / "cells").glob("*.json"))
    assert len(kept) == 2
    html = (tmp_path / "out" / "methods" / "report.html").read_text()
    assert "data:image/gif;base64" in html or "apt-get install" in html
    monkeypatch.setattr("cotrain_bench.sim2sim.studies.films.films", lambda results: [])
    study.run_study("methods", "smoke", tmp_path / "out", Runner(1))
    assert sorted((tmp_path / "out" / "cells").glob("*.json")) == kept
    kept[0].unlink()
    study.run_study("methods", "smoke", tmp_path / "out", Runner(1), so_far=True)
    rows = read_results(tmp_path / "out" / "methods")["rows"]
    assert len(list((tmp_path / "out" / "cells").glob("*.json"))) == 1 and len(rows) == 2
    assert [row["error"] for row in rows if "error" in row] == ["not finished"]
    with pytest.raises(CannotContinue, match=r"--so-far .* got none of methods's 2 in .* Leave it out to compute them"):
        study.run_study("methods", "smoke", tmp_path / "empty", Runner(1), so_far=True)
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
    monkeypatch.setattr("cotrain_bench.sim2sim.cell.EPISODES", 2)
    few = ["--target-demos", "1", "--source-demos", "1", "--episodes", "1", "--steps", "2", "--workers", "1"]
    arguments = ["--preset", "smoke", "--task", "press-again", "--methods", "half", *few, "--out", str(tmp_path)]
    monkeypatch.setattr("cotrain_bench.sim2sim.run.executor", lambda *_: ThreadPoolExecutor(1))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "half and half" in (tmp_path / "report.html").read_text()

    results = invented("again", lambda c: 0.5 + noise(c), "smoke")
    settings = described("again", "smoke", [cell for cell, _ in results], Runner(2), 12.0)
    written = {"settings": settings, "versions": {"torch": "2"}}
    page.write_page(tmp_path, "again", written, results, [], STUDIES["again"].findings(results), [])
    assert question in (tmp_path / "report.html").read_text()
