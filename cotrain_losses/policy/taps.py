"""Taps: a seam's roles, each wired to a call of the policy, a module or any method."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from .override import Override, Uncompiled
from .passes import Argument, HeadCall, Pass, doubled, tensor_of, with_tensor
from .paths import resolved, scripted
from .run import Run, recomputing
from .seam import Seam
from .sites import Captured, Owners, Site


class Tap:
    """One call at which a role acts: `before` may change its arguments, `after` what it returns.

    A copy of a policy carries taps of its modules that nobody drives; methods are its own again.
    """

    asks_both = False

    def __init__(self, run: Run, seam: Seam, site: Site) -> None:
        self.run, self.seam, self.site = run, seam, site
        self.argument: Argument | None = None
        self.method: tuple[Any, str] | None = None
        self._override: Override | None = None

    @property
    def functions(self) -> list[Uncompiled]:
        """What torch.compile is to leave out."""
        return self.run.shared.functions

    def attach(self, policy: object) -> list[Any]:
        """Start acting; what ends it has a `remove` each."""
        part, path = resolved(policy, self.site.call), self.site.call
        if not callable(part):
            raise TypeError(f"a seam acts at modules and methods, got {path!r}, which is a {type(part).__name__}.")
        if scripted(part):
            raise TypeError(
                f"a seam acts at modules that call hooks, got {path!r}, which torch.jit has compiled. Name a method or "
                "a module that calls it."
            )
        if self.site.argument is not None:
            self.argument = Argument(part, path, self.site.argument)
        self.read(part)
        if not isinstance(part, nn.Module):
            owner, _, name = path.rpartition(".")
            self.method = resolved(policy, owner), name
            return self.attached_method()
        handles = []
        if self.asks_both or self.argument is None:
            handles.append(part.register_forward_hook(Uncompiled(self, "after"), with_kwargs=True))
        if self.asks_both or self.argument is not None:
            handles.append(part.register_forward_pre_hook(Uncompiled(self, "before"), with_kwargs=True))
        return handles

    def attached_method(self) -> list[Any]:
        """Override the method, if the site is one and it is not overridden yet, as in a copy."""
        if self.method is None or self._override is not None:
            return []
        self._override = Override(*self.method, self.around)
        return [self._override]

    def read(self, part: Any) -> None:
        """What else a role reads of its call."""

    def around(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """A method's call."""
        if (changed := self.before(original, args, kwargs)) is not None:
            args, kwargs = changed
        output = original(*args, **kwargs)
        new = self.after(original, args, kwargs, output)
        return output if new is None else new

    def before(self, call: Any, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """New arguments, or None."""
        if self.argument is None or (acting := self.run.acting(self.site.call)) is None:
            return None
        old = self.argument.of(args, kwargs)
        new = self.act(acting, old)
        return None if new is old else self.argument.replaced(args, kwargs, new)

    def after(self, call: Any, args: Any, kwargs: Any, output: Any) -> Any:
        """What is returned instead, or None."""
        if self.argument is not None or (acting := self.run.acting(self.site.call)) is None:
            return None
        old = tensor_of(output, self.site)
        new = self.act(acting, old)
        return None if new is old else with_tensor(output, self.site.output, old, new)

    def act(self, acting: Pass, x: Tensor) -> Tensor:
        """What becomes of the tensor at the site."""
        return x

    def owners(self, acting: Pass) -> Owners:
        """Which sample owns each row of the call that is made now."""
        return Owners(self.site, acting.domain, self.run.turns[self.site] if self.site.rows == "in turn" else 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_override": None}

    def turn(self, rows: int) -> None:
        """Rows that had their turn; a prediction without gradient in a step that has one (an average's) takes none."""
        if self.site.rows == "in turn" and torch.is_grad_enabled() == self.run.learns:
            if recomputing():
                raise RuntimeError(
                    f"rows in turn are told by the order of the calls of {self.site.call}, got one that activation "
                    "checkpointing repeats. Say whose the rows are by a function: Seam(rows=lambda n, domain: ...)."
                )
            self.run.turns[self.site] += rows


class FeatureTap(Tap):
    """Features are captured."""

    def act(self, acting: Pass, x: Tensor) -> Tensor:
        self.run.fired["feature"] += 1
        new = acting.on_features(x, None if recomputing() else Captured(x, self.owners(acting), False))
        self.turn(len(x))
        return new


class TokenTap(Tap):
    """The token is added."""

    def act(self, acting: Pass, x: Tensor) -> Tensor:
        self.run.fired["token"] += 1
        new = acting.replace_condition(x, self.owners(acting))
        self.turn(len(x))
        return new


class _Entered(NamedTuple):
    """A call of the head: its arguments as its caller gave them."""

    args: Any
    kwargs: Any
    twice: bool
    """whether it was made for two conditions"""
    tokens: int
    """how often the token had acted before it"""
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
        acting, place, run = self.run.acting(self.site.call), self.argument, self.run
        if acting is None:
            return None
        owners = self.owners(acting)
        entered = _Entered(args, kwargs, False, run.fired["token"], owners)
        if place is None:
            run.entered.append(entered)
            return None
        condition = new = place.of(args, kwargs)
        if self.captures:
            z = None if recomputing() else self.seam.features_of(condition, call, args, kwargs)
            new = acting.on_features(condition, None if z is None else Captured(z, owners, True))
        if not self.tokened and acting.replaces_conditions:
            if acting.predicts_twice and not self.decodes and (twice := doubled(args, kwargs, len(condition))):
                run.entered.append(entered._replace(twice=True))
                return place.replaced(*twice, torch.cat(acting.two_conditions(condition)))
            new = acting.replace_condition(new, owners)
        run.entered.append(entered)
        return None if new is condition else place.replaced(args, kwargs, new)

    def after(self, call: Any, args: Any, kwargs: Any, output: Any) -> Any:
        run = self.run
        if (acting := run.acting(self.site.call)) is None:
            return None
        run.fired["head"] += 1
        entered = run.entered.pop() if run.entered else _Entered(args, kwargs, False, 0, self.owners(acting))
        if self.site.rows == "in turn":
            self.turn(next(len(x) for x in tree_leaves(output) if isinstance(x, Tensor) and x.ndim))
        if not acting.replaces_predictions:
            return None
        made = self._call(call, entered)
        if self.decodes:
            run.output = output, made
            return None
        if self.site.output is None:
            return acting.replace_prediction(output, made)
        old = tensor_of(output, self.site)
        return with_tensor(output, self.site.output, old, acting.replace_prediction(old, made))

    def _call(self, head: Any, entered: _Entered) -> HeadCall:
        args, kwargs, twice, tokens, owners = entered

        def again(condition: Tensor | None) -> Any:
            changed = args, kwargs
            if condition is not None and self.argument is not None and not self.tokened:
                changed = self.argument.replaced(args, kwargs, condition)
            output = self.run.idle(self.seam.call_again, head, *changed)
            return output if self.site.output is None else tensor_of(output, self.site)

        condition, time = (None if at is None else at.of(args, kwargs) for at in (self.argument, self.time))
        other = self.run.fired["token"] > tokens if self.tokened else condition is not None
        return HeadCall(condition, time, owners, again if other else None, twice)


class DecoderTap(Tap):
    """Predictions leave from what takes the head's output straight on."""

    def after(self, call: Any, args: Any, kwargs: Any, output: Any) -> Any:
        if (acting := self.run.acting(self.site.call)) is None or self.run.output is None:
            return None
        between, made = self.run.output
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
