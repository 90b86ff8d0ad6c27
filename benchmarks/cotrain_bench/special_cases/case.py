"""One comparison: a recipe's expression, the published formula written without the library, and how they differ.

value_error     max over draws of |ours - theirs| / |theirs|
gradient_error  max over draws of |g_ours - g_theirs| / |g_theirs|     all gradients of the draw as one vector
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from cotrain_losses import Method, Regularizer, recipes

from .draws import Draw, draw_of
from .narrow import narrowed


class Answer(NamedTuple):
    """A value (any shape) and groups of gradients that belong to it; no group where only values are compared."""

    value: Tensor
    gradients: Sequence[Sequence[Tensor]] = ()


@dataclass(frozen=True)
class Case:
    """A method that is claimed to be a special case.

    Args:
        recipe: the recipe that is shown.
        expression: `draw -> Method`, the recipe at the draw's sizes.
        written: `draw, method -> Answer`, the published formula; it takes only initial weights from the method.
        source, oracle, formula, conventions: read from the docstring of `written`, see `case`.
        measured: `draw, method -> Answer`, what the library computes for the expression.
        tolerance: 1e-6, or 1e-4 where an iterative solver is the oracle.
        paired, scale: of the draws.
    """

    name: str
    recipe: Callable[..., Any]
    expression: Callable[[Draw], Any]
    written: Callable[[Draw, Any], Answer]
    source: str
    oracle: str
    formula: str
    conventions: str
    measured: Callable[[Draw, Any], Answer]
    tolerance: float = 1e-6
    paired: bool = False
    scale: float = 1.0

    def errors(self, draws: int, seed: int = 0) -> tuple[float, float | None]:
        """The worst value error and the worst gradient error over the draws."""
        errors = [self._errors_at(seed + k) for k in range(draws)]
        gradient = [error for _, error in errors if error is not None]
        return max(error for error, _ in errors), max(gradient) if gradient else None

    def _errors_at(self, seed: int) -> tuple[float, float | None]:
        draw = draw_of(seed, paired=self.paired, scale=self.scale)
        ours, theirs = self.measured(draw, self._method(draw)), self.written(draw, self._method(draw))
        value = relative_error([ours.value], [theirs.value])
        if not theirs.gradients:
            return value, None
        groups = zip(ours.gradients, theirs.gradients, strict=True)
        return value, max(relative_error(*group) for group in groups)

    def _method(self, draw: Draw) -> Any:
        torch.manual_seed(draw.seed)  # the same initial weights for both sides of the comparison
        method = self.expression(draw)
        return doubled(method, draw) if isinstance(method, Method) else method


CASES: list[Case] = []
"""every case, in the order of its definition"""

Written = TypeVar("Written", bound=Callable[..., Answer])


def case(name: str, expression: Callable[[Draw], Any], **settings: Any) -> Callable[[Written], Written]:
    """Adds a case, written by the decorated function, whose docstring has three paragraphs: who published it against
    which oracle it is set; the published form, in TeX as matplotlib knows it; what had to be converted between the two.

    Args:
        name: the recipe's, where none is among the settings; a comma begins what tells two cases of a recipe apart.
        expression: a lambda, which is shown, or a function, whose body is shown.
        settings: other fields of `Case`.
    """

    def add(written: Written) -> Written:
        head, formula, conventions = (" ".join(part.split()) for part in (written.__doc__ or "").split("\n\n"))
        source, oracle = head.split(" against ")
        recipe = settings.pop("recipe", None) or getattr(recipes, name.partition(",")[0])
        how = {"measured": at_the_features, **settings}
        CASES.append(Case(name, recipe, expression, written, source, oracle, formula, conventions, **how))
        return written

    return add


def doubled(method: Method, draw: Draw) -> Method:
    """The method in float64, its domain tokens drawn (they begin at zero, which would hide them)."""
    for part in method.modules():
        part.double()
    if method.guidance is not None and method.guidance.table is not None:
        table = method.guidance.table
        table.data.copy_(torch.from_numpy(draw.generator.normal(size=tuple(table.shape))))
    return method


def gradients(value: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of a scalar for each input, zero where it does not depend on it."""
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    grads = torch.autograd.grad(value, inputs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, grads, strict=True)]


def relative_error(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """|ours - theirs| / |theirs| of all entries together; infinite where ours is not zero and theirs is, or is NaN."""
    a, b = (torch.cat([x.detach().double().flatten() for x in side]) for side in (ours, theirs))
    if a.shape != b.shape:
        raise ValueError(f"answers of one shape are compared, got {tuple(a.shape)} and {tuple(b.shape)}.")
    difference, size = float((a - b).norm()), float(b.norm())
    if not math.isfinite(difference):
        return math.inf
    return 0.0 if difference == 0.0 else difference / size if size > 0 else math.inf


def regularizer_of(method: Method) -> Regularizer:
    """The regularizer of a method that has one."""
    assert method.regularizer is not None
    whole = 1.0 * method.regularizer
    assert isinstance(whole, Regularizer)
    return whole


def at_the_features(draw: Draw, method: Method) -> Answer:
    """What a regularizer is worth on the draw, and its gradients at the features and at its own parameters."""
    regularizer = regularizer_of(method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a solve that did not converge is a failure here
        value = regularizer(draw.source, draw.target, step=draw.step)
    own = list(regularizer.parameters())
    return Answer(value, (gradients(value, draw.leaves), *([gradients(value, own)] if own else [])))


def loss(value: Tensor, draw: Draw) -> Answer:
    """A plain loss written as an answer."""
    return Answer(value, (gradients(value, draw.leaves),))


def shown_code(function: Callable[..., Any]) -> str:
    """A function's statements as code: the body without its docstring."""
    body = _definition(function).body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return narrowed("\n".join(ast.unparse(statement) for statement in body))


def shown_expression(shown: Case) -> str:
    """The expression of a case as code."""
    decorator = _definition(shown.written).decorator_list[0]
    lambdas = [node.body for node in ast.walk(decorator) if isinstance(node, ast.Lambda)]
    return narrowed(ast.unparse(lambdas[0])) if lambdas else shown_code(shown.expression)


def _definition(function: Callable[..., Any]) -> ast.FunctionDef:
    definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(definition, ast.FunctionDef)
    return definition
