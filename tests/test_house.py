"""The picture of the house: which room may import which, read from the text of every module."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.tools.imports import Tree, circles, own_names, private, private_reads, private_strings
from tests.tools.lines import functions

ROOT = Path(__file__).parent.parent
LIBRARY = Tree(ROOT / "cotrain_losses")
BENCHMARKS = Tree(ROOT / "benchmarks" / "cotrain_bench")
TESTS = Tree(ROOT / "tests")

ROOMS = {
    "_core": "",
    "guidance": "_core",
    "strength": "_core",
    "datasets": "_core",
    "mixing": "_core",
    "terms": "_core strength",
    "importance": "_core mixing",
    "method": "_core guidance terms importance",
    "measures": "_core terms",
    "recipes": "_core guidance terms strength mixing importance method",
    "policy": "_core guidance terms strength mixing importance method measures",
    "cli": "_core guidance terms mixing importance method measures datasets recipes policy",
    "__init__": "_core guidance terms mixing method recipes policy",
}
"""each room with the rooms that it may import; a module of a room may import any other of the room"""
OTHERS = {"_version": "torch's, of a tensor", "_model": "robosuite's, of its simulation"}
"""private names of other libraries that a class of ours uses too"""
THEIRS = {
    "_asdict": "Python's, public of a named tuple",
    "_dynamo": "torch's, the compiler: its settings, and what it counts of graphs",
    "_data_loader": "openpi's, what its loader reads",
    "_index_to_demo_id": "robomimic's, the demonstration of each sample",
    "_replace": "Python's, public of a named tuple",
    "_exit": "Python's, public of os",
    "_getframe": "Python's, who called",
    "_python_dispatch": "torch's, where every operation can be seen",
    "_pytree": "torch's, what is nested",
    "_C": "torch's, where a device made in Python is registered",
    "_setup_privateuseone_for_python_backend": "torch's, which registers it",
    "_make_wrapper_subclass": "torch's, a tensor whose memory is another tensor's",
    "_disabled_torch_function_impl": "torch's, no operation is seen twice",
    "_to_copy": "torch's, the operation that moves a tensor",
    "_forward_hooks": "torch's, which lists hooks nowhere else",
    "_forward_pre_hooks": "torch's, which lists hooks nowhere else",
    "_groot_model": "LeRobot's, where the policy is",
    "_create_groot_model": "LeRobot's, replaced by a small model",
    "_get_action_trajectory": "robomimic's, its sampler",
    "_forward_training": "robomimic's, its forward pass",
    "_check_success": "robosuite's, of its task",
}
"""names with an underscore that tests may read: other libraries' own, where there is no other way"""


def test_a_room_imports_only_the_rooms_that_the_table_allows() -> None:
    wrong = []
    for found in LIBRARY.imports:
        target = LIBRARY.target(found)
        if target is not None:
            room, other = LIBRARY.room(found.by) or "__init__", LIBRARY.room(target) or "__init__"
            if other != room and other not in ROOMS[room].split():
                wrong.append(str(found))
    assert not wrong, "\n".join(wrong)


def test_the_table_has_no_arrow_back_up() -> None:
    order = list(ROOMS)
    assert all(order.index(other) < order.index(room) for room, allowed in ROOMS.items() for other in allowed.split())


def test_the_table_names_every_room() -> None:
    there = {path.stem for path in LIBRARY.folder.iterdir() if path.name not in ("__pycache__", "py.typed")}
    assert there == set(ROOMS)


def test_no_modules_import_each_other_in_a_circle() -> None:
    found = circles(LIBRARY.arrows()) + circles(BENCHMARKS.arrows())
    assert not found, "\n".join(" <-> ".join(circle) for circle in found)


def test_no_module_imports_what_is_another_modules_own() -> None:
    ours = [found for tree in (LIBRARY, BENCHMARKS) for found in tree.imports if tree.target(found)]
    wrong = [str(found) for found in ours if private(found.name) and found.name != "_core"]
    assert not wrong, "\n".join(wrong)


def test_no_module_reads_a_private_attribute_that_another_module_of_ours_made() -> None:
    wrong = [text for tree in (LIBRARY, BENCHMARKS) for text in _private_reads(tree)]
    assert not wrong, "\n".join(wrong)


def test_no_test_reads_a_private_name() -> None:
    parts = [(found, [*found.module.split("."), found.name]) for found in TESTS.imports]
    taken = [str(found) for found, names in parts if any(private(name) and name not in THEIRS for name in names)]
    named = [
        f"{name}:{line} names {text}"
        for name, tree in TESTS.parsed.items()
        for line, text in private_strings(tree)
        if text not in THEIRS
    ]
    read = [
        f"{name}:{line} reads {text}"
        for name, tree in TESTS.parsed.items()
        for line, attribute, text in private_reads(tree)
        if attribute not in THEIRS
    ]
    wrong = [text for text in [*taken, *named, *read] if "cotrain_losses._core" not in text]
    assert not wrong, "\n".join(wrong)


def _private_reads(readers: Tree) -> list[str]:
    """Reads of private attributes that a module of the library or of the benchmarks made, not the reader's own."""
    owned = {name: own_names(tree) for name, tree in {**LIBRARY.parsed, **BENCHMARKS.parsed}.items()}
    every = set().union(*owned.values()) - set(OTHERS)
    return [
        f"{name}:{line} reads {text}"
        for name, tree in readers.parsed.items()
        for line, attribute, text in private_reads(tree)
        if attribute in every - own_names(tree)
    ]


def test_the_benchmarks_import_public_names_of_the_library_only() -> None:
    wrong = [
        str(found)
        for found in BENCHMARKS.imports
        if found.module.split(".")[0] == "cotrain_losses" and any(map(private, [*found.module.split("."), found.name]))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_benchmarks_import_each_other_relatively_and_the_library_never_imports_them() -> None:
    every = [found for tree in (LIBRARY, BENCHMARKS) for found in tree.imports if not found.relative]
    wrong = [str(found) for found in every if found.module.split(".")[0] == "cotrain_bench"]
    assert not wrong, "\n".join(wrong)


def test_the_package_has_at_most_fourteen_entries_at_its_top() -> None:
    there = sorted(path.name for path in LIBRARY.folder.iterdir() if path.name != "__pycache__")
    assert len(there) <= 14, there


def test_no_file_is_longer_than_250_lines_and_the_median_function_is_at_most_8() -> None:
    paths = [path for tree in (LIBRARY, BENCHMARKS) for path in tree.paths.values()]
    long = {str(path.relative_to(ROOT)): count for path in paths if (count := len(path.read_text().splitlines())) > 250}
    assert not long, "\n".join(f"{path} has {count} lines" for path, count in long.items())
    assert median(length for path in paths for length in functions(path)) <= 8
