"""The studies of transfer in pictures: the pilot's rule, and what tables say of results whose effects are known."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from statistics import fmean

import pytest
from cotrain_bench.paired import holm
from cotrain_bench.results import as_csv, plain
from cotrain_bench.sim2sim.studies import image_effects, image_transfer, plans, recipe, tables
from cotrain_bench.sim2sim.studies.catalogue import STUDIES
from cotrain_bench.sim2sim.studies.committed import committed
from cotrain_bench.sim2sim.studies.image_effects import DESCRIBED, PRIMARY, SECONDARY, Compared
from cotrain_bench.sim2sim.studies.study import cells_of
from cotrain_bench.stratified import stratified

from cotrain_losses.cli.report import as_markdown
from tests.invented import invented

FOLDER = Path(__file__).parent.parent / "docs/studies"
PLACES = {"button-press": ("none", "other"), "pick-place": ("camera-40", "")}


def test_the_pilot_is_plain_co_training_of_each_task_without_a_gap_and_under_three():
    cells = cells_of("image-transfer-pilot", "overnight")
    assert len(cells) == 24 and {(c.method, c.coverage) for c in cells} == {("cotraining", "half")}
    assert {cell.region.side for cell in cells[:12]} == {0} and {cell.region.side for cell in cells[12:]} == {1}
    names = [plans.place(cell) for cell in cells[:4]]
    assert names == ["none", "none, other look", "camera-40", "camera-40, other look"]
    assert plans.place(cells[-1]) == "pick-place, camera-40, other look"
    for gap, many in (("none", 7), ("camera-40", 8)):
        arms = [plans.arm(cell) for cell in image_transfer.arms("button-press", gap).values()]
        assert len({*arms}) == len(arms) == many


def piloted(success):
    """Rows of the pilot with success(task, cameras, look) on both sides."""
    results = invented("image-transfer-pilot", lambda cell: 0.0)
    return [
        (cell, {**row, **dict(zip(("seen", "unseen"), success(cell.task, cell.gap, cell.look), strict=True))})
        for cell, row in results
    ]


def test_the_rule_takes_a_gap_with_room_of_a_task_that_is_learned_without_one():
    def success(task, cameras, look):
        if task == "pick-place":
            return 0.9, 0.75  # not learned without a gap
        unseen = {("none", ""): 0.95, ("none", "other"): 0.8, ("camera-40", ""): 0.5, ("camera-40", "other"): 0.3}
        seen = 0.6 if (task, cameras, look) == ("coffee-pull", "camera-40", "") else 0.95
        return seen, unseen[cameras, look]

    results = piloted(success)
    taken = {"button-press": ("camera-40", ""), "coffee-pull": ("camera-40", "other"), "pick-place": None}
    assert image_transfer.chosen(results) == taken
    assert [line[:3] for line in image_transfer.room(results).rows if line[-1]] == [
        ["button-press", "camera-40", "the source's"],
        ["coffee-pull", "camera-40", "other"],
    ]
    assert (
        image_transfer.chosen(results[:-1])["button-press"] and not image_transfer.chosen(results[1:])["button-press"]
    )
    easy = piloted(lambda task, cameras, look: (1.0, 0.9))
    assert image_transfer.chosen(easy) == dict.fromkeys(image_transfer.TASKS)


def test_the_held_out_task_is_the_first_that_is_learned_and_has_room_and_is_none_of_the_other_study():
    cells = cells_of("image-held-out-pilot", "overnight")
    assert [(cell.task, cell.gap) for cell in cells[:3]] == [
        ("hammer", "none"),
        ("hammer", "camera-40"),
        ("box-close", "none"),
    ]
    assert {cell.method for cell in cells} == {"cotraining"}
    assert {cell.task: cell.coverage for cell in cells}.items() <= recipe.TASKS.items()
    assert not {*image_transfer.HELD_OUT.tasks} & {*image_transfer.TASKS}

    def taken(solved):
        at = dict(zip(("none", "camera-40"), solved, strict=True))
        results = [
            (cell, row | dict(zip(("seen", "unseen"), at[cell.gap], strict=True)))
            for cell, row in invented("image-held-out-pilot", lambda cell: 0.0)
            if cell.task == "hammer"
        ]
        return image_transfer.chosen(results, image_transfer.HELD_OUT)

    assert taken([(1.0, 0.9), (0.9, 0.5)])["hammer"] == ("camera-40", "")
    for solved in ([(1.0, 0.7), (0.9, 0.5)], [(1.0, 0.9), (0.6, 0.5)], [(1.0, 0.9), (0.9, 0.88)]):
        assert taken(solved) == dict.fromkeys(image_transfer.HELD_OUT.tasks)


def test_the_page_has_the_held_out_pilots_numbers_and_the_study_its_task():
    rows = committed(FOLDER / "image-held-out-pilot/results.csv")
    assert {cell for cell, _ in rows} <= {*image_transfer.HELD_OUT.cells()}
    taken = [task for task, place in image_transfer.chosen(rows, image_transfer.HELD_OUT).items() if place]
    assert taken == ["hammer"] == list({cell.task: 0 for cell in image_transfer.held_out()})
    at = {cell.gap: [f"{row[side]:.2f}".removeprefix("0") for side in ("seen", "unseen")] for cell, row in rows}
    said = "solves {} of the seen and {} of the unseen side without a gap, {} and {} with\nturned cameras"
    assert said.format(*at["none"], *at["camera-40"]) in (FOLDER.parent / "images.md").read_text()


def test_the_held_out_study_is_the_recipe_and_plain_on_fresh_pairs_of_one_task():
    results = invented("image-held-out", lambda cell: 0.4 + 0.2 * (cell.method == "path_mmd"))
    cells = [cell for cell, _ in results]
    assert len(cells) == 12 and {cell.seed for cell in cells}.isdisjoint({*image_transfer.SEEDS, 900, 901, 902})
    assert sorted(cell.region.side for cell in cells) == [0] * 6 + [1] * 6
    (line,) = image_effects.compared(results).rows
    assert line[:2] == ["MMD and path head minus plain", "primary"] and line[3] == 2 / 2**6
    assert [line[0] for line in image_effects.success(results).rows] == [*image_transfer.HELD_OUT_ARMS]
    (finding,) = STUDIES["image-held-out"].findings(results)
    assert finding.verdict == "reproduced"


def test_looks_are_told_apart_in_tables_and_in_rows_that_are_read_again(tmp_path):
    results = piloted(lambda task, cameras, look: (0.9, 0.3 if look else 0.8))
    gaps = [line[1] for line in tables.success(results).rows if line[0] == "button-press"]
    assert gaps == ["none", "none, other look", "camera-40", "camera-40, other look"]
    for cell, row in results:
        row |= {"steps": 2000, "learning_rate": 1e-3, "episodes": cell.episodes}
        row.pop("picture")
    (tmp_path / "rows.csv").write_text(as_csv([plain(row) for _, row in results]))
    assert [cell for cell, _ in committed(tmp_path / "rows.csv")] == [cell for cell, _ in results]


def test_the_page_has_the_pilots_numbers_and_the_study_the_places_that_the_rule_takes():
    rows = committed(FOLDER / "image-transfer-pilot/results.csv")
    assert {cell for cell, _ in rows} <= {*image_transfer.PILOT.cells()} and len(rows) == 20
    assert {task: place for task, place in image_transfer.chosen(rows).items() if place} == image_transfer.PLACES
    (pick_place,) = [row for cell, row in rows if (cell.task, cell.gap, cell.look) == ("pick-place", "none", "")]
    assert (pick_place["unseen"] + 1) / 2 < image_transfer.LEARNED  # whatever the other seed gives
    cameras, looks = (
        {"none": "the source's", "camera-40": "turned by 40 degrees"},
        {"": "the source's", "other": "other"},
    )
    lines, page = 0, (FOLDER.parent / "images.md").read_text()
    for task, (gap, look) in product(image_transfer.TASKS, (image_transfer.CEILING, *image_transfer.GAPS)):
        at = [row for cell, row in rows if (cell.task, cell.gap, cell.look) == (task, gap, look)]
        seen, unseen = (f"{fmean(row[side] for row in at):.2f}".removeprefix("0") for side in ("seen", "unseen"))
        taken = "**taken** |" if image_transfer.PLACES.get(task) == (gap, look) else "|"
        lines += f"| {task} | {cameras[gap]} | {looks[look]} | {seen} | {unseen} | {taken}" in page.splitlines()
    assert lines == 12
    costs = [fmean(row[name] for _, row in rows) for name in ("train_cpu_s", "evaluation_cpu_s", "measures_cpu_s")]
    said = "{:.0f}, 50 episodes {:.0f}, distances and probe {:.0f}. So a cell takes {:.0f}."
    assert said.format(*costs, sum(costs)) in page


# the study


def test_the_page_has_the_studys_tables_and_numbers_from_its_rows():
    rows, page = committed(FOLDER / "image-transfer/results.csv"), (FOLDER.parent / "images.md").read_text()
    assert sorted(map(repr, (cell for cell, _ in rows))) == sorted(map(repr, image_transfer.test()))
    for table in (image_effects.compared(rows), image_effects.success(rows)):
        assert as_markdown(table) in page
    pairs = image_effects.by_pair(rows).values()
    gained = [of_arm["MMD and path head"][1] - of_arm["plain"][1] for of_arm in pairs]
    assert (
        len(gained) == 8 and min(gained) == pytest.approx(0.4) and "by .40 or more in each of the eight pairs" in page
    )
    for name, said in {
        "MMD and path head": (0.63, -1.10),
        "plain": (0.95, -0.24),
        "colours and crops": (0.99, -1.39),
    }.items():
        of_arm = [row for cell, row in rows if image_transfer.arm_of(cell) == name]
        found = [fmean(row[key] for row in of_arm) for key in ("unseen_probe_accuracy", "unseen_log_wasserstein")]
        assert found == pytest.approx(said, abs=0.006)
    costs = {}
    for cell, row in rows:
        cost = sum(row[name] for name in ("train_cpu_s", "evaluation_cpu_s", "measures_cpu_s"))
        costs.setdefault((cell.frozen, image_transfer.arm_of(cell)), []).append(cost)
    for frozen, said in {False: "226 to 335", True: "109 to 144"}.items():
        means = [fmean(of_arm) for (kind, _), of_arm in costs.items() if kind == frozen]
        assert f"{min(means):.0f} to {max(means):.0f}" == said and said in page


def test_the_page_has_the_held_out_studys_tables_and_numbers_from_its_rows():
    rows, page = committed(FOLDER / "image-held-out/results.csv"), (FOLDER.parent / "images.md").read_text()
    assert sorted(map(repr, (cell for cell, _ in rows))) == sorted(map(repr, image_transfer.held_out()))
    for table in (image_effects.compared(rows), image_effects.success(rows)):
        assert as_markdown(table) in page
    gained = {side: [] for side in ("seen", "unseen")}
    for of_arm in image_effects.by_pair(rows).values():
        for side, ours, other in zip(gained, of_arm["MMD and path head"], of_arm["plain"], strict=True):
            gained[side].append(round(ours - other, 2))
    assert (min(gained["unseen"]), max(gained["unseen"])) == (0.44, 0.72) and ".44 to .72" in page
    assert min(gained["seen"]) == -0.16 and sum(gain > 0 for gain in gained["seen"]) == 5
    said = {"plain": (0.98, -0.78, {"structured": 6}), "MMD and path head": (0.67, -1.16, None)}
    for name, (probe, distance, regimes) in said.items():
        of_arm = [row for cell, row in rows if image_transfer.arm_of(cell) == name]
        found = [fmean(row[key] for row in of_arm) for key in ("unseen_probe_accuracy", "unseen_log_wasserstein")]
        assert found == pytest.approx((probe, distance), abs=0.006)
        assert Counter(row["unseen_regime"] for row in of_arm) == (regimes or {"overlapping": 4, "uncertain": 2})
    costs = [sum(row[name] for name in row if name.endswith("_cpu_s")) for _, row in rows]
    assert round(sum(costs) / 3600, 1) == 1.0 and "All 12 cells, 1.0 CPU hour" in page


@pytest.fixture
def results(monkeypatch):
    """Rows of the study at two places, where each arm has a gain of its own over plain, a little other in each draw."""
    monkeypatch.setattr(image_transfer, "PLACES", PLACES)
    gains = dict(zip(image_transfer.ARMS, (0.0, 0.1, 0.2, 0.3, 0.05, 0.15, -0.05, 0.25), strict=True))

    def unseen(cell):
        return 0.4 + gains[image_transfer.arm_of(cell)] * (1 + cell.seed % 3) + 0.01 * (cell.task == "pick-place")

    return [(cell, row | {"seen": 0.9, "unseen": unseen(cell)}) for cell, row in invented("image-transfer", unseen)]


def test_the_study_has_every_arm_at_the_place_of_each_task_and_cameras_where_they_turn(results):
    cells = [cell for cell, _ in results]
    assert len(cells) == 4 * (7 + 8) and [cell.seed for cell in cells[:15]] == [170] * 15
    for task, (gap, look) in PLACES.items():
        at = [cell for cell in cells if cell.task == task]
        assert {(cell.gap, cell.look) for cell in at} == {(gap, look)}
        assert ("cameras" in {cell.method for cell in at}) == (gap != "none")
        assert {image_transfer.arm_of(cell) for cell in at} == image_transfer.arms("button-press", gap).keys()


@pytest.mark.parametrize("of", [*PRIMARY, *SECONDARY, *DESCRIBED], ids=str)
def test_a_comparison_is_an_arm_minus_the_plain_one_of_its_kind_pair_by_pair(of, results):
    kept = {(image_transfer.arm_of(cell), cell.task, cell.seed): row for cell, row in results}
    found = image_effects.differences(results, of)
    assert found.keys() == {task for arm, task, _ in kept if arm == of.arm}
    for task, values in found.items():
        pairs = [(kept[of.arm, task, s], kept[of.plain, task, s]) for s in image_transfer.SEEDS]
        assert values == [one["unseen"] - other["unseen"] for one, other in pairs]
    assert ("frozen" in of.arm) == ("frozen" in of.plain)


def test_a_pair_without_one_of_its_arms_is_in_no_comparison(results):
    less = [
        (cell, row) for cell, row in results if (cell.task, cell.seed, cell.method) != ("pick-place", 171, "cameras")
    ]
    assert len(less) == len(results) - 1
    for of in (*PRIMARY, *SECONDARY, *DESCRIBED):
        before, after = (image_effects.differences(some, of) for some in (results, less))
        assert after == {
            task: values[:1] + values[2:] if task == "pick-place" else values for task, values in before.items()
        }


def test_the_tables_say_means_over_tasks_the_p_of_flips_and_holm_over_the_secondary_ones(results):
    lines = {line[0]: line[1:] for line in image_effects.compared(results).rows}
    assert [line[0] for line in lines.values()] == ["primary", *["secondary"] * 4, "described"]
    ps = [stratified(image_effects.differences(results, of)).p for of in SECONDARY]
    assert [lines[str(of)][2:4] for of in SECONDARY] == [[p, q] for p, q in zip(ps, holm(ps), strict=True)]
    assert lines[str(DESCRIBED[0])][2:5] == [None, None, None]  # no cameras under a look
    (answer,) = image_effects.better(results, PRIMARY)
    assert answer.estimate.mean == pytest.approx(0.2 * (3 + 1 + 2 + 3) / 4) and answer.p == answer.estimate.p
    solved = {line[0]: line[1:] for line in image_effects.success(results).rows}
    assert solved["plain"] == ["0.90, 0.40", "0.90, 0.41", pytest.approx(0.9), pytest.approx(0.405)]
    assert solved["cameras randomised"][0] is None


def test_nothing_is_said_of_one_pair_a_task_or_of_none(results):
    one = [(cell, row) for cell, row in results if cell.seed == 170]
    assert image_effects.better(one, SECONDARY) == [] and image_effects.compared([]).rows == []
    assert [line[3:5] for line in image_effects.compared(one).rows] == 6 * [[None, None]]
    assert image_effects.success([]).rows == [] and str(Compared("one")) == "one minus plain"
