"""Sampling under guidance: from the policy, from averaged copies it keeps, or from a copy beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ..guidance import DomainGuidance, guide
from .hooks import Hooks
from .override import Override
from .passes import HeadCall, Pass
from .paths import resolved, unwrapped


class GuidedPass(Pass):
    """uncond + scale * (cond - uncond) in every prediction; scale 0 and 1 make it once.

    Both predictions come from one call of the head with twice the rows, where every tensor it takes has the
    samples first, else from two calls.
    """

    replaces_conditions = True

    def __init__(self, guidance: DomainGuidance, label: int, scale: float) -> None:
        self.guidance, self.scale = guidance, scale
        self.label = label if scale != 0.0 else -1
        self.replaces_predictions = self.predicts_twice = scale not in (0.0, 1.0)

    def replace_condition(self, condition: Tensor) -> Tensor:
        return self._with_token(condition, self.label)

    def two_conditions(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        return self._with_token(condition, self.label), self._with_token(condition, -1)

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        if call.condition is None:
            return output
        rows, tensors = len(call.condition), [x for x in tree_leaves(output) if isinstance(x, Tensor) and x.ndim]
        if call.doubled and all(len(x) == 2 * rows for x in tensors):
            return self._mixed(tree_map(lambda x: x[:rows], output), tree_map(lambda x: x[rows:], output))
        if call.doubled:
            output = call.again(self._with_token(call.condition, self.label))
        return self._mixed(output, call.again(self._with_token(call.condition, -1)))

    def around(self, predict: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the caller of the sampler's method receives in place of predict(...)."""
        conditional, label = predict(*args, **kwargs), self.label
        if not self.predicts_twice:
            return conditional
        self.label = -1
        try:
            return self._mixed(conditional, predict(*args, **kwargs))
        finally:
            self.label = label

    def _mixed(self, conditional: Any, unconditional: Any) -> Any:
        def mixed(c: Any, u: Any) -> Any:
            return guide(c, u, self.scale) if isinstance(c, Tensor) and c.is_floating_point() else c

        return tree_map(mixed, conditional, unconditional)

    def _with_token(self, condition: Tensor, label: int) -> Tensor:
        labels = torch.full((len(condition),), label, device=condition.device)
        return self.guidance(condition, labels)  # type: ignore[no-any-return]


@contextmanager
def guided_sampling(guided: GuidedPass, hooks: Hooks, policy: Any, other: Any = None) -> Iterator[None]:
    """Let `guided` act in the policy that has the hooks, or in another of its kind, while the block runs."""
    own, seam = other is None or unwrapped(other) is unwrapped(policy), hooks.seam
    sampled = policy if own else other
    with ExitStack() as stack:
        if own:
            stack.enter_context(hooks.use(guided))
        for each in (() if own else (seam,)) + seam.copies(sampled):
            added = Hooks(each).attach(sampled)
            stack.callback(added.remove)
            stack.enter_context(added.use(guided))
        if isinstance(seam.sampler, str):  # the method that makes one prediction makes two
            owner, _, name = seam.sampler.rpartition(".")
            stack.callback(Override(resolved(sampled, owner), name, guided.around).remove)
        yield
