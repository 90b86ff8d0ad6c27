"""The toy's analysis, a run from end to end, and what is refused."""

from __future__ import annotations

import json
import math
import re
import signal
import threading
from pathlib import Path

import pytest
from cotrain_bench.commands import bench
from cotrain_bench.toy import findings, pages
from cotrain_bench.toy.flow import Training
from cotrain_bench.toy.settings import PRESETS, Settings, settings
from typer.testing import CliRunner

# the analysis


def test_an_additive_grid_has_no_interaction():
    found = findings.variance([[math.exp(a + b) for b in (0.0, 1.0, 2.0)] for a in (0.0, 2.0)])
    assert found == pytest.approx((0.6, 0.4, 0.0), abs=1e-12)


def test_a_grid_that_crosses_is_interaction_alone():
    assert findings.variance([[1.0, 2.0], [2.0, 1.0]]) == pytest.approx((0, 0, 1))


def test_the_published_grid_has_the_shares_that_were_derived_from_it():
    assert findings.variance(list(findings.PUBLISHED.values())) == pytest.approx((0.403, 0.283, 0.314), abs=5e-4)


def made(**changes: float) -> list[dict[str, float]]:
    """Rows of a small grid that reaches every figure, with single values changed, named value_dz_ratio."""
    rows = []
    for dz, base in ((0.01, 9.0), (1.0, 0.5), (50.0, 40.0)):
        for ratio in (0.0, 0.1, 0.5, 1.0):
            loss = base if dz == 0.01 or ratio < 1 else 20.0
            row = {"dz": dz, "ratio": ratio, "seed": 0, "loss": loss * (1 + 0.1 * ratio), "loss_ood": 4 * loss}
            row |= {"share_source": 0.2, "share_target": 0.2}
            for name in list(row):
                row[name] = changes.get(f"{name}_{dz:g}_{ratio:g}", row[name])
            rows.append(row)
    return rows


def test_figures_that_are_met_count_as_reached():
    assert all(check.reached for check in findings.checks(made())) and len(findings.checks(made())) == 6


@pytest.mark.parametrize(
    ("changed", "figure"),
    [
        ({"loss_0.01_0": 11.5}, 0),
        ({"loss_0.01_0": 7.9}, 0),
        ({"share_target_0.01_0.5": 0.11}, 1),
        ({"share_source_0.01_0.5": 0.11}, 1),
        ({"loss_1_0.1": 1.6}, 2),
        ({"loss_ood_1_1": 19.0}, 3),
        ({"loss_50_0.1": 4.9}, 4),
        ({f"loss_{dz}_0.1": 0.0001 for dz in ("0.01", "1", "50")}, 5),
    ],
)
def test_a_figure_that_is_missed_is_said_to_be_missed(changed, figure):
    assert not findings.checks(made(**changed))[figure].reached


# a run


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("toy")
    grid = Settings((0.01, 1.0, 50.0), (0.0, 0.1, 0.5, 1.0), (0, 5), Training(depth=2, width=8, steps=3, batch=8))
    pages.study("tiny", grid, out)
    return out


def test_a_run_writes_one_row_for_each_cell(folder):
    results = json.loads((folder / "results.json").read_text())
    rows = results["rows"]
    assert len({(row["dz"], row["ratio"], row["seed"]) for row in rows}) == len(rows) == 24
    assert {"dz", "ratio", "seed", "loss", "loss_ood", "share_source", "share_target"} <= set(rows[0])
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert set(results["settings"]["variance_of_log_loss"]) == {"0", "5"} and len(results["settings"]["checks"]) == 12


def test_the_report_needs_no_other_file_and_shows_misses_as_misses(folder):
    page = (folder / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 3
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "Not reached: " in page and "published grid" in page and "not reached</td>" in page


# bad input


def ends(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(bench, ["toy", *arguments])
    return result.exit_code, " ".join(result.output.split())


def test_unknown_presets_and_bad_seeds_end_in_one_sentence(tmp_path):
    assert ends("--preset", "huge") == (1, "a preset is one of smoke, paper, got 'huge'.")
    assert ends("--seed", "-1") == (1, "a seed is a whole number from 0 to 2147483647, got -1.")
    assert ends("--seed", "3", "--seed", "3") == (1, "a run takes one or more different seeds, got [3, 3].")
    assert ends("--seed", "three")[0] == 2


def test_a_folder_that_cannot_be_written_ends_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("")
    code, said = ends("--out", str(tmp_path / "file" / "below"))
    assert code == 1 and "nothing can be written" in said and "--out" in said and "Traceback" not in said


def test_an_interrupt_ends_in_one_sentence_and_leaves_earlier_results(tmp_path):
    (tmp_path / "results.json").write_text("earlier")
    threading.Timer(1.0, signal.raise_signal, [signal.SIGINT]).start()
    code, said = ends("--out", str(tmp_path))
    assert code == 130 and said.endswith("none is finished: the same command starts anew.")
    assert (tmp_path / "results.json").read_text() == "earlier"


def test_the_grids_hold_the_published_distances_and_both_single_domains():
    assert len(PRESETS["smoke"].cells) == 81 and len(PRESETS["paper"].cells) == 9 * 11 * 3
    for preset in PRESETS.values():
        assert {0.0, 1.0} <= set(preset.ratios) and preset.distances == tuple(findings.PUBLISHED)
    assert settings("paper", [9]).seeds == (9,)
