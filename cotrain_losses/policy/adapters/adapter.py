"""What is known of the policies of one codebase: their seam, their loss, what a training script calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..entries import InstalledStep
from ..paths import submodule, unwrapped
from ..seam import Seam


class Adapter:
    """What is known of some policies of one codebase: what the arguments say, and what a subclass overrides.

    `package` is a component of the classes' module path, "lerobot" of lerobot.policies.act.modeling_act.  Of several
    seams the first that a policy has the parts for is taken.  `entry` is the method that a training script calls for
    the loss; "forward" is the policy's call.
    """

    def __init__(
        self, package: str, policies: str | tuple[str, ...], seams: Seam | tuple[Seam, ...] = (), entry: str = "forward"
    ) -> None:
        self.package, self.entry = package, entry
        self.policies = (policies,) if isinstance(policies, str) else policies
        self.seams = (seams,) if isinstance(seams, Seam) else seams

    def knows(self, policy: object) -> bool:
        """Whether the policy's class, or one it inherits from, is one of these."""
        return any(
            kind.__name__ in self.policies and self.package in kind.__module__.split(".")
            for kind in type(unwrapped(policy)).__mro__
        )

    def loss(self, policy: Any, batch: Any) -> Any:
        """The policy's loss on a batch, in whatever form it returns it."""
        if self.entry == "forward":
            return policy(batch)
        return getattr(policy if hasattr(policy, self.entry) else unwrapped(policy), self.entry)(batch)

    def overrides(self, installed: InstalledStep) -> dict[str, Callable[..., Any]]:
        """What `install` does to the policy's methods: `call(original, ...)` for each that is overridden."""
        return {self.entry: installed.returned}

    def optimizers(self, policy: Any) -> list[Any]:
        """Optimizers that the policy holds."""
        return []

    def seam_of(self, policy: object) -> Seam | None:
        """The first of the seams that the policy has the parts for, and something to learn at."""
        fitting = [seam for seam in self.seams if seam.fits(policy)]
        if self.seams and not fitting:
            raise ValueError(
                f"the adapter of {self.package} {type(unwrapped(policy)).__name__} knows {len(self.seams)} seams, got "
                f"a policy that has the parts of none: {', '.join(seam.place for seam in self.seams)}. "
                "Its version may differ: pass CoTrain(seam=Seam(...))."
            )
        learning = (seam for seam in fitting if not seam.feature or [*submodule(policy, seam.feature).parameters()])
        return next(learning, fitting[0] if fitting else None)
