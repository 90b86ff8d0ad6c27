"""How much there is to read: `make lines`.

Lines, statements (as Python parses them, so that longer lines hide none), the median function and the longest file, of
the library and the benchmarks together; tests are counted apart.
"""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
PARTS = {
    "library and benchmarks": ("cotrain_losses", "benchmarks"),
    "cotrain_losses": ("cotrain_losses",),
    "benchmarks": ("benchmarks",),
    "tests": ("tests",),
}


def main() -> None:
    """Print the table."""
    print(f"{'':24}{'files':>7}{'lines':>8}{'statements':>12}{'median function':>17}   longest file")
    for name, folders in PARTS.items():
        paths = [path for folder in folders for path in sorted((ROOT / folder).glob("**/*.py"))]
        longest = max(paths, key=lines)
        lengths = [length for path in paths for length in functions(path)]
        counts = f"{len(paths):>7}{sum(map(lines, paths)):>8}{sum(map(statements, paths)):>12}{median(lengths):>17.0f}"
        print(f"{name:24}{counts}   {longest.relative_to(ROOT)} ({lines(longest)})")


def lines(path: Path) -> int:
    """Lines of a file, as an editor counts them."""
    return len(path.read_text().splitlines())


def statements(path: Path) -> int:
    """Statements of a file, docstrings not counted."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.stmt)]
    return sum(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in nodes)


def functions(path: Path) -> list[int]:
    """The lines of each function, all of them."""
    nodes = ast.walk(ast.parse(path.read_text()))
    each = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [(node.end_lineno or 0) - node.lineno + 1 for node in each]


if __name__ == "__main__":
    main()
