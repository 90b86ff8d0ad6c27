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

from ..results import WrongSetting, check_one_of, source_digest
from . import augment, policy
from .batches import Budget
from .cell import Cell
from .demos import Demos
from .gaps import GAPS, Gap
from .images import LOOKS, PIXELS, ImageRequest, ImageWorld, image_demonstrations
from .methods import METHODS
from .policies import READY
from .pretrained import FrozenWorld, frozen_key, seen_frozen
from .rendering import Look

COMPARED = ("real_only", "cotraining", "adda", "cfg_adda")
PAIRS = 5
FLOW, AUGMENTED = f"{policy.__name__}:image_flow", f"{augment.__name__}:augmented_flow"


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
    policy: str = FLOW
    budget: Budget = field(default_factory=lambda: Budget(steps=2000, batch_size=64))
    pixels: int = PIXELS
    look: str = ""  # of the target, of `LOOKS`; empty: the gap's own
    frozen: bool = False  # whether a policy of numbers sees through the frozen network of `pretrained`

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy in ((FLOW, AUGMENTED) if self.frozen else READY):
            raise WrongSetting(
                "frozen features need a state-based policy, and pictures an image policy, got "
                f"frozen={self.frozen} and policy={self.policy!r}. Pass frozen=True with policy='flow', or neither."
            )
        if self.look:
            check_one_of("a look", self.look, LOOKS)
        method = METHODS[self.method]
        if method.pose or method.normalised or self.label:
            raise WrongSetting(
                f"an image policy is given two views and the robot's own state, got method={self.method!r} and "
                f"label={self.label}, which add to them or change each number. Leave it out, or take keypoints."
            )

    @property
    def seen_as(self) -> Look:
        """How the target looks."""
        return LOOKS.get(self.look or self.gap, Look())

    def key(self) -> dict[str, Any]:
        drawn = {name: request.key() for name, request in self.image_requests().items()}
        named = {**super().key(), "drawn": drawn, "image_code": source_digest(__file__, policy, augment)}
        return named | (frozen_key() if self.frozen else {})

    def image_requests(self) -> dict[str, ImageRequest]:
        """The demonstrations of `requests`, seen."""
        of_target = dict.fromkeys(("target", "fresh_target", "unlabelled"), self.seen_as)
        seen = {n: ImageRequest(r, of_target.get(n, Look()), self.pixels) for n, r in self.requests().items()}
        if self.max_yaw:
            seen["source"] = replace(seen["source"], max_yaw=self.max_yaw, camera_seed=self.seed)
        return seen

    def demonstrations(self) -> dict[str, Demos]:
        with ThreadPoolExecutor(1) as here:
            drawn = {name: (r, image_demonstrations(r, here)) for name, r in self.image_requests().items()}
        return {name: seen_frozen(r, demos) if self.frozen else demos.seen() for name, (r, demos) in drawn.items()}

    def seen_anew(self, source: Demos) -> tuple[Demos, list[Gap]]:
        """The source's demonstrations, which were drawn through these cameras already."""
        return source, self.image_requests()["source"].through()

    def world(self) -> ImageWorld:
        """Where the policy is evaluated; one for all cells of a process, since it holds an OpenGL context."""
        return _world(self.task, self.gap, self.seen_as, self.pixels, self.frozen)


def study(base: ImageCell = ImageCell(), first_seed: int = 10) -> list[ImageCell]:
    """The cells of the image study: every method on every pair; workers that begin together draw different pairs."""
    return [replace(base, method=method, seed=first_seed + pair) for method in COMPARED for pair in range(PAIRS)]


@cache
def _world(task: str, gap: str, look: Look, pixels: int, frozen: bool) -> ImageWorld:
    return (FrozenWorld if frozen else ImageWorld)(task, GAPS[gap], look, pixels)
