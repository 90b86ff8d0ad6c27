"""The base policy's processors."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from .configuration_cotrain import CotrainConfig


def make_cotrain_pre_post_processors(
    config: CotrainConfig, dataset_stats: Any = None, dataset_meta: Any = None
) -> tuple[Any, Any]:
    """What LeRobot makes for the base policy, found by LeRobot's own names."""
    base = config.base
    module = import_module(type(base).__module__.replace("configuration_", "processor_"))
    make = getattr(module, f"make_{base.type}_pre_post_processors")
    more = {"dataset_meta": dataset_meta} if "dataset_meta" in inspect.signature(make).parameters else {}
    return make(base, dataset_stats=dataset_stats, **more)
