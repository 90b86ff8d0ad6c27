"""Target demonstrations on one side of the table: what is covered, what is counted, what comes without actions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cotrain_bench.results import CannotContinue, WrongSetting
from cotrain_bench.sim2sim.batches import BESIDE, Batches, Beside, Budget
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.compute import compute
from cotrain_bench.sim2sim.coverage import COVERAGES, OBJECT, Region
from cotrain_bench.sim2sim.demos import Demos, attempt
from cotrain_bench.sim2sim.evaluation import Rollouts
from cotrain_bench.sim2sim.frames import frames
from cotrain_bench.sim2sim.gaps import ANGLES, GAPS, Gap, turned
from cotrain_bench.sim2sim.methods import METHODS, Setting, extras
from cotrain_bench.sim2sim.path_head import PathHead
from cotrain_bench.sim2sim.policy import stemmed
from cotrain_bench.sim2sim.studies import sides, transfer
from cotrain_bench.sim2sim.studies.committed import committed
from cotrain_bench.sim2sim.studies.maps import by_strength
from cotrain_bench.sim2sim.studies.pictures import over_angle
from cotrain_bench.sim2sim.studies.plans import title
from cotrain_bench.sim2sim.studies.study import cells_of
from cotrain_bench.sim2sim.style import styled
from cotrain_bench.sim2sim.training import train
from cotrain_bench.sim2sim.views import drawn_cameras, pose, seen_through
from cotrain_bench.sim2sim.world import OWN

import cotrain_losses as ctl
from tests.cells import drawn, world
from tests.invented import invented
from tests.warping import without_compiling

# regions


@pytest.fixture(autouse=True)
def _aligned_by_loops(monkeypatch):
    without_compiling(monkeypatch)


def test_the_regions_of_a_coverage_are_disjoint_and_cover_every_start():
    starts = [world("none").episode(seed).keypoints() for seed in range(20)]
    for coverage in COVERAGES:
        regions = [Region("pick-place", coverage, side) for side in range(Region("pick-place", coverage).parts)]
        assert all(sum(region.holds(start) for region in regions) == 1 for start in starts)
    low = [start[OBJECT, 0] for start in starts if Region("pick-place", "half", 1).holds(start)]
    high = [start[OBJECT, 0] for start in starts if Region("pick-place", "half", 0).holds(start)]
    assert max(low) < min(high) and len(low) + len(high) == 20


def test_a_cell_counts_as_many_seen_as_unseen_episodes_and_sides_alternate_between_pairs():
    half = Cell(coverage="half", episodes=6, seed=3)
    seeds = half.evaluation_seeds()
    inside = [half.region.holds(world("none").episode(seed).keypoints()) for seed in seeds]
    assert inside == [False] * 3 + [True] * 3 and len(set(seeds)) == 6
    assert replace(half, seed=4).region.side != half.region.side == replace(half, seed=5).region.side
    whole = replace(half, coverage="whole")
    assert whole.evaluation_seeds() == seeds and whole.requests()["target"].region is None
    assert half.requests()["target"].region == half.region and half.requests()["target"].count == whole.target_demos
    assert Cell(episodes=6).evaluation_seeds() == range(800_000, 800_006)


def test_demonstrations_start_in_their_region_and_a_task_that_cannot_be_split_says_so():
    region = Region("pick-place", "half", 0)
    found = attempt("pick-place", Gap(), range(3), 0.0, region)
    inside = [region.holds(world("none").episode(seed).keypoints()) for seed in range(3)]
    assert [episode is not None for episode in found] == inside and 0 < sum(inside) < 3
    with pytest.raises(CannotContinue, match="assembly, whose object always has the same x"):
        Region("assembly", "half").holds(np.zeros((6, 3)))
    with pytest.raises(WrongSetting, match="a coverage is one of whole, half"):
        Cell(coverage="left")
    with pytest.raises(WrongSetting, match="chooses a stem by the label"):
        Cell(policy="stems")
    with pytest.raises(WrongSetting, match="probe has no relative strength"):
        Cell(method="probe", strength=0.1)


# proprioception and other cameras


def test_a_camera_gap_leaves_the_robots_own_state_as_it_is():
    one, other = (world(gap).episode(3).observation() for gap in ("none", "camera-70"))
    np.testing.assert_array_equal(one[-OWN:], other[-OWN:])
    assert (one[:-OWN] != other[:-OWN]).all()
    np.testing.assert_array_equal(one[-OWN:-1], world("none").episode(3).keypoints()[0])


def test_state_and_path_are_the_hands_places_in_the_robots_frame():
    demos = drawn(0, [5])
    data = frames(demos, drawn(1, [4]))
    np.testing.assert_allclose(data.state[:5, :3], 10 * demos.points[:, 0])
    np.testing.assert_allclose(data.path[3], 10 * demos.points[[3, *[4] * 7], 0])
    batch = extras(data[[3]])
    assert torch.equal(batch["path"][0], data.path[3]) and batch["state"].shape == (1, 4)


def test_demonstrations_are_seen_through_other_cameras_without_being_recorded_again():
    observed, points, commands = attempt("pick-place", Gap(), [0], 0.0)[0]
    demos = replace(drawn(0, [len(commands)]), observations=observed, points=points, commands=commands)
    np.testing.assert_allclose(seen_through(demos, [Gap()]).observations, observed, atol=1e-6)
    turned_away, _, _ = attempt("pick-place", turned(40), [0], 0.0)[0]
    np.testing.assert_allclose(seen_through(demos, [turned(40)]).observations, turned_away, atol=1e-6)
    cameras = drawn_cameras(200, 50.0, seed=0)
    assert 45 < max(abs(gap.camera_yaw) for gap in cameras) <= 50 and cameras == drawn_cameras(200, 50.0, seed=0)
    assert pose(Gap()).tolist() == [0, 1, 1, 1] and GAPS["camera-40"] == turned(40)


def test_a_computed_cell_tells_seen_from_unseen_by_where_its_episodes_start(tmp_path, monkeypatch):
    from cotrain_bench.sim2sim import cell as module

    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "EPISODES", 4)
    how = {"coverage": "half", "gap": "camera-40", "target_demos": 1, "source_demos": 2, "episodes": 4, "seed": 3}
    cell = Cell(method="cameras_told", **how, budget=Budget(steps=2))

    def rolled(policy, here, seeds, **_):
        policy(torch.from_numpy(np.stack([here.episode(seeds[0]).observation()] * 2)[None]).float())
        inside = [cell.region.holds(here.episode(seed).keypoints()) for seed in seeds]
        return Rollouts(inside, [1] * 4, [np.zeros((2, 2, 3))], [np.zeros(3)], [np.zeros((1, 4))])

    monkeypatch.setattr("cotrain_bench.sim2sim.compute.roll_out", rolled)
    row = compute(cell, lambda share: None)
    assert (row["seen"], row["unseen"], row["success"]) == (1.0, 0.0, 0.5) and 0 < row["path_error"] < 20
    features, fresh = row["picture"]["features"], cell.demonstrations()["fresh_target"]
    assert all(len(features["unseen"][name]) == len(features[name]) for name in ("source", "target"))
    outside = {int(not cell.region.holds(points)) for points in fresh.points[fresh.starts()]}
    assert set(features["unseen"]["target"]) == outside


# frames without actions, paired rows, phases


def test_frames_without_actions_join_a_batch_for_the_terms_alone():
    data = frames(drawn(0, [30]), drawn(1, [60]), drawn(2, [40, 20]))
    assert (data.actions[90:] == 0).all() and data.is_target.tolist() == [True] * 30 + [False] * 60 + [True] * 60
    batches = Batches(data, None, Budget(steps=3, batch_size=16), 0.25, seed=0)
    for step, rows in enumerate(batches):
        assert data.has_action[rows].all() and len(rows) == 16
        call = Beside(data, False, 0).call(rows, step)
        assert call["has_action"].tolist() == [True] * 16 + [False] * BESIDE
        counted = call["batch"]["mass"].bool()
        assert torch.equal(counted, ~data.is_target[call["index"]] | ~data.has_action[call["index"]])
    assert "has_action" not in Beside(data, False, 0, compares=False).call(rows, 0)


def test_paired_rows_are_compared_with_each_other_alone():
    data = frames(drawn(0, [30, 20]), drawn(1, [40, 50, 30]))
    call = Beside(data, True, 0).call(torch.arange(8), 5)
    assert call["has_action"].sum() == 8 and torch.equal(call["batch"]["mass"].bool(), ~call["has_action"])
    assert call["domain"][8:].tolist() == [False] * BESIDE + [True] * BESIDE


def test_paired_rows_have_their_hands_at_like_places_of_like_paths():
    def along(seed: int, lengths: list[int]) -> Demos:
        demos = drawn(seed, lengths)
        way = np.concatenate([np.linspace(0.0, 1.0, n) for n in lengths])
        demos.points[:, 0] = way[:, None]
        return demos

    data = frames(along(0, [30, 20]), along(1, [40, 50, 30]))
    beside = [Beside(data, True, 0).call(torch.arange(8), step)["index"][8:] for step in range(4)]
    source, target = (torch.cat(half) for half in zip(*(rows.chunk(2) for rows in beside), strict=True))
    assert not data.is_target[source].any() and data.is_target[target].all()
    hand = data.state[:, 0]  # from 0 to 10 along each path; a matched frame is moved by ten frames at most
    assert (hand[source] - hand[target]).abs().max() < 4.0 < (hand[source][:, None] - hand[target]).abs().max()
    assert (hand[source] - hand[target]).abs().mean() < 1.8 < (hand[source][:, None] - hand[target]).abs().mean()


def test_phases_follow_one_another_at_their_ratios():
    data, budget = frames(drawn(0, [50]), drawn(1, [200])), Budget(steps=20, batch_size=16)
    tuned = METHODS["fine_tuned"].phases(Setting(8, 0.1, 20, 0.4))
    shares = [float(data.is_target[rows].float().mean()) for rows in Batches(data, None, budget, 0.1, 0, tuned)]
    assert shares == [0.0] * 12 + [1.0] * 8
    risen = METHODS["annealed"].phases(Setting(8, 0.2, 20, 0.5))
    shares = [float(data.is_target[rows].float().mean()) for rows in Batches(data, None, budget, 0.2, 0, risen)]
    assert len(shares) == 20 and sorted(shares[10::2]) == shares[10::2] and shares[-1] == 1.0 and max(shares[:10]) < 0.3


COMPARING = [name for name, method in METHODS.items() if method.frames and name not in ("normalised", "egobridge")]


@pytest.mark.parametrize("name", COMPARING)  # EgoBridge compares rows as they do, at a hundred times the cost
def test_the_terms_of_methods_that_use_frames_without_actions_depend_on_them(name):
    def raw(shown: int) -> dict[str, float]:
        data = frames(drawn(0, [30, 20]), drawn(1, [60]), drawn(shown, [40]))
        method = METHODS[name](Setting(128, 0.25, 2, METHODS[name].screened[0] if METHODS[name].screened else None))
        return train(data, method, Budget(2, 16), seed=0, extras=extras, paired=METHODS[name].paired).raw

    one, other = raw(2), raw(3)
    assert one.keys() == other.keys() and all(one[term] != other[term] for term in one)


def test_a_strength_puts_a_relative_one_of_the_same_sign_in_the_recipes_place():
    ((_, strength, _),) = METHODS["adda"](Setting(8, 0.1, 10, 0.3)).regularizer.parts()
    assert strength(None) == 0.0 and repr(strength) == "relative(0.3, raw=inf) * -1.0"
    ((_, own, _),) = METHODS["adda"](Setting(8, 0.1, 10)).regularizer.parts()
    assert own == -0.05


def test_the_path_heads_value_is_the_mean_error_on_both_sides_in_what_is_ahead():
    head, draws = PathHead(3, steps=4), torch.Generator().manual_seed(0)
    sides = [(torch.randn(n, 3, generator=draws), torch.randn(n, 4, 3, generator=draws)) for n in (5, 2)]
    value = head(*(ctl.Rows(z, {"path": path}) for z, path in sides))
    expected = 0.0
    for z, path in sides:
        errors = [(head.head(z[i]) - (path[i, 1:] - path[i, 0]).flatten()).square().mean() for i in range(len(z))]
        expected += sum(errors) / len(errors)
    torch.testing.assert_close(value, expected)


def test_a_stem_reads_its_own_domain_alone():
    data = frames(drawn(0, [10]), drawn(1, [10]))
    from cotrain_bench.sim2sim.columns import labelled

    policy = stemmed(labelled(data).spaces())
    loss = policy.encode(labelled(data).observations[data.is_target]).sum()
    loss.backward()
    source, target = (stem.weight.grad.abs().sum() for stem in policy.stems)
    assert source == 0 < target


# the studies


def test_the_screen_has_defaults_first_pair_by_pair_and_every_arm_on_every_pair():
    cells = cells_of("transfer-screen", "overnight")
    counts = {seed: sum(cell.seed == seed for cell in cells) for seed in transfer.SCREEN_SEEDS}
    assert len(set(counts.values())) == 1 and len(cells) + len(cells_of("transfer", "overnight")) <= 1200
    default = [cell.strength in (None, *METHODS[cell.method].screened[:1]) for cell in cells]
    assert default == sorted(default, reverse=True) and {cell.method for cell in cells[: sum(default)]} >= {
        name for name, method in METHODS.items() if method.screened and not method.combined
    }
    arms = [[replace(cell, seed=0) for cell in cells if cell.seed == seed] for seed in transfer.SCREEN_SEEDS]
    assert arms[0] == arms[1] == arms[2]
    seeds = [cell.seed for cell in cells[: sum(default)]]
    assert seeds == sorted(seeds)  # pair by pair
    for name, method in METHODS.items():
        tried = {(cell.strength, cell.unlabelled) for cell in cells if cell.method == name and method.screened}
        assert len(tried) == (0 if method.combined else len(method.screened) * (2 if method.frames else 1))
    assert {cell.policy for cell in cells} == {"flow", "stems"}
    seeds = {*transfer.SCREEN_SEEDS}, {*transfer.ANGLE_SEEDS}, {*transfer.SEEDS}
    assert len(set.union(*seeds)) == sum(map(len, seeds))


@pytest.mark.parametrize(
    ("seen", "unseen", "taken"),
    [
        ({25: 0.9, 40: 0.9, 55: 0.9}, {25: 0.8, 40: 0.4, 55: 0.1}, "camera-40"),
        ({25: 0.9, 40: 0.6, 55: 0.9}, {25: 0.8, 40: 0.3, 55: 0.2}, "camera-55"),
        ({25: 0.8, 40: 0.8, 55: 0.8}, {25: 0.5, 40: 0.3, 55: 0.3}, "camera-25"),
        ({25: 0.5, 40: 0.5, 55: 0.5}, {25: 0.2, 40: 0.2, 55: 0.2}, None),
    ],
)
def test_the_angle_is_the_one_whose_unseen_side_is_nearest_to_half_of_a_solved_seen_side(seen, unseen, taken):
    angles = {cell: int(cell.gap.removeprefix("camera-")) for cell in transfer.angle()}
    results = [(cell, {"seen": seen[a], "unseen": unseen[a]}) for cell, a in angles.items()]
    assert transfer.chosen(results) == taken and transfer.chosen(results[:1]) is None


def test_the_table_of_the_best_chooses_by_the_seen_side_and_shows_the_oracle():
    results = invented("transfer-screen", lambda cell: 0.5 + (cell.strength or 0) / 10, "overnight")
    results = [(cell, row | {"unseen": 0.4 - (cell.strength or 0) / 10}) for cell, row in results]
    rows = {(row[0], row[1]): row for row in sides.best(results).rows}
    mmd = rows["+ MMD", True]
    assert "strength 1," in mmd[3] and mmd[4:6] == pytest.approx([0.6, 0.3])
    assert "strength 0.03," in mmd[6] and mmd[7] == pytest.approx(0.397)
    assert {name for name, _ in rows} >= {"+ OT", "source, then target", "co-training"}


def test_the_study_of_transfer_has_every_arm_on_every_pair_and_the_chosen_angle_first():
    cells = cells_of("transfer", "overnight")
    arms = {replace(cell, gap="none", seed=0) for cell in cells}
    assert len(arms) == 4 + len(transfer.FAMILIES) and len(cells) == len(arms) * len(
        {cell.gap for cell in cells}
    ) * len(transfer.SEEDS)
    first = cells[: len(arms) * len(transfer.SEEDS)]
    assert {cell.gap for cell in first} == {transfer.CHOSEN} and {cell.seed for cell in first} == {*transfer.SEEDS}
    screened = {replace(cell, seed=0) for cell in cells_of("transfer-screen", "overnight")}
    assert arms - {replace(cell, gap="none") for cell in screened} == {
        arm for arm in arms if arm.coverage == "whole" and arm.label
    }


def test_differences_are_those_of_each_pair_from_plain_co_training_on_each_side(monkeypatch):
    monkeypatch.setattr(transfer, "FAMILIES", (("mmd", 0.1, 20), ("adda", 0.1, 0)))
    base = {seed: (0.9, 0.1 * k) for k, seed in enumerate(transfer.SEEDS)}

    def row(cell):
        seen, unseen = base[cell.seed]
        more = {"mmd": 0.2, "adda": -0.1}.get(cell.method, 0.0) + (0.3 if cell.coverage == "whole" else 0.0)
        return {"seen": seen, "unseen": unseen + more}

    results = [(cell, row(cell)) for cell in cells_of("transfer", "overnight") if cell.gap == "camera-40"]
    found = {line[1]: line for line in sides.differences(results).rows}
    assert len(found) == 3 + len(transfer.FAMILIES) and "co-training" not in found
    assert {line[2] for line in found.values()} == {len(transfer.SEEDS)}
    mmd = next(line for name, line in found.items() if name.startswith("+ MMD"))
    assert (
        mmd[3].startswith("+0.00 [")
        and mmd[4].startswith("+0.20 [+0.1")
        and mmd[5] < 0.05 <= found["co-training, label seen"][5]
    )
    assert found["co-training, whole coverage"][4].startswith("+0.30 [")
    assert all(line[6] >= line[5] for line in found.values())
    assert sides.differences(results[:1]).rows == []


def test_the_map_shows_the_mean_of_each_method_and_strength_on_both_sides():
    results = invented("transfer-screen", lambda cell: 0.9 - cell.seed / 1000 - (cell.strength or 0) / 10, "overnight")
    with styled():
        name, caption, plot = by_strength(results)
    seen, unseen, _ = plot.axes
    lines = [label.get_text() for label in seen.get_yticklabels()]
    assert name == "map" and "3 pairs of 50 episodes" in caption and len(lines) == len(set(lines))
    row, mean = lines.index("+ MMD, frames everywhere"), 0.9 - 0.101
    shown, other = (np.ma.filled(axes.images[0].get_array(), np.nan) for axes in (seen, unseen))
    assert list(shown[row]) == pytest.approx([mean - s / 10 for s in (0.03, 0.1, 0.3, 1.0)])
    assert list(other[row]) == pytest.approx(list(shown[row] / 2))
    alone = shown[lines.index("co-training, whole coverage")]
    assert alone[0] == pytest.approx(mean) and np.isnan(alone[1:]).all()
    at = {text.get_position(): text.get_text() for text in seen.texts}
    assert at[2, row] == "0.77" and {text for (x, _), text in at.items() if x == 2} >= {"0.3", "0.4", "1.25"}


def test_the_map_is_drawn_from_a_studys_committed_rows():
    results = committed(Path(__file__).parent.parent / "docs/studies/transfer-screen/results.csv")
    assert {cell for cell, _ in results} == {replace(c, scales=()) for c in cells_of("transfer-screen", "overnight")}
    with styled():
        shown = by_strength(results)[2].axes[1].images[0].get_array()
    plain = [
        row["unseen"] for cell, row in results if cell == replace(transfer.BASE, gap=transfer.CHOSEN, seed=cell.seed)
    ]
    assert len(plain) == 3 and shown[0, 0] == pytest.approx(sum(plain) / 3)


def test_the_pages_table_is_of_the_committed_rows():
    root = Path(__file__).parent.parent
    page = (root / "docs/transfer.md").read_text()
    rows = [r for r in committed(root / "docs/studies/transfer/results.csv") if r[0].gap == transfer.CHOSEN]
    lines = sides.differences(rows).rows
    assert len(lines) == 3 + len(transfer.FAMILIES)
    for line in lines:
        assert f"| {line[4].replace('0.', '.')} |" in page, line


def test_the_pages_table_over_the_angle_is_of_the_committed_rows():
    root = Path(__file__).parent.parent
    rows = committed(root / "docs/studies/transfer/results.csv")
    assert {cell for cell, _ in rows} == {*cells_of("transfer", "overnight")} and len(rows) == 320
    page, every = (root / "docs/transfer.md").read_text(), sides.arms(rows)
    shown = [line for line in page.splitlines() if line.count(" (") >= 5 and line.count(".") >= 9]
    found = []
    for name in dict.fromkeys(name for _, name in every):
        line = ""
        for angle in sorted(ANGLES):
            some = every[f"camera-{angle}", name]
            seen, unseen = (_hundredths([getattr(each, side) for each in some]) for side in ("seen", "unseen"))
            line += f" {unseen} ({seen}) |"
        found.append(line)
    assert len(found) == len(shown) == 8 and all(sum(line.endswith(each) for line in shown) == 1 for each in found)
    for line in sides.differences([row for row in rows if row[0].gap in ("camera-40", "camera-55", "camera-70")]).rows:
        if line[1] != title(replace(transfer.BASE, label=True, coverage="whole")):
            assert f"{'**' * (line[6] < 0.05)}{line[4].replace('0.', '.')}" in page, line
    for line in sides.correlations(rows).rows:
        if line[1] in ("camera-40", "camera-55", "camera-70") and line[0] == "log_wasserstein":
            assert line[3].replace("0.", ".") in page.replace("\n ", ""), line


def _hundredths(rates: list[float]) -> str:
    """A mean to hundredths, halves up, as pages write it."""
    mean = math.floor(100 * sum(rates) / len(rates) + 0.5 + 1e-9) / 100
    return f"{mean:.2f}".removeprefix("0")


def test_success_over_the_angle_shows_every_arm():
    results = invented("transfer", lambda cell: 0.5, "overnight")
    with styled():
        axes = over_angle(results)[2].axes
    shown = [line for line in axes[0].lines if not line.get_label().startswith("_")]
    assert {line.get_label() for line in shown} == {title(cell) for cell, _ in results}
    assert len({(line.get_color(), line.get_marker()) for line in shown}) == len(shown) == 4 + len(transfer.FAMILIES)
