"""The head's taps: its condition goes in, predictions leave, and it may be called again under another condition."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .passes import Argument, HeadCall, doubled, tensor_of, with_tensor
from .run import Run, recomputing
from .seam import Seam
from .sites import Captured, Owners, Site
from .taps import Tap


class _Entered(NamedTuple):
    """A call of the head: its arguments as its caller gave them."""

    args: Any
    kwargs: Any
    twice: bool
    """whether it was made for two conditions"""
    tokened: bool
    """whether the token had acted before it"""
    owners: Owners


class HeadTap(Tap):
    """Features in the condition are captured, the token is added to it, and predictions leave."""

    asks_both = True

    def __init__(self, run: Run, seam: Seam, site: Site) -> None:
        super().__init__(run, seam, site)
        self.time: Argument | None = None
        self.captures = self.site in seam.features and seam.feature is None
        self.decodes, self.tokened = bool(seam.predictions), bool(seam.tokens)

    def read(self, part: Any) -> None:
        if self.seam.time is not None:
            self.time = Argument(part, self.site.call, self.seam.time)

    def before(self, call: Any, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        acting, place, state = self.run.acting(self.site.call), self.argument, self.run.state
        if acting is None:
            return None
        owners = self.owners(acting)
        entered = _Entered(args, kwargs, False, state.token_acted, owners)
        state.token_acted = False
        if place is None:
            state.entered.append(entered)
            return None
        condition = new = place.of(args, kwargs)
        if self.captures:
            z = None if recomputing() else self.seam.features_of(condition, call, args, kwargs)
            new = acting.on_features(condition, None if z is None else Captured(z, owners, True))
        if not self.tokened and acting.replaces_conditions:
            if acting.predicts_twice and not self.decodes and (twice := doubled(args, kwargs, len(condition))):
                state.entered.append(_Entered(args, kwargs, True, entered.tokened, owners))
                return place.replaced(*twice, torch.cat(acting.two_conditions(condition)))
            new = acting.replace_condition(new, owners)
        state.entered.append(entered)
        return None if new is condition else place.replaced(args, kwargs, new)

    def after(self, call: Any, args: Any, kwargs: Any, output: Any) -> Any:
        state = self.run.state
        if (acting := self.run.acting(self.site.call)) is None:
            return None
        self.run.note("head")
        entered = state.entered.pop() if state.entered else _Entered(args, kwargs, False, False, self.owners(acting))
        within, state.token_acted = state.token_acted, state.token_acted or entered.tokened
        if self.site.rows == "in turn":
            self.turn(next(len(x) for x in tree_leaves(output) if isinstance(x, Tensor) and x.ndim))
        if not acting.replaces_predictions:
            return None
        made = self._call(call, entered, within)
        if self.decodes:
            state.output = output, made
            return None
        if self.site.output is None:
            return acting.replace_prediction(output, made)
        old = tensor_of(output, self.site)
        return with_tensor(output, self.site.output, old, acting.replace_prediction(old, made))

    def _call(self, head: Any, entered: _Entered, within: bool) -> HeadCall:
        """The call as its caller made it; `within` it the token acted."""
        args, kwargs, twice, _, owners = entered

        def again(condition: Tensor | None) -> Any:
            changed = args, kwargs
            if condition is not None and self.argument is not None and not self.tokened:
                changed = self.argument.replaced(args, kwargs, condition)
            output = self.run.idle(self.seam.call_again, head, *changed)
            return output if self.site.output is None else tensor_of(output, self.site)

        condition, time = (None if at is None else at.of(args, kwargs) for at in (self.argument, self.time))
        other = within if self.tokened else condition is not None
        return HeadCall(condition, time, owners, again if other else None, twice)


class DecoderTap(Tap):
    """Predictions leave from what takes the head's output straight on."""

    def after(self, call: Any, args: Any, kwargs: Any, output: Any) -> Any:
        if (acting := self.run.acting(self.site.call)) is None or self.run.state.output is None:
            return None
        between, made = self.run.state.output
        if (repeat := made.again) is None:
            return acting.replace_prediction(output, made)

        def again(condition: Tensor | None) -> Any:
            new_args, new_kwargs = _exchanged(between, repeat(condition), (args, kwargs), self.seam)
            return self.run.idle(call, *new_args, **new_kwargs)

        return acting.replace_prediction(output, made._replace(again=again))


def _exchanged(old: Any, new: Any, call: Any, seam: Seam) -> Any:
    """The arguments of a call, with every tensor of `old` replaced by its counterpart in `new`."""
    counterparts = {id(x): y for x, y in zip(tree_leaves(old), tree_leaves(new), strict=True)}
    if not any(id(x) in counterparts for x in tree_leaves(call)):
        raise RuntimeError(
            f"predictions leave from the module that takes the head's output as it is, got a {seam.left} that "
            f"was not passed what {seam.heads[0].call} returned. Name as head the module around both."
        )
    return tree_map(lambda x: counterparts.get(id(x), x), call)
