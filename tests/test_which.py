"""Which method: the data file against the studies' committed rows, the page against the data file."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import pytest
from cotrain_bench.evidence import BEGIN, END, measured, with_table
from typer.testing import CliRunner

from cotrain_losses.cli.advise.recommend import evidence
from cotrain_losses.cli.commands import app
from cotrain_losses.cli.which import amount, choices_table, result

ROOT = Path(__file__).parent.parent
CHOICES = evidence()["choices"]
MEASURED = [choice for choice in CHOICES if "rows" in choice]


@pytest.mark.parametrize("choice", MEASURED, ids=lambda choice: f"{choice['gap']}, {choice['do']}")
def test_the_numbers_of_an_entry_are_those_of_its_rows(choice) -> None:
    assert choice["measured"] == pytest.approx(measured(choice["rows"], ROOT), rel=1e-4, abs=1e-9)


def test_every_entry_is_measured_or_says_that_it_is_not() -> None:
    for choice in CHOICES:
        assert ("measured" in choice) == ("rows" in choice)
        assert set(choice) >= {"gap", "target data", "unlabelled", "do", "against", "from"}


def test_the_page_has_the_table_of_the_data_file() -> None:
    page = (ROOT / "docs" / "which-method.md").read_text()
    assert with_table(page, CHOICES) == page, "run `python -m cotrain_bench.evidence` and commit what it writes"


def test_what_a_page_says_around_its_table_stays() -> None:
    page = with_table(f"before\n{BEGIN}old{END}after", CHOICES[:1])
    assert page.startswith("before\n") and page.endswith("after") and "old" not in page
    assert page.count("\n| ") == 2  # the heads and one entry


def rows_file(folder: Path, rows: list[dict[str, object]]) -> str:
    path = folder / "results.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path.name


def test_a_difference_is_the_mean_over_pairs_that_both_sides_have(tmp_path) -> None:
    made = {("a", 1): 0.6, ("a", 2): 0.8, ("a", 3): 0.9, ("b", 1): 0.5, ("b", 2): 0.3}
    rows = [{"method": m, "seed": seed, "success": s, "episodes": 10_000} for (m, seed), s in made.items()]
    file = rows_file(tmp_path, [row | {"scales": '{"1.0": 0.9}'} for row in rows])
    names = {"one": [file, {"method": "a"}], "other": [file, {"method": "b"}], "pairs": ["seed"]}
    found = measured(names, tmp_path)
    half = 12.7062 * statistics.stdev([0.1, 0.5]) / 2**0.5  # the 97.5 % point of t with one degree of freedom
    assert (found["difference"], found["low"], found["high"], found["pairs"]) == pytest.approx(
        (0.3, 0.3 - half, 0.3 + half, 2), abs=1e-4
    )
    scaled = measured({**names, "one": [file, {"method": ["a"], "scale": "1.0"}]}, tmp_path)
    assert scaled["difference"] == pytest.approx(0.5)
    of_sides = rows_file(tmp_path, [row | {"unseen": row["success"] / 2} for row in rows])
    one, other = ([of_sides, {"method": name, "side": "unseen"}] for name in "ab")
    assert measured({"one": one, "other": other, "pairs": ["seed"]}, tmp_path)["difference"] == pytest.approx(0.15)
    with pytest.raises(ValueError, match="a guidance scale or a side, got both"):
        measured({**names, "one": [of_sides, {"method": "a", "side": "unseen", "scale": "1.0"}]}, tmp_path)
    with pytest.raises(ValueError, match="two pairs or more, got 0"):
        measured({**names, "other": [file, {"method": "c"}]}, tmp_path)


@pytest.mark.parametrize(
    ("found", "much", "said"),
    [
        ({"difference": 0.1, "low": 0.01, "high": 0.2, "pairs": 5}, "+0.10 [0.01, 0.20], 5 pairs", "better"),
        ({"difference": -0.1, "low": -0.2, "high": -0.01, "pairs": 5}, "-0.10 [-0.20, -0.01], 5 pairs", "worse"),
        (
            {"difference": 0.1, "low": -0.1, "high": 0.3, "pairs": 5},
            "+0.10 [-0.10, 0.30], 5 pairs",
            "no difference shown",
        ),
        ({"factor": 0.1, "low": 0.05, "high": 0.2, "pairs": 5}, "loss x 0.1 [0.05, 0.2], 5 seeds", "better"),
        ({"factor": 10.0, "low": 5.0, "high": 20.0, "pairs": 5}, "loss x 10 [5, 20], 5 seeds", "worse"),
    ],
)
def test_an_interval_says_what_was_shown(found, much, said) -> None:
    assert (amount({"measured": found}), result({"measured": found})) == (much, said)


def test_the_command_prints_every_entry() -> None:
    shown = CliRunner().invoke(app, ["which", "--markdown"]).output
    assert shown.count("\n") == len(CHOICES) + 2 and choices_table(CHOICES).cells[0][0][0] in shown
    assert "not measured" in shown and result({}) == "not measured"


def test_on_a_terminal_there_is_no_markdown() -> None:
    shown = CliRunner().invoke(app, ["which"]).output
    assert "Which method should I take?" in shown and "docs/which-method.md" in shown and "visual" in shown
    assert "](" not in shown and "`" not in shown


def test_frames_without_actions_are_named_where_they_were_used() -> None:
    used = {**MEASURED[0], "unlabelled": "500 of each seed"}
    assert choices_table([used]).rows[0][4] == f"{used['target data']}; frames without actions: 500 of each seed"
