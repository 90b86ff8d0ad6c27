"""A regularizer joined to the predictions, where the loss itself is out of reach.

predictions to the bit;    d/dR = 1, times the factor by which a GradScaler multiplied the loss
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ..terms.evaluation import Evaluation
from .override import Override
from .passes import HeadCall
from .run import recomputing
from .training import Backward, TrainingPass


class JoiningPass(TrainingPass):
    """A training pass that joins the regularizer to the predictions of the head."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.replaces_predictions, self.scales = True, list[Tensor]()
        self.evaluate: Callable[[], Evaluation | None] = lambda: None
        self.evaluation: Evaluation | None = None

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        if self.weighs:
            output = super().replace_prediction(output, call)
        learns = any(isinstance(x, Tensor) and x.requires_grad for x in tree_leaves(output))
        if not self.features or not learns or recomputing() or (evaluation := self.evaluate()) is None:
            return output
        self.evaluation = evaluation

        def gradients(gradient: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            one = torch.ones_like(value)
            return gradient, one * self.scales[-1].to(one) if self.scales else one

        def joined(x: Any) -> Any:
            learns = isinstance(x, Tensor) and x.requires_grad
            return Backward.apply(x, evaluation.value, gradients) if learns else x  # type: ignore[no-untyped-call]

        return tree_map(joined, output)

    def check_joined(self) -> None:
        """The regularizer was joined, if there is one."""
        if self.regularizes and self.evaluation is None:
            raise RuntimeError(
                f"a step that keeps its loss to itself joins the regularizer to predictions with a gradient, got none "
                f"from {self.place}. If it runs under activation checkpointing, leave it out of that: reentrant "
                "checkpoints predict without gradient, and the others make the regularizer again."
            )


@contextmanager
def loss_scales(*owners: Any) -> Iterator[list[Tensor]]:
    """The factors by which the GradScalers in reach multiply losses while the block runs, in order.

    In reach are attributes of the owners, what they hold in lists and dicts, and globals of their classes' modules:
    torch offers no hook on scaling, and others' scalers are none of this step's.
    """
    scales = list[Tensor]()

    def scale(original: Callable[[Any], Any], outputs: Any) -> Any:
        device = next(x.device for x in tree_leaves(outputs) if isinstance(x, Tensor))
        scales.append(original(torch.ones((), device=device)))
        return original(outputs)

    with ExitStack() as stack:
        for scaler in _scalers(owners):
            stack.callback(Override(scaler, "scale", scale).remove)
        yield scales


def _scalers(owners: tuple[Any, ...]) -> list[torch.amp.GradScaler]:
    """Each scaler in reach, once."""
    held = [tree_leaves(list(getattr(owner, "__dict__", {}).values())) for owner in owners]
    classes = [kind for owner in owners for kind in type(owner).__mro__]
    modules = [list(vars(sys.modules[kind.__module__]).values()) for kind in classes if kind.__module__ in sys.modules]
    every = [*owners, *(x for part in (*held, *modules) for x in part)]
    return list({id(x): x for x in every if isinstance(x, torch.amp.GradScaler)}.values())
