"""A method's own state (tokens, discriminators, measured strengths, draws) lives as long as its policy.

    folder/
      model.safetensors ...     what the codebase saves, its keys as they are
      cotrain_method.pt         {"guidance.table": ..., "regularizer...": ...}

`save_pretrained` of a policy with an installed method writes both.  A policy that was loaded from such a folder gets
its method back when it is installed, or by `CoTrain.load`.
"""

from __future__ import annotations

import atexit
import logging
import warnings
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._core.flags import common
from ..guidance import DomainGuidance
from ..method import Method
from .override import Override
from .paths import networks, unwrapped

FILE = "cotrain_method.pt"
_log = logging.getLogger("cotrain_losses")


def save(method: Method, folder: str | Path) -> None:
    """Write the method's state into a folder, beside what a codebase saves of the policy."""
    torch.save(_parts(method).state_dict(), Path(folder) / FILE)
    for keeping in _of(method):
        keeping.on_saved()


def load(method: Method, folder: str | Path, *, strict: bool = False) -> None:
    """Read it back; what the folder lacks, or has and the method has not, is told, or refused if `strict`."""
    if not (Path(folder) / FILE).is_file():
        raise FileNotFoundError(
            f"a policy that was saved with its method has {FILE} in its folder, got {folder} without it: a token or a "
            "discriminator begins anew. Save it with cotrain.save(folder), or train with the method first."
        )
    restore(method, read(folder), strict=strict)


def read(folder: str | Path) -> dict[str, Any]:
    """What the file of a folder holds, by the names of the method's parts."""
    return dict(torch.load(Path(folder) / FILE, map_location="cpu", weights_only=True))


def restore(method: Method, state: Mapping[str, Any], *, strict: bool = False) -> None:
    """Take over a state that `save` or an installed method's `state_dict` gave."""
    for keeping in _of(method):
        keeping.on_loaded()
    try:
        missing, unexpected = _parts(method).load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        raise ValueError(f"a method takes over the state of one of its own sizes, got another's: {error}") from error
    for names, what in ((missing, "lacks {}: they begin anew"), (unexpected, "has {}, which this method has not")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            told = (
                f"a method goes on as it was saved, got a state that {what.format(', '.join(names[:3]) + more)}. "
                "Build the method as it was trained."
            )
            if strict:
                raise ValueError(told)
            warnings.warn(told, stacklevel=3)


def tell_untrained_token(guidance: DomainGuidance, policy: Any) -> None:
    """Say once that a policy was loaded and guidance goes by tokens that are all zero, and so changes nothing."""
    if _origin(policy) and guidance.table is not None and guidance not in _told:
        common.post(f"zero token {id(guidance)}", (guidance.table == 0).all(), partial(_tell, guidance))


class Keeping:
    """Sees to it that the state of an installed method is saved where the policy is."""

    def __init__(self, policy: Any, method: Method) -> None:
        self.method, self._asked, self._kept, self._saving = method, False, not _parts(method).state_dict(), False
        owners = {id(owner): owner for owner in (policy, unwrapped(policy)) if hasattr(owner, "save_pretrained")}
        self._overrides = [Override(owner, "save_pretrained", self._save_pretrained) for owner in owners.values()]
        self._handles = [
            each.register_state_dict_pre_hook(Asked(self))  # type: ignore[no-untyped-call]
            for each in networks(policy)
        ]
        self._at_exit = partial(_tell_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)
        _keepings.add(self)
        self._resume(unwrapped(policy))

    def remove(self) -> None:
        """See to it no more."""
        self.tell()
        atexit.unregister(self._at_exit)
        for each in (*self._overrides, *self._handles):
            each.remove()

    def state_dict(self) -> dict[str, Any]:
        """The method's state."""
        self.on_saved()
        return dict(_parts(self.method).state_dict())

    def on_saved(self) -> None:
        """The method was saved."""
        self._kept = True

    def on_loaded(self) -> None:
        """The method was loaded, and the policy before it, which may have asked for its state's keys."""
        self._asked = False

    def on_policy_asked(self) -> None:
        """The policy's state was asked for."""
        self._asked = self._asked or not self._saving

    def tell(self) -> None:
        """Say once that a state of the policy was saved, and the method's was not."""
        if self._asked and not self._kept:
            self._kept = True
            warnings.warn(
                "a policy's state_dict has the policy's own keys, got one asked for while a method is installed whose "
                f"state ({', '.join(name for name, _ in _parts(self.method).named_children())}) was not: a checkpoint "
                "without it cannot be resumed or guided. Save it too: cotrain.save(folder), or the state_dict() of "
                "what install returned.",
                stacklevel=4,
            )

    def _save_pretrained(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        folder = args[0] if args else kwargs.get("save_directory")
        before, self._saving = self._saving, True
        try:
            returned = original(*args, **kwargs)
        finally:
            self._saving = before
        if folder is not None and kwargs.get("is_main_process", True) and Path(folder).is_dir():
            save(self.method, folder)
        return returned

    def _resume(self, policy: Any) -> None:
        """Go on with the method in the folder that the policy was loaded from, if it holds one."""
        folder = _origin(policy)
        if folder and (Path(folder) / FILE).is_file():
            load(self.method, folder)
            _log.info("the method goes on as it was saved in %s", folder)


class Asked:
    """A hook of a module's state_dict; a copy of the module has one that does nothing."""

    def __init__(self, keeping: Keeping | None = None) -> None:
        self.keeping = keeping

    def __call__(self, module: nn.Module, prefix: str, keep_vars: bool) -> None:
        if self.keeping is not None and not prefix:  # a prefix: it is part of what holds the method too
            self.keeping.on_policy_asked()

    def __reduce__(self) -> Any:
        return Asked, ()


_told: weakref.WeakSet[DomainGuidance] = weakref.WeakSet()
_keepings: weakref.WeakSet[Keeping] = weakref.WeakSet()


def _of(method: Method) -> list[Keeping]:
    return [keeping for keeping in _keepings if keeping.method is method]


def _tell(guidance: DomainGuidance, value: float) -> None:
    _told.add(guidance)
    warnings.warn(
        "guidance adds a domain's token to the condition, got tokens that are all zero: the policy was loaded without "
        "them, or not trained with them, and guidance changes nothing. Load them: cotrain.load(folder).",
        stacklevel=6,
    )


def _tell_at_exit(keeping: weakref.ref[Keeping]) -> None:
    if (alive := keeping()) is not None:
        alive.tell()


def _parts(method: Method) -> nn.ModuleDict:
    named = {name: getattr(method, name) for name in ("regularizer", "guidance", "weights")}
    return nn.ModuleDict({name: part for name, part in named.items() if isinstance(part, nn.Module)})


def _origin(policy: Any) -> str:
    """Where LeRobot or transformers say that the policy was loaded from."""
    inner = unwrapped(policy)
    path = getattr(getattr(inner, "config", None), "pretrained_path", None) or getattr(inner, "name_or_path", None)
    return str(path) if isinstance(path, str | Path) else ""
