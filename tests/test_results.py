"""Finished cells, intervals and reports: nothing half-written is ever read as a result."""

from __future__ import annotations

import base64
import errno
import io
import json
import math
import re
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from cotrain_bench.paired import Interval, mcnemar, wilson
from cotrain_bench.results import (
    CannotContinue,
    Cells,
    as_csv,
    digest,
    plain,
    read_results,
    source_digest,
    write,
    write_results,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cotrain_losses.cli import report

names = st.text(min_size=1, max_size=5)
values = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | names
rows = st.dictionaries(names, values | st.lists(values, max_size=3), max_size=4)


@given(rows, rows)
@settings(max_examples=8)
def test_a_saved_cell_is_found_under_the_same_settings_in_any_order_and_under_no_others(tmp_path_factory, cell, row):
    cells = Cells(tmp_path_factory.mktemp("cells"), report=pytest.fail)
    cells.save(cell, row)
    assert cells.find(dict(reversed(cell.items()))) == row
    assert cells.find({**cell, "one more": 1}) is None


@pytest.mark.parametrize("size", [0, 1, 0.5, 0.99])
def test_a_file_cut_short_anywhere_is_reported_and_not_read(tmp_path, size):
    said: list[str] = []
    cells = Cells(tmp_path, said.append)
    cells.save({"seed": 0}, {"success": 0.5})
    whole = cells.path({"seed": 0}).read_bytes()
    cells.path({"seed": 0}).write_bytes(whole[: size if isinstance(size, int) else int(size * len(whole))])
    assert cells.find({"seed": 0}) is None
    assert said == [f"{cells.path({'seed': 0})} is damaged and not read as a result; its cell is computed again."]


def test_a_changed_number_and_a_file_of_another_cell_are_not_read(tmp_path):
    said: list[str] = []
    cells = Cells(tmp_path, said.append)
    cells.save({"seed": 0}, {"success": 0.5})
    path = cells.path({"seed": 0})
    cells.path({"seed": 1}).write_bytes(path.read_bytes())
    path.write_text(path.read_text().replace("0.5", "0.9"))
    assert cells.find({"seed": 0}) is None and cells.find({"seed": 1}) is None
    assert len(said) == 2


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write(tmp_path / "a", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # the system refuses the write half-way
    try:
        with pytest.raises(CannotContinue, match=r"a could not be written .*\. Pass a folder .* with room, as --out"):
            write(tmp_path / "a", b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_named_as_such():
    from cotrain_bench.results import unwritten

    assert "the disk is full. Free some" in unwritten(Path("out/x"), OSError(errno.ENOSPC, "No space left on device"))


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(CannotContinue, match="could not be written"):
        write(tmp_path / "out" / "results.json", b"")


@given(rows)
def test_digests_tell_values_apart_and_ignore_containers(row):
    assert digest(row) == digest(dict(reversed(row.items())))
    assert digest(row) != digest({**row, "": [row]})


def test_plain_values_are_what_json_knows():
    value = {"t": torch.tensor([1.5, math.nan]), "n": np.int64(3), "p": Path("a/b"), "x": (1, math.inf), 2: {3, 1}}
    assert plain(value) == {"t": [1.5, None], "n": 3, "p": "a/b", "x": [1, None], "2": [1, 3]}


def test_changed_source_changes_its_digest(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    before = source_digest(tmp_path)
    (tmp_path / "a.py").write_text("x = 2")
    assert source_digest(tmp_path) != before


def test_results_hold_settings_versions_and_rows_and_the_csv_the_same_rows(tmp_path):
    write_results(tmp_path, {"seed": 0}, [{"a": 1, "b": [0, 1]}, {"a": 2.5, "c": None}])
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["settings"] == {"seed": 0} and found["rows"] == [{"a": 1, "b": [0, 1]}, {"a": 2.5, "c": None}]
    assert {"torch", "python", "machine"} <= set(found["versions"])
    assert read_results(tmp_path) == found
    assert (tmp_path / "results.csv").read_text() == 'a,b,c\n1,"[0, 1]",\n2.5,,\n'
    assert as_csv([]) == "\n"


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_the_formula_of_1927(counts):
    k, n = counts
    z, p = 1.959963984540054, k / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = wilson(k, n)
    assert low == pytest.approx((middle - half) / (1 + z * z / n), abs=1e-9)
    assert high == pytest.approx((middle + half) / (1 + z * z / n), abs=1e-9)
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low))


def test_intervals_overlap_when_they_share_a_point():
    assert Interval(0.1, 0.3).overlaps(Interval(0.3, 0.5)) and Interval(0.3, 0.5).overlaps(Interval(0.1, 0.3))
    assert not Interval(0.1, 0.3).overlaps(Interval(0.31, 0.5))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_mcnemar_sums_the_binomial_tail_over_the_episodes_that_differ(pairs):
    first, second = (list(side) for side in zip(*pairs, strict=True))
    only_first, only_second, p = mcnemar(first, second)
    assert (only_first, only_second) == (pairs.count((True, False)), pairs.count((False, True)))
    n, k = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert p == pytest.approx(min(1.0, 2 * tail))


def test_a_report_is_one_page_that_needs_no_other_file():
    png = base64.b64decode("iVBORw0KGgo=")
    sections = [
        report.Section("A", [report.Text("<b> & co"), report.Table(["m", "x"], [["adda", 0.5], ["cfg", None]], "why")]),
        report.Section("B", [report.Figure(png, "a picture"), report.Code("cotrain bench")]),
    ]
    html = report.page("Title", sections, lead="Found <nothing>.")
    assert "&lt;b&gt; &amp; co" in html and "<b>" not in html and "Found &lt;nothing&gt;." in html
    assert "0.500" in html and "\N{EN DASH}" in html and "why" in html and "cotrain bench" in html
    assert re.findall(r'(?:src|href)="(.*?),', html) == ["data:image/png;base64"]
    assert base64.b64decode(re.search(r'base64,([^"]*)"', html)[1]) == png


def test_names_between_backticks_are_code_and_nothing_becomes_html():
    html = report.page("Title", [report.Section("A", [report.Text("run `a<b`, not <i>")])])
    assert "run <code>a&lt;b</code>, not &lt;i&gt;" in html


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_a_picture_knows_the_width_that_it_was_drawn_for(kind):
    file = io.BytesIO()
    Image.new("P", (600, 300)).save(file, kind)
    html = report.page("Title", [report.Section("A", [report.Figure(file.getvalue())])])
    assert "--most: 520px" in html  # 600 dots at 150 an inch, 130 pixels an inch


def test_a_table_in_markdown_has_a_line_per_row():
    assert report.as_markdown(report.Table(["a", "b"], [[1, 0.25]])) == "| a | b |\n|---|---|\n| 1 | 0.250 |"
