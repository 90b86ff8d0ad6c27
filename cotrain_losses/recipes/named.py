"""Methods by name: a recipe with its arguments as text, which is read and never evaluated.

text  =  call + call + ...          call  =  name  |  name(argument=literal, ...)

named("cfg(scale=1.0)", width=64)         named("ot + cfg", width=64, ratio=0.1)
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from ..guidance import DomainGuidance
from ..method import Method
from . import adversarial, guidance, kernels, mixing, transport

RECIPES: dict[str, Callable[..., Method]] = {
    name: recipe
    for module in (mixing, adversarial, kernels, transport, guidance)
    for name, recipe in vars(module).items()
    if inspect.isfunction(recipe) and recipe.__module__ == module.__name__ and not name.startswith("_")
}
"""every recipe by its name"""


def named(text: str, **known: Any) -> Method:
    """The method that a text names.

    Args:
        text: recipes and their keyword arguments, added with `+`.
        known: what a run knows (width, steps, ratio, ...), for recipes that take an argument of that name and are not
            given it.  A function is called only if a recipe asks.

    Raises ValueError on a name or an argument that does not exist, on one that is missing, on anything but literals.
    """
    first, *others = (_made(name, given, known) for name, given in calls(text))
    return sum(others, start=first)


def as_wide_as_the_condition(method: Method, domains: int) -> Method:
    """The same method, whose tokens get their width from the condition that they are added to when it is attached."""
    made = method.guidance
    if not isinstance(made, DomainGuidance) or made.one_hot:
        return method
    return replace(method, guidance=DomainGuidance(drop=made.drop, scale=made.scale, domains=domains))


def calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The names in a text, in order, each with its arguments.

    >>> calls("ot(blur=0.1) + cfg")
    [('ot', {'blur': 0.1}), ('cfg', {})]
    """
    try:
        return _calls(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"a method is the name of a recipe with literal arguments by name, such as cfg(scale=1.0), or several "
            f"added with +, got {text!r}."
        ) from error


def _calls(node: ast.expr) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _calls(node.left) + _calls(node.right)
    if isinstance(node, ast.Name):
        return [(node.id, {})]
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)) or node.args:
        raise ValueError(ast.dump(node))
    if any(given.arg is None for given in node.keywords):
        raise ValueError("**")
    return [(node.func.id, {str(given.arg): ast.literal_eval(given.value) for given in node.keywords})]


def _made(name: str, given: dict[str, Any], known: Mapping[str, Any]) -> Method:
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=3, cutoff=0.4)
        nearest = f" Nearest: {', '.join(near)}." if near else ""
        raise ValueError(f"a method is one of {', '.join(sorted(RECIPES))}, got {name!r}.{nearest}")
    taken = inspect.signature(RECIPES[name]).parameters
    if unknown := sorted(set(given) - set(taken)):
        raise ValueError(f"{name} takes {', '.join(taken)}, got {', '.join(unknown)}.")
    arguments = {each: value() if callable(value) else value for each, value in known.items() if each in taken}
    arguments |= given
    missing = [each for each, p in taken.items() if p.default is p.empty and each not in arguments]
    if missing:
        raise ValueError(
            f"{name} needs {', '.join(missing)}, got none. Write {name}({', '.join(f'{m}=...' for m in missing)})."
        )
    return RECIPES[name](**arguments)
