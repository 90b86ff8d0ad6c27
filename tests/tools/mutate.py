"""What can be broken in a source file: one small change each, as the text of the whole file.

    comparison   < to <=, == to !=, is to is not ...       arithmetic   + to -, * to /, ** to *
    constant     1 to 2, 0.5 to 1.0, True to False         boolean      and to or, `not x` to x
    dimension    sum(1) to sum(0), sum(0) to sum(1)        condition    `if x` to `if not x`
    statement    a call, an augmented assignment or a returned value is removed

Docstrings, annotations, error messages, asserts and `repr` are left alone: no test should hold their words.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.MatMult: ast.Mult,
}
REDUCTIONS = {"sum", "mean", "min", "max", "all", "any", "cumsum", "amax", "amin", "argmin", "argmax", "std", "var"}
UNTOUCHED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)
WORDS = ("__repr__", "extra_repr", "warn")
"""functions whose bodies only say something, and calls that do"""


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    path: str
    line: int
    operator: str
    before: str
    after: str
    source: str
    """the whole file, changed"""
    key: str
    """names the change by its path, what was there, what is, and which of several equal ones it is"""
    digest: str
    """names the change and the file's whole text"""


def mutants(path: Path, root: Path) -> list[Mutant]:
    """Every mutant of a file, in the order of the text."""
    text, name = path.read_text(), str(path.relative_to(root))
    found, seen = [], Counter[str]()
    for node, operator, new in _changes(ast.parse(text)):
        start, stop = _span(text, node)
        after = ast.unparse(new)
        after = f"({after})" if isinstance(new, ast.expr) and not isinstance(new, ast.Constant) else after
        before = " ".join(text[start:stop].split())
        same = f"{name}\0{operator}\0{before}\0{after}"
        seen[same] += 1
        key, source = _hash(f"{same}\0{seen[same]}"), text[:start] + after + text[stop:]
        line: int = node.lineno  # type: ignore[attr-defined]
        found.append(Mutant(name, line, operator, before, after, source, key, _hash(f"{key}\0{text}")))
    return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _span(text: str, node: ast.AST) -> tuple[int, int]:
    """Where the node stands in the text, in characters."""
    lines = text.splitlines(keepends=True)
    places = []
    for line, column in ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)):  # type: ignore[attr-defined]
        within = len(lines[line - 1].encode()[:column].decode())
        places.append(sum(map(len, lines[: line - 1])) + within)
    return places[0], places[1]


Change = tuple[ast.AST, str, ast.AST]
"""what is replaced, by which operator, with what"""


def _changes(tree: ast.AST) -> Iterator[Change]:
    for node in _touched(tree):
        yield from _of(node)


def _touched(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that a test could hold, in the order of the text."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _untouched(child):
                yield child
                yield from _touched(child)


def _untouched(node: ast.AST) -> bool:
    if isinstance(node, UNTOUCHED):
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.FunctionDef):
        return node.name in WORDS
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return ast.unparse(node.value.func).split(".")[-1] in WORDS
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _of(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Compare(ops=[op]):
            yield node, "comparison", ast.Compare(node.left, [COMPARISONS[type(op)]()], node.comparators)
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            yield node, "arithmetic", ast.BinOp(node.left, ARITHMETIC[type(op)](), node.right)
        case ast.BoolOp(op=op):
            yield node, "boolean", ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub() as op):
            yield node, "boolean" if isinstance(op, ast.Not) else "arithmetic", node.operand
        case ast.Constant(value=bool() as value):
            yield node, "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield node, "constant", ast.Constant(value + 1 if isinstance(value, int) else 2.0 * value or 1.0)
        case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=0 | 1 as axis)]) if name in REDUCTIONS:
            yield node, "dimension", ast.Call(node.func, [ast.Constant(1 - axis)], node.keywords)
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield node, "statement", ast.Pass()
        case ast.Return(value=ast.expr() as returned) if not isinstance(returned, ast.Constant):
            yield node, "statement", ast.Return(ast.Constant(None))
        case ast.If() | ast.IfExp() | ast.While():
            yield node.test, "condition", ast.UnaryOp(ast.Not(), node.test)
        case _:
            pass
