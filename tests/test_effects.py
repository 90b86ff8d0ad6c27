"""The test of the recipe: frozen settings, and what its tables say of results whose effects are known."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from cotrain_bench.paired import contrast, detectable, holm
from cotrain_bench.sim2sim.studies import catalogue, confirm, effects, page, recipe, transfer
from cotrain_bench.sim2sim.studies.committed import committed
from cotrain_bench.sim2sim.studies.findings import judged
from cotrain_bench.sim2sim.studies.pictures import by_task
from cotrain_bench.sim2sim.studies.study import cells_of
from cotrain_bench.sim2sim.studies.tables import interval
from cotrain_bench.sim2sim.style import styled
from cotrain_bench.stratified import stratified
from hypothesis import given
from hypothesis import strategies as st

from tests.invented import invented

STUDIES = Path(__file__).parent.parent / "docs/studies"


def test_the_test_has_the_settings_that_the_rules_take_and_seeds_of_its_own():
    root = Path(__file__).parent.parent / "docs/studies"
    developed, turned = (committed(root / name / "results.csv") for name in ("recipe-development", "recipe-angle"))
    by_rule = recipe.taken(developed) | {"best prior": recipe.taken(developed)[recipe.best_prior(developed)]}
    frozen = {name.replace("plain as tuned", "plain"): cell for name, cell in confirm.ARMS.items() if name != "plain"}
    assert frozen == {name: by_rule[name][0] for name in frozen} and confirm.ARMS["plain"] == transfer.BASE
    assert recipe.chosen_angles(turned) == confirm.ANGLES
    tested, harm = (cells_of(name, "overnight") for name in ("recipe", "recipe-harm"))
    assert len(tested) == 12 * 4 * 6 and len(harm) == 12 * 4 * 2 and {cell.coverage for cell in harm} == {"whole"}
    others = {
        cell.seed
        for name, study in catalogue.STUDIES.items()
        for cell in cells_of(name, study.only or "paper")
        if name not in ("recipe", "recipe-harm")
    }
    assert not others & {*confirm.SEEDS, *confirm.HARM_SEEDS} and not {*confirm.SEEDS} & {*confirm.HARM_SEEDS}
    assert {cell.seed for cell in tested[:24]} == {130} and len({cell.task for cell in tested[:24]}) == 4


def test_the_page_has_what_the_committed_rows_of_the_test_say():
    rows = committed(STUDIES / "recipe/results.csv")
    assert {cell for cell, _ in rows} <= {*confirm.test()} and confirm.draws(rows) == 12
    text = (STUDIES.parent / "transfer-recipe.md").read_text().replace("**", "")
    plain = {"best prior": "best prior: path head"}

    for name, role, unseen, p, adjusted, by_draws, seen in effects.compared(rows).rows:
        (line,) = [x for x in text.splitlines() if x.startswith(f"| {plain.get(name, name)} | {role} |")]
        shown = [float(part) for part in re.findall(r"[-+]?\.\d+|\d+e-\d+", line)]
        ps = [] if p is None else [p, *([] if adjusted is None else [adjusted]), by_draws]
        numbers = [*map(float, re.findall(r"[-+]\d.\d+", unseen)), *ps, *map(float, re.findall(r"[-+]\d.\d+", seen))]
        assert shown == pytest.approx(numbers, abs=6e-4)
    for arm, *_, seen, unseen in effects.success(rows).rows:
        (line,) = [x for x in text.splitlines() if x.startswith(f"| {plain.get(arm, arm)} | .")]
        assert line.endswith(f"| {unseen:.2f} | {seen:.2f} |".replace("0.", "."))
    (harm,) = judged(effects.HARMLESS, rows)[0].answers
    bounds = f"{harm.estimate.mean:+.2f}, one-sided 95 % bound {harm.estimate.low:+.2f}"
    assert f"{bounds} (n = {harm.estimate.pairs}, p = {harm.p:.3f}".replace("0.", ".") in text
    (primary,) = effects.better(rows, [confirm.PRIMARY])
    found = f"{primary.estimate.pairs} pairs find a difference of {primary.estimate.detectable:.2f}"
    assert found.replace("0.", ".") in text


def test_the_page_says_where_the_recipe_harms():
    rows = committed(STUDIES / "recipe-harm/results.csv")
    text = (STUDIES.parent / "transfer-recipe.md").read_text().replace("**", "")
    (found,) = judged(effects.HARMLESS, rows)
    assert {cell for cell, _ in rows} == {*confirm.harm()} and len(found.answers) == 4
    for answer in found.answers:
        gap, at = answer.name.split(", ")[1], answer.estimate
        (line,) = [x for x in text.splitlines() if x.startswith(f"| `{gap}` | ")]
        at_gap = [(confirm.arm_of(c), row["success"]) for c, row in rows if c.gap == gap]
        arms = [fmean(solved for name, solved in at_gap if name == arm) for arm in (confirm.PRIMARY, "ours")]
        shown = [float(part) for part in re.findall(r"[-+]?\d*\.\d+", line)][:5]
        assert shown == pytest.approx([*arms, at.mean, at.low, at.high], abs=0.0051) and at.pairs == 12


GAIN = {"plain as tuned": 0.2, "label only": 0.3, "cameras randomised": -0.1, "best prior": 0.0, "plain": 0.25}


def rate(cell) -> float:
    """Ours solves .6 and the others GAIN less, with a noise of the draw that pairs share and one of their own."""
    arm, n = confirm.arm_of(cell), [*recipe.TASKS].index(cell.task) if cell.task in recipe.TASKS else 0
    own = 0.02 * np.sin(31 * cell.seed + 7 * n + 13 * len(arm))
    return 0.6 - GAIN.get(arm, 0.0) + 0.1 * np.sin(17 * cell.seed + n) + own


def sides(results):
    """Rows whose unseen side has the rate, and whose seen side is solved to .9 by ours, .04 less by the others."""

    def seen(cell) -> float:
        return 0.9 - 0.04 * (confirm.arm_of(cell) != "ours") + 0.02 * np.sin(cell.seed)

    return [(cell, {**row, "unseen": row["success"], "seen": seen(cell)}) for cell, row in results]


@pytest.fixture(scope="module")
def whole():
    return sides(invented("recipe", rate))


def test_ours_minus_each_arm_is_the_mean_over_tasks_of_the_mean_over_draws(whole):
    lines = {line[0]: line[1:] for line in effects.compared(whole).rows}
    assert list(lines) == list(confirm.COMPARED)
    for name, (role, unseen, p, adjusted, by_draws, seen) in lines.items():
        assert seen.startswith("+0.04 [") and (by_draws is None) == (role == "described")
        each = [
            fmean(
                row["unseen"] * {"ours": 1, name: -1}.get(confirm.arm_of(cell), 0) * len(confirm.ARMS)
                for cell, row in whole
                if cell.task == task
            )
            for task in recipe.TASKS
        ]
        assert float(unseen.split()[0]) == pytest.approx(fmean(each), abs=0.0051) == pytest.approx(GAIN[name], abs=0.02)
        assert (p is None) == (role == "described") and (adjusted is None) == (role != "secondary")
    assert lines["plain as tuned"][2] < 1e-4 and lines["best prior"][2] > 0.05
    assert lines["plain as tuned"][4] == pytest.approx(2.0**-11)  # all twelve draws have the same sign
    ps = {name: lines[name][2] for name in confirm.SECONDARY}
    assert [lines[name][3] for name in ps] == pytest.approx(holm([*ps.values()]))


def test_a_task_alone_and_the_others_without_it_make_the_whole(whole):
    found = {line[0]: [float(text.split()[0]) for text in line[1:]] for line in effects.by_task(whole).rows}
    whole = [float(line[2].split()[0]) for line in effects.compared(whole).rows]
    for task in recipe.TASKS:
        joined = [(one + 3 * rest) / 4 for one, rest in zip(found[task], found[f"all but {task}"], strict=True)]
        assert joined == pytest.approx(whole, abs=0.011)


def test_a_draw_that_lacks_a_cell_is_left_out_and_without_a_whole_draw_tables_say_so(whole):
    some = whole[: 24 * 3 - 1]
    assert confirm.draws(some) == 2 and {cell.seed for cell, _ in confirm.whole(some)} == {130, 131}
    (answer,) = effects.better(some, ["plain"])
    assert answer.estimate.pairs == 8 and answer.p == answer.estimate.p
    assert "over 2 of 12 draws" in effects.compared(some).caption and "2 draws" in effects.success(some).caption
    none = whole[:23]
    for table in (effects.compared, effects.by_task, effects.success):
        assert table(none).rows == []
    assert {found.verdict for found in catalogue.STUDIES["recipe"].findings(none)} == {"not asked"}


def test_what_an_arm_solves_is_shown_of_both_sides(whole):
    lines = {line[0]: line[1:] for line in effects.success(whole).rows}
    assert list(lines) == list(confirm.ARMS)
    for *each, seen, unseen in lines.values():
        assert len(each) == 4
        for k, mean in enumerate((seen, unseen)):
            assert fmean(float(text.split(", ")[k]) for text in each) == pytest.approx(mean, abs=0.0051)


def test_claims_are_judged_by_the_tests_of_the_protocol(whole):
    primary, secondary, harmless = catalogue.STUDIES["recipe"].findings(whole)
    assert (primary.verdict, secondary.verdict, harmless.verdict) == ("reproduced", "contradicted", "reproduced")
    lines = {line[0]: line for line in effects.compared(whole).rows}
    for answer in (*primary.answers, *secondary.answers):
        line = lines[answer.name.removeprefix("ours minus ")]
        assert (interval(answer.estimate), answer.estimate.p) == (line[2], line[3])
        assert answer.p == (line[3] if line[1] == "primary" else line[4]) and answer.estimate.pairs == 48
        error = np.std([*confirm.differences(whole, line[0]).values()], axis=1, ddof=1).mean() / 48**0.5
        level = 0.05 if line[1] == "primary" else 0.05 / 3
        assert answer.estimate.detectable == pytest.approx(detectable(48, error, level), rel=0.2)  # tasks vary alike
    lead = page.lead([primary, secondary, harmless], whole, {"study": "recipe", "observations": "keypoints only"})
    assert lead.startswith(
        "The recipe is better than plain co-training as tuned where the target has no demonstrations: re"
    )


def test_harm_is_excluded_by_the_bound_of_a_paired_t_and_not_by_the_mean(whole):
    (found,) = judged(effects.HARMLESS, whole)
    (answer,) = found.answers
    assert (answer.name, answer.estimate.pairs) == ("ours minus plain as tuned, seen side", 48)
    assert answer.estimate.mean == pytest.approx(0.04) and found.verdict == "reproduced"

    def loss(cell):
        return 0.9 - (0.04 if cell.gap == "hard" and confirm.arm_of(cell) == "ours" else 0) + 0.05 * np.sin(cell.seed)

    (found,) = judged(effects.HARMLESS, invented("recipe-harm", loss))
    signs = {answer.name.split(", ")[1]: answer.sign for answer in found.answers}
    assert signs == {"visual": 1, "control": 1, "physics": 1, "hard": 0} and found.verdict == "underpowered"
    assert {answer.estimate.pairs for answer in found.answers} == {12}


def test_the_picture_has_a_box_a_task_and_names_every_arm(whole):
    with styled():
        _, caption, plot = by_task(whole)
    assert [axes.get_title() for axes in plot.axes if axes.get_visible()] == list(recipe.TASKS)
    assert len(plot.axes[0].get_yticklabels()) == len(confirm.ARMS) and "n = 12 a task" in caption


@given(st.lists(st.lists(st.integers(-20, 20), min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_sign_flip_test_counts_the_flips_that_are_as_far_from_zero(counts):
    differences = {str(k): [value / 20 for value in values] for k, values in enumerate(counts)}
    found = stratified(differences)
    weighted = np.array([v / len(values) / len(counts) for values in differences.values() for v in values])
    flips = np.array(np.meshgrid(*[[-1, 1]] * len(weighted))).reshape(len(weighted), -1).T @ weighted
    assert found.mean == pytest.approx(weighted.sum(), abs=1e-12)
    assert found.p == pytest.approx(
        min(1.0, 2 * min((flips >= weighted.sum() - 1e-9).mean(), (flips <= weighted.sum() + 1e-9).mean()))
    )
    assert found.low - 1e-12 <= found.mean <= found.high + 1e-12
    assert (found.high == np.inf) == (min(map(len, counts)) == 1)  # one pair says nothing of how pairs vary


def test_a_stratum_counts_alike_whatever_its_pairs_and_one_without_a_pair_is_refused():
    assert stratified({"a": [0.4] * 9, "b": [0.0]}).mean == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"every stratum has a pair, got none of b\. Leave it out"):
        stratified({"a": [0.1], "b": []})


@pytest.mark.parametrize("mean", [0.0, 0.1])
def test_the_interval_and_the_p_of_many_pairs_are_those_of_a_paired_t(mean):
    values = np.random.default_rng(0).normal(mean, 0.3, 150)
    rows = [
        [
            (1.0, {"success": 0.5 + v, "successes": 50, "episodes": 10**6}),
            (-1.0, {"success": 0.5, "successes": 50, "episodes": 10**6}),
        ]
        for v in values
    ]
    found, t = stratified({"a": values}), contrast(rows)
    assert (found.low, found.high) == pytest.approx((t.low, t.high), abs=0.003)
    assert found.p == pytest.approx(t.p, abs=5e-3) and (found.p > 0.1) == (mean < 0.1)
