"""Sampling under guidance: from the policy, from averaged copies it keeps, or from a copy beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ..guidance import DomainGuidance, guide
from .hooks import Hooks
from .keeping import tell_untrained_token
from .override import Override
from .passes import HeadCall, Pass
from .paths import resolved, scripted, submodule, unwrapped
from .seam import Seam
from .sites import Owners
from .training import not_called


class GuidedPass(Pass):
    """uncond + scale * (cond - uncond) in every prediction; scale 0 and 1 make it once.

    Both predictions come from one call of the head with twice the rows, where every tensor it takes has the
    samples first, else from two calls.
    """

    replaces_conditions = True

    def __init__(self, guidance: DomainGuidance, label: int, scale: float, by_steps: bool = False) -> None:
        self.guidance, self.scale = guidance, scale
        self.label = label if scale != 0.0 else -1
        self.predicts_twice = scale not in (0.0, 1.0)
        self.replaces_predictions = self.predicts_twice and not by_steps
        self.mixed = False
        """whether a prediction was made of two, or the sampler's method called"""

    def replace_condition(self, condition: Tensor, owners: Owners) -> Tensor:
        return self._with_token(condition, self.label)

    def two_conditions(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        return self._with_token(condition, self.label), self._with_token(condition, -1)

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        if call.again is None:  # a second call would be the same prediction
            return output
        self.mixed = True
        if call.condition is None:
            return self._mixed(output, call.again(None))
        rows, tensors = len(call.condition), [x for x in tree_leaves(output) if isinstance(x, Tensor) and x.ndim]
        if call.doubled and all(len(x) == 2 * rows for x in tensors):
            return self._mixed(tree_map(lambda x: x[:rows], output), tree_map(lambda x: x[rows:], output))
        if call.doubled:
            output = call.again(self._with_token(call.condition, self.label))
        return self._mixed(output, call.again(self._with_token(call.condition, -1)))

    def around(self, predict: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the caller of the sampler's method receives in place of predict(...)."""
        self.mixed = True
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
    """Let `guided` act in the policy that has the hooks, or in another of its kind, while the block runs.

    A block that ends without an error, in which a head ran that guidance did not reach, is one: RuntimeError.
    """
    own, seam = other is None or unwrapped(other) is unwrapped(policy), hooks.seam
    sampled = policy if own else other
    wired = [hooks] if own else []
    if guided.scale != 0.0:
        tell_untrained_token(guided.guidance, sampled)
    with ExitStack() as stack:
        for copy in hooks.elsewhere(unwrapped(sampled), (() if own else (seam,)) + seam.copies(sampled)):
            wired.append(copy)
            stack.callback(copy.rest)
        for each in wired:
            stack.enter_context(each.use(guided))
        if seam.steps is not None:  # the method that makes one prediction makes two
            owner, _, name = seam.steps.rpartition(".")
            stack.callback(Override(resolved(sampled, owner), name, guided.around, wired[-1].run).remove)
        inside = stack.enter_context(_Inside(sampled, seam))
        yield
        _check_acted(guided, wired, inside.ran)


class _Inside:
    """Whether a part of the head ran while the block did, itself called or not."""

    def __init__(self, policy: Any, seam: Seam) -> None:
        self.ran, self._handles = False, list[Any]()
        heads = [submodule(policy, head.call) for head in seam.heads]
        parts = [part for head in heads for part in head.modules() if not any(True for _ in part.children())]
        self._parts = [part for part in parts if not scripted(part)]

    def __enter__(self) -> _Inside:
        self._handles = [part.register_forward_pre_hook(self._note) for part in self._parts]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _note(self, part: Any, args: Any) -> None:
        self.ran = True


def _check_acted(guided: GuidedPass, wired: list[Hooks], inside: bool) -> None:
    """Every role of guidance acted, if the policy predicted anything; a policy's first block must see it predict."""
    shared, seam, fired = wired[0].run.shared, wired[0].seam, sum((each.fired for each in wired), Counter[str]())
    sites = seam.tokens or seam.heads
    acted = fired["token" if seam.tokens else "head"] > 0
    if not acted and (inside or fired["head"] or not shared.guided):
        raise not_called(sites, guided=True)
    shared.guided = shared.guided or acted
    if acted and guided.predicts_twice and not guided.mixed:
        raise RuntimeError(
            f"guidance combines two predictions, got a block in which a scale of {guided.scale:g} changed nothing: "
            f"{' or '.join(site.call for site in seam.tokens)} adds the token outside of {seam.left}. Name the method "
            "that makes one prediction, token included: Seam(sampler='model.denoise_step')."
        )
