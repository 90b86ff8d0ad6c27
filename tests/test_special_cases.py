"""The run that compares recipes with their published formulas: what it claims holds, and it would notice if not."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cotrain_bench.special_cases.case import relative_error, shown_code
from cotrain_bench.special_cases.draws import draw_of
from cotrain_bench.special_cases.edges import EDGES
from cotrain_bench.special_cases.pictures import PLACES, formula
from cotrain_bench.special_cases.study import FAMILIES, run

from cotrain_losses import recipes
from tests.tools.published import differences

CASES = [case for cases in FAMILIES.values() for case in cases]
DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("special-cases")
    return out, run(out, draws=1, seed=1000)


def test_every_case_and_every_edge_holds_on_draws_the_published_page_did_not_use(results) -> None:
    assert [row["name"] for row in results[1]["rows"] if not row["holds"]] == []


def test_every_recipe_is_a_case() -> None:
    shown = {case.recipe.__name__ for case in CASES}
    assert set(recipes.__all__) - {"LabelCost", "structured"} <= shown  # structured is published nowhere


def test_claims_are_as_strict_as_stated() -> None:
    iterative = re.compile("sinkhorn|geomloss|SLSQP", re.I)
    for case in CASES:
        assert case.tolerance == (1e-4 if iterative.search(case.oracle) else 1e-6), case.name
    allowed = {"definition": 0.0, "equality": 1e-6, "limit": 1e-3}
    assert all(edge.tolerance <= allowed[edge.kind] for edge in EDGES) and {e.kind for e in EDGES} == set(allowed)


BROKEN = {
    "mmd": lambda draw: recipes.mmd(ratio=draw.ratio, strength=0.1001),
    "uot": lambda draw: recipes.uot(ratio=draw.ratio, reference="ones", tolerance=1e-9),
    "ot": lambda draw: recipes.ot(ratio=draw.ratio, blur=1.001 * draw.blur, tolerance=1e-9),
    "cfg": lambda draw: recipes.cfg(draw.width, ratio=draw.ratio, drop=0.25, scale=0.5),
    "wei_cfg": lambda draw: recipes.one_hot(ratio=draw.ratio),
    "cfg_adda": lambda draw: recipes.cfg_adda(draw.width, ratio=draw.ratio, scale=0.501),
    "adda": lambda draw: recipes.adda(draw.width, ratio=draw.ratio, strength=-0.05),
    "tzeng": lambda draw: recipes.adda(draw.width, ratio=draw.ratio),
    "dann": lambda draw: recipes.dann(draw.width, ratio=draw.ratio, steps=1100),
    "ambient": lambda draw: recipes.ambient(ratio=draw.ratio, low=0.4, high=0.8),
    "reweighted": lambda draw: recipes.reweighted(1 - draw.ratio, share=0.5),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_setting_is_noticed(name) -> None:
    (case,) = (case for case in CASES if case.name == name)
    assert max(replace(case, expression=BROKEN[name]).errors(8)) > 10 * case.tolerance


def test_an_error_is_as_large_as_the_mistake() -> None:
    (mmd,) = (case for case in CASES if case.name == "mmd")
    assert replace(mmd, expression=BROKEN["mmd"]).errors(2) == pytest.approx((1e-3, 1e-3), rel=1e-6)


def test_relative_errors_do_not_hide_zeros_or_nan() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    assert relative_error([zero], [zero]) == 0.0
    assert relative_error([one], [zero]) == math.inf
    assert relative_error([one * math.nan], [one]) == math.inf
    assert relative_error([one, 2 * one], [one, one]) == pytest.approx(math.sqrt(2) / 2)


def test_draws_have_unequal_sizes_and_are_a_function_of_their_seed() -> None:
    for seed in range(20):
        draw, again, paired = draw_of(seed), draw_of(seed), draw_of(seed, paired=True)
        assert len(draw.source) != len(draw.target) and len(paired.source) == len(paired.target)
        torch.testing.assert_close(draw.source.features, again.source.features, rtol=0, atol=0)
        assert draw.source.features.dtype == torch.float64


def test_the_page_in_docs_is_the_one_this_code_writes_up_to_its_numbers(results) -> None:
    written = (results[0] / "special-cases.md").read_text()
    assert unnumbered((DOCS / "special-cases.md").read_text()) == unnumbered(written), (
        "run `cotrain bench special-cases --out DIR` and copy special-cases.md and special-cases.png to docs/"
    )


def unnumbered(page: str) -> str:
    """The page without the numbers a run measures: draws, errors."""
    return re.sub(r"\d+(\.\d+)?(e[+-]\d+)?", "#", page)


def test_the_published_page_shows_no_case_that_does_not_hold() -> None:
    page = (DOCS / "special-cases.md").read_text()
    assert "| NO |" not in page and page.count("| yes |") == len(CASES) + len(EDGES)


def test_a_number_on_the_page_that_a_run_does_not_confirm_is_said() -> None:
    page = "| uot | 3e-16 | 2e-10 | yes |\n\n| mmd | 4e-10 | yes |"
    assert differences(page, page.replace("3e-16", "9e-14").replace("2e-10", "1e-10")) == []
    for change in (("2e-10", "3e-09"), ("| yes", "| NO"), ("4e-10", "0e+00")):
        assert len(differences(page, page.replace(*change, 1))) == 1
    assert len(differences(page, page + "\nmore")) == 1


def test_what_is_shown_as_code_is_the_code() -> None:
    def recipe(x):
        """Documented."""
        y = x + 1
        return y * 2

    assert shown_code(recipe) == "y = x + 1\nreturn y * 2"


def test_results_are_plain_and_the_report_stands_alone(results) -> None:
    out, found = results
    assert json.loads((out / "results.json").read_text())["rows"] == found["rows"]
    assert all(row["draws"] == 1 for row in found["rows"])
    html = (out / "report.html").read_text()
    assert html.count("data:image/png;base64,") == len(CASES) + 1
    assert not re.search(r'(src|href)="(?!data:)', html) and "<script" not in html


def test_every_edge_joins_methods_that_the_figure_places_from_right_to_left() -> None:
    for edge in EDGES:
        assert PLACES[edge.start][0] > PLACES[edge.end][0], edge
    assert set(PLACES) == {name for edge in EDGES for name in (edge.start, edge.end)}


def test_a_formula_is_a_picture() -> None:
    assert formula(r"\frac{1}{2}").startswith(b"\x89PNG")
