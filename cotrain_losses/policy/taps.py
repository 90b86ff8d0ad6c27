"""Taps: a seam's roles, each wired to a call of the policy, a module or any method; `heads` has those of the head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .override import Override, Uncompiled
from .passes import Argument, Pass, tensor_of, with_tensor
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

    @property
    def traceable(self) -> bool:
        """Whether torch.compile may follow what acts on a call made now."""
        return self.run.traceable

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
        self._override = Override(*self.method, self.around, self)
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
        return Owners(self.site, acting.domain, self.run.state.turns[self.site] if self.site.rows == "in turn" else 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_override": None}

    def turn(self, rows: int) -> None:
        """Rows that had their turn; a prediction without gradient in a step that has one (an average's) takes none."""
        if self.site.rows == "in turn" and torch.is_grad_enabled() == self.run.state.learns:
            if recomputing():
                raise RuntimeError(
                    f"rows in turn are told by the order of the calls of {self.site.call}, got one that activation "
                    "checkpointing repeats. Say whose the rows are by a function: Seam(rows=lambda n, domain: ...)."
                )
            self.run.state.turns[self.site] += rows


class FeatureTap(Tap):
    """Features are captured."""

    def act(self, acting: Pass, x: Tensor) -> Tensor:
        self.run.note("feature")
        new = acting.on_features(x, None if recomputing() else Captured(x, self.owners(acting), False))
        self.turn(len(x))
        return new


class TokenTap(Tap):
    """The token is added."""

    def act(self, acting: Pass, x: Tensor) -> Tensor:
        self.run.note("token")
        self.run.state.token_acted = True
        new = acting.replace_condition(x, self.owners(acting))
        self.turn(len(x))
        return new
