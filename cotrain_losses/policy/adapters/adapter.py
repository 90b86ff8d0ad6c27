"""What is known of one policy class: its seam, its loss entry, what a training script calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..paths import submodule, unwrapped
from ..seam import Seam


@dataclass(frozen=True)
class Adapter:
    """What is known of one policy class.

    Args:
        package: a component of the class's module path, "lerobot" of lerobot.policies.act.modeling_act.
        policy: name of the class.
        seam: its seam, or several of which the first that the policy has the parts for is taken.
        loss: the loss entry, by name or as a function `loss(policy, batch)`.
        entry: the method a training script calls for the loss, which `install` makes return task + regularizer.
        opens: a method called before it in the same step, in which the policy already runs.
        key: where the loss is in a mapping that the entry returns.
        sealed: whether the entry keeps its loss to itself (forward, backward and step in one method), so that
            the regularizer's gradient is joined to the predictions' instead.
        optimizers: function of the policy giving the optimizers it holds.
        drops: a method through which batches lose keys it does not know; `install` keeps their "domain".
        unfit: function of the policy that says which of its settings has no seam, or None.
    """

    package: str
    policy: str
    seam: Seam | tuple[Seam, ...]
    loss: str | Callable[[Any, Any], Any] | None = None
    entry: str = "forward"
    opens: str | None = None
    key: str = "loss"
    sealed: bool = False
    optimizers: Callable[[Any], list[Any]] | None = None
    drops: str | None = None
    unfit: Callable[[Any], str | None] | None = None

    def knows(self, policy: object) -> bool:
        """Whether the policy's class, or one it inherits from, is this one."""
        return any(
            kind.__name__ == self.policy and self.package in kind.__module__.split(".")
            for kind in type(unwrapped(policy)).__mro__
        )

    def seam_of(self, policy: object) -> Seam:
        """The first of the seams that the policy has the parts for, and something to learn at."""
        if self.unfit is not None and (setting := self.unfit(unwrapped(policy))) is not None:
            raise ValueError(f"{self.policy} is wrapped as its codebase trains it by default, got {setting}.")
        seams = self.seam if isinstance(self.seam, tuple) else (self.seam,)
        fitting = [seam for seam in seams if seam.fits(policy)]
        for seam in fitting:
            if seam.feature is None or any(True for _ in submodule(policy, seam.feature).parameters()):
                return seam
        if fitting:
            return fitting[0]
        raise ValueError(
            f"the adapter of {self.package} {self.policy} knows {len(seams)} seams, got a policy that has the parts "
            f"of none: {', '.join(seam.place for seam in seams)}. Its version may differ: pass CoTrain(seam=Seam(...))."
        )
