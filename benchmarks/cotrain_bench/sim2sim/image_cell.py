"""A cell whose policy sees: one more kind of cell, trained, evaluated and measured as any other.

The study was fixed before any of its results were seen: an easy task that shows its goal (a button as large as the
hand), 48 pixels, a small convolutional encoder, four methods, five pairs of demonstrations and training seeds.  The gap
turns the cameras and the frame of commands as with keypoints, and changes light and colours besides.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from ..results import source_digest
from . import policy
from .batches import Budget
from .cell import Cell
from .demos import Demos
from .gaps import GAPS
from .images import LOOKS, PIXELS, ImageRequest, ImageWorld, image_demonstrations
from .rendering import Look

METHODS = ("real_only", "cotraining", "adda", "cfg_adda")
PAIRS = 5


@dataclass(frozen=True)
class ImageCell(Cell):
    """One trained policy that sees.

    >>> ImageCell(seed=3).image_requests()["target"].look.light
    0.55
    """

    task: str = "button-press"
    gap: str = "visual-control"
    target_demos: int = 5
    source_demos: int = 100
    episodes: int = 50
    policy: str = f"{policy.__name__}:image_flow"
    budget: Budget = field(default_factory=lambda: Budget(steps=2000, batch_size=64))
    pixels: int = PIXELS

    def key(self) -> dict[str, Any]:
        drawn = {name: request.key() for name, request in self.image_requests().items()}
        return {**super().key(), "drawn": drawn, "image_code": source_digest(__file__, policy)}

    def image_requests(self) -> dict[str, ImageRequest]:
        """The demonstrations of `requests`, seen."""
        looks = dict.fromkeys(("target", "fresh_target"), LOOKS.get(self.gap, Look()))
        named = self.requests().items()
        return {name: ImageRequest(request, looks.get(name, Look()), self.pixels) for name, request in named}

    def demonstrations(self) -> dict[str, Demos]:
        with ThreadPoolExecutor(1) as here:
            return {name: image_demonstrations(r, here).seen() for name, r in self.image_requests().items()}

    def world(self) -> ImageWorld:
        """Where the policy is evaluated; one for all cells of a process, since it holds an OpenGL context."""
        return _world(self.task, self.gap, self.pixels)


def study(base: ImageCell = ImageCell(), first_seed: int = 10) -> list[ImageCell]:
    """The cells of the image study: every method on every pair; workers that begin together draw different pairs."""
    return [replace(base, method=method, seed=first_seed + pair) for method in METHODS for pair in range(PAIRS)]


@cache
def _world(task: str, gap: str, pixels: int) -> ImageWorld:
    return ImageWorld(task, GAPS[gap], LOOKS.get(gap), pixels)
