"""The recipe for targets that are covered in part: its trials, the rules that choose, and the measure they go by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cotrain_bench.results import WrongSetting
from cotrain_bench.sim2sim.batches import BESIDE, Beside
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.evaluation import path_error
from cotrain_bench.sim2sim.frames import frames
from cotrain_bench.sim2sim.gaps import GAPS
from cotrain_bench.sim2sim.studies import plans, recipe, transfer
from cotrain_bench.sim2sim.studies.committed import committed, draw
from cotrain_bench.sim2sim.studies.latents import LIGHT, latents
from cotrain_bench.sim2sim.studies.pictures import over_angle
from cotrain_bench.sim2sim.studies.study import cells_of
from cotrain_bench.sim2sim.style import styled
from matplotlib.colors import to_hex

from cotrain_losses.cli.report import SOURCE, TARGET
from tests.cells import drawn
from tests.invented import invented

# what is trained


def test_terms_meet_the_source_and_frames_without_actions_in_a_phase_on_the_target_alone():
    data = frames(drawn(0, [30]), drawn(1, [60]), drawn(2, [40, 20]))
    rows = (data.is_target & data.has_action).nonzero().flatten()[:16]
    call = Beside(data, False, 0, phased=True).call(rows, 0)
    counted = call["batch"]["mass"].bool()
    assert torch.equal(counted, ~call["has_action"]) and counted.tolist() == [False] * 16 + [True] * 2 * BESIDE
    met = call["index"][counted]
    assert (data.is_target[met] == ~data.has_action[met]).all() and data.is_target[met].sum() == BESIDE


def test_the_path_error_is_how_far_from_the_experts_hand_commands_would_take_it():
    data = frames(drawn(0, [30]), drawn(1, [60]))
    target = data.path[data.is_target]

    def follows(off: float):
        moved = 10 * (target[:, -1] - target[:, 0]) + torch.tensor([0.0, off, 0.0])
        scale = moved.abs().max()  # commands are at most 1, so the drawn paths are made small enough
        small = replace(data, path=data.path / scale)
        chunk = torch.cat([(moved / scale / 7)[:, None].expand(-1, 8, -1), torch.ones(len(moved), 8, 1)], dim=2)
        return path_error(lambda _: chunk, small, GAPS["camera-40"]) * float(scale)

    assert path_error(lambda _: torch.zeros(1), data, GAPS["visual-control"]) is None
    assert follows(0.0) == pytest.approx(0.0, abs=1e-4) and follows(3.0) == pytest.approx(3.0, rel=1e-4)


# which cells


def test_every_arm_has_four_settings_on_the_same_pairs_and_no_seed_is_in_another_study_of_transfer():
    cells = cells_of("recipe-development", "overnight")
    assert {len(settings) for settings in recipe.TRIALS.values()} == {4} and len(cells) == 7 * 4 * 3
    assert {(cell.gap, cell.task, cell.coverage) for cell in cells} == {("camera-55", "pick-place", "half")}
    for arm, settings in recipe.TRIALS.items():
        assert {recipe.arm_of(replace(s, gap="camera-55", seed=121)) for s in settings} == {arm}
    seeds = {*transfer.SCREEN_SEEDS, *transfer.SEEDS, *transfer.ANGLE_SEEDS}
    assert not seeds & {*recipe.DEVELOPMENT_SEEDS} and "pick-place" not in recipe.TASKS
    assert {cell.task for cell in cells_of("recipe-angle", "overnight")} == set(recipe.TASKS)


def developed(rates):
    """Rows of the development whose (seen, unseen, path error) are a rule's of arm and setting."""
    return [
        (cell, {"seed": cell.seed, **dict(zip(recipe.MEASURED, rates(arm, k), strict=True))})
        for cell in recipe.development()
        for arm, settings in recipe.TRIALS.items()
        for k, trial in enumerate(settings)
        if replace(cell, gap=trial.gap, seed=trial.seed) == trial
    ]


def test_the_rule_takes_the_least_path_error_of_settings_that_solve_the_seen_side_and_the_oracle_the_unseen_side():
    seen, unseen, error = (0.98, 1.0, 0.9, 0.985), (0.1, 0.2, 0.3, 0.9), (0.5, 0.7, 0.1, 0.6)
    results = developed(lambda arm, k: (seen[k], unseen[k], error[k] * (2 if arm == "ours" and k == 0 else 1)))
    by_rule = recipe.taken(results)
    assert by_rule["MMD"] == (recipe.TRIALS["MMD"][0], recipe.TRIALS["MMD"][3])  # the third is below on the seen side
    assert by_rule["ours"][0] == recipe.TRIALS["ours"][3]  # where the first's path error is the larger
    marked = {(line[0], line[1]): line[-1] for line in recipe.trials(results).rows if line[-1]}
    assert len(marked) == 2 * len(recipe.TRIALS) - 1  # ours is the same by both
    assert sorted(set(marked.values())) == ["by the rule", "by the rule, oracle", "oracle"]
    assert recipe.best_prior(results) == "source, then target"  # of three alike the first
    alike = recipe.taken(developed(lambda arm, k: (1.0, 0.5, 0.5)))
    assert all(both == (recipe.TRIALS[arm][0],) * 2 for arm, both in alike.items())


def test_nothing_is_taken_of_an_arm_that_lacks_a_pair_and_what_is_missing_is_no_zero():
    results = developed(lambda arm, k: (1.0, 0.9 if arm == "path head" else 0.5, 0.5))
    assert recipe.best_prior(results) == "path head"
    some = [(cell, row) for cell, row in results if cell != replace(recipe.TRIALS["MMD"][1], gap="camera-55", seed=122)]
    assert [arm for arm, both in recipe.taken(some).items() if both is None] == ["MMD"] and not recipe.best_prior(some)
    lines = recipe.trials([(cell, row) for cell, row in some if cell.method != "cameras"]).rows
    assert [line[2:] for line in lines if line[0] == "cameras randomised"] == [[0, None, None, None, ""]] * 4
    assert [line[2] for line in lines if line[0] == "MMD"] == [3, 2, 3, 3]


def test_the_angle_of_a_task_is_the_one_with_room_and_none_where_no_seen_side_is_solved():
    def row(cell: Cell) -> dict[str, float]:
        solved = cell.task != "hammer"
        return {"seen": 0.9 if solved else 0.6, "unseen": 1 - GAPS[cell.gap].camera_yaw / 75}

    results = [(cell, row(cell)) for cell in recipe.angles()]
    assert recipe.chosen_angles(results) == {t: None if t == "hammer" else "camera-40" for t in recipe.TASKS}
    assert [line[0] for line in recipe.rooms(results).rows if line[-1]] == ["assembly", "coffee-pull", "box-close"]


def test_the_page_has_the_committed_rows_of_the_angles():
    root = Path(__file__).parent.parent
    rows = committed(root / "docs/studies/recipe-angle/results.csv")
    assert {cell for cell, _ in rows} == {*cells_of("recipe-angle", "overnight")} and len(rows) == 24
    page, lines = (root / "docs/transfer-recipe.md").read_text(), recipe.rooms(rows).rows
    for task in recipe.TASKS:
        seen, unseen = (
            ", ".join(f"{line[k]:.2f}".removeprefix("0") for line in lines if line[0] == task) for k in (3, 4)
        )
        assert f"| {seen} | {unseen} | {recipe.chosen_angles(rows)[task].removeprefix('camera-')} degrees |" in page


def test_the_page_has_the_committed_rows_of_the_development_and_what_follows_from_them():
    root = Path(__file__).parent.parent
    rows = committed(root / "docs/studies/recipe-development/results.csv")
    page = (root / "docs/transfer-recipe.md").read_text()
    assert {cell for cell, _ in rows} == {*cells_of("recipe-development", "overnight")} and len(rows) == 84
    for arm, setting, pairs, _, unseen, error, marks in recipe.trials(rows).rows:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {arm} | {setting} |")]
        each = [float(text) for text in line.split("(")[1].split(")")[0].split(", ")]
        assert len(each) == pairs == 3 and sum(each) / 3 == pytest.approx(unseen)
        assert line.endswith(f"| {error:.2f} | {marks} |")
    ((deviation, upper, needed, draws, found),) = recipe.size(rows).rows
    for words in (
        f"tuned is {deviation:.2f}",
        f"bound {upper:.2f}",
        f"need {needed} draws",
        f"most, {draws}",
        f"of {found:.2f}",
    ):
        assert words.replace(" 0.", " .") in page, words
    assert f"**The best prior** is the {recipe.best_prior(rows)} " in page
    ours = recipe.taken(rows)["ours"][0]
    assert f"`{ours.method}` at strength {ours.strength:g}" in page


def test_the_size_of_the_test_follows_from_the_deviation_of_ours_minus_plain():
    def rate(arm: str, cell: Cell) -> float:
        return 0.5 + 0.05 * (cell.seed - 121) if arm == "ours" else 0.5

    results = [
        (cell, {**row, "unseen": rate(recipe.arm_of(cell), cell)}) for cell, row in developed(lambda arm, k: (1, 1, 1))
    ]
    ((deviation, upper, needed, draws, found),) = recipe.size(results).rows
    assert deviation == pytest.approx(0.05) and upper == pytest.approx(0.05 * (2 / 0.446287) ** 0.5, rel=1e-5)
    assert needed == draws == 4 and found == pytest.approx(2.95 * upper / 4, rel=0.03)  # t at 15 for the normal's 2.8
    assert recipe.size(results[:-1]).rows == []


# pictures


def test_a_picture_of_committed_rows_is_drawn_and_another_name_is_refused(tmp_path):
    rows = Path(__file__).parent.parent / "docs/studies/recipe-development/results.csv"
    draw("over_path_error", rows, tmp_path / "criterion.png")
    assert (tmp_path / "criterion.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(WrongSetting, match=r"a picture of committed rows is one of by_method, .*, got 'latents'"):
        draw("latents", rows, tmp_path / "latents.png")


def test_each_arm_is_a_panel_in_the_order_of_the_study():
    results = [(cell, row) for cell, row in invented("transfer", lambda cell: 0.5) if cell.gap == "camera-25"]
    with styled():
        _, caption, plot = latents(results)
    titles = [axes.get_title().replace("\n", " ") for axes in plot.axes]
    assert (
        titles == list(dict.fromkeys(f"camera-25: {plans.arm(cell)}" for cell, _ in results)) and "light" not in caption
    )


def test_curves_over_the_angle_tell_tasks_apart_and_latents_tell_sides_apart():
    results = invented("recipe-angle", lambda cell: 0.5)
    with styled():
        _, _, plot = over_angle(results)
    lines = [text.get_text().split(":")[0] for text in plot.legends[0].get_texts()]
    assert lines == list(recipe.TASKS)
    for _, row in results:
        row["picture"]["features"]["unseen"] = {name: [0] * 5 + [1] * 15 for name in ("source", "target")}
    with styled():
        _, caption, plot = latents(results)
    points = {to_hex(cloud.get_facecolor()[0]): len(cloud.get_offsets()) for cloud in plot.axes[0].collections}
    assert points == {SOURCE: 5, LIGHT[SOURCE]: 15, TARGET: 5, LIGHT[TARGET]: 15}
    assert "light where it has none" in caption
    assert len(plot.axes) == len(recipe.TASKS) * len(transfer.TRIED_ANGLES)
