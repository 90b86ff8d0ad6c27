"""Demonstrations in the formats that robot learning keeps them in: read in pieces, never decoding images or video.

Every module of this folder that registers a format is loaded here; libraries that read files load when one is opened.
"""

from importlib import import_module
from pkgutil import iter_modules

from .demonstrations import Demonstrations, Frames, register
from .faults import Fault, Unreadable
from .opening import named_apart, open_demonstrations

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Demonstrations", "Fault", "Frames", "Unreadable", "named_apart", "open_demonstrations", "register"]
