"""Stand-ins for modules that LeRobot imports on the way to a policy and does not use in it, where they are missing.

Only LeRobot's own files find them: transformers and diffusers ask what is installed, and are told the truth.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

NAMES = (
    *("annotated_types", "av", "cv2", "datasets", "deepdiff", "dill", "gymnasium", "imageio", "jsonlines"),
    *("multiprocess", "num2words", "orderly_set", "pandas", "pyarrow", "pydantic", "pynput", "rerun", "serial"),
    *("termcolor", "torchcodec", "tree", "wandb", "zmq"),
)


class _Anything(type):
    """A class that is any name, base, decorator or annotation."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and callable(args[0]) and not kwargs:
            return args[0]
        return cls

    def __or__(cls, other: Any) -> Any:
        return cls

    __ror__ = __or__

    def __getitem__(cls, item: Any) -> Any:
        return cls

    def __iter__(cls) -> Iterator[Any]:
        return iter(())


def _asking() -> str:
    """The file that imports, or asks whether it could."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename == __file__ or "importlib" in frame.f_code.co_filename
    ):
        frame = frame.f_back
    return frame.f_code.co_filename.replace("\\", "/")


def _named(name: str) -> Any:
    return type.__call__(_Anything, name, (), {})


class _Module(types.ModuleType):
    __version__ = "0.0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        known = name.partition(".")[0] in self.names and "/lerobot/" in _asking()
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = _Module(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def stand_in() -> list[str]:
    """From here on, let the missing ones be imported; returns their names."""
    missing = [name for name in NAMES if name not in sys.modules and importlib.util.find_spec(name) is None]
    if missing:
        sys.meta_path.append(_Finder(missing))
    return missing
