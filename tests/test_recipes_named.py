"""A method by name is the recipe called with those arguments; anything else is refused in one sentence."""

from __future__ import annotations

import pytest

from cotrain_losses import recipes
from cotrain_losses.method import Method
from cotrain_losses.recipes.named import RECIPES, calls, named


def test_every_recipe_has_its_name() -> None:
    assert set(RECIPES) == set(recipes.__all__) - {"LabelCost"}
    assert all(RECIPES[name] is getattr(recipes, name) for name in RECIPES)


@pytest.mark.parametrize("name", ["cotraining", "cfg", "cfg_adda", "ot", "mmd", "dann", "structured", "real_only"])
def test_a_name_alone_takes_what_the_run_knows(name: str) -> None:
    known = {"width": 6, "ratio": 0.3, "steps": 10, "frames": (30, 10)}
    taken = {key: value for key, value in known.items() if key in RECIPES[name].__annotations__}
    assert repr(named(name, **known)) == repr(RECIPES[name](**taken))


def test_arguments_are_literals_by_name_and_go_before_what_is_known() -> None:
    method = named("cfg(scale=1.0, width=3, ratio={'target': 0.25, 'source': 0.75})", width=8, ratio=0.1)
    assert method.guidance is not None and method.guidance.scale == 1.0
    assert method.guidance.table is not None and method.guidance.table.shape[1] == 3
    assert method.ratio == {"target": 0.25, "source": 0.75}


def test_methods_add() -> None:
    method = named("ot(blur=0.5) + cfg", width=4)
    assert method.guidance is not None and method.regularizer is not None and method.ratio == 0.1
    assert calls("ot(blur=-0.5) + cfg + mmd") == [("ot", {"blur": -0.5}), ("cfg", {}), ("mmd", {})]


def test_what_is_known_is_asked_for_only_where_a_recipe_takes_it() -> None:
    asked: list[int] = []
    named("ot", width=lambda: asked.append(1) or 5)
    assert not asked
    assert isinstance(named("cfg", width=lambda: asked.append(1) or 5), Method) and asked == [1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cgf", r"a method is one of .*, got 'cgf'. Nearest: cfg"),
        ("cfg(scael=1.0)", "cfg takes width, ratio, drop, scale, domains, got scael"),
        ("ambient", r"ambient needs low, got none. Write ambient\(low=...\)"),
        ("cfg(8)", "literal arguments by name"),
        ("cfg(width=8).fresh()", "literal arguments by name"),
        ("__import__('os').system('true')", "literal arguments by name"),
        ("cfg(width=open('x'))", "literal arguments by name"),
        ("cfg * 2", "literal arguments by name"),
        ("", "literal arguments by name"),
        ("cfg(**{})", "literal arguments by name"),
    ],
)
def test_anything_else_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        named(text, ratio=0.1)
