"""A method's own state (tokens, discriminators, measured strengths, draws) lives as long as its policy.

    folder/
      model.safetensors ...     what the codebase saves, its keys as they are
      cotrain_method.pt         {"guidance.table": ..., "regularizer...": ...}

`save_pretrained` of a policy with an installed method writes both.  A policy that was loaded from such a folder gets
its method back when it is installed, or by `CoTrain.load`.
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .._core.flags import common
from ..guidance import DomainGuidance
from ..method import Method
from .override import Override
from .paths import unwrapped
from .unsaved import Unsaved, parts

FILE = "cotrain_method.pt"
_log = logging.getLogger("cotrain_losses")


def save(method: Method, folder: str | Path) -> None:
    """Write the method's state into a folder, beside what a codebase saves of the policy."""
    torch.save(parts(method).state_dict(), Path(folder) / FILE)


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
    try:
        missing, unexpected = parts(method).load_state_dict(dict(state), strict=False)
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
        self.method, self.unsaved = method, Unsaved(policy, method)
        owners = {id(owner): owner for owner in (policy, unwrapped(policy)) if hasattr(owner, "save_pretrained")}
        self._overrides = [Override(owner, "save_pretrained", self._save_pretrained) for owner in owners.values()]
        self._resume(unwrapped(policy))

    def remove(self) -> None:
        """See to it no more."""
        self.unsaved.remove()
        for each in self._overrides:
            each.remove()

    def state_dict(self) -> dict[str, Any]:
        """The method's state."""
        return dict(parts(self.method).state_dict())

    def _save_pretrained(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        folder = args[0] if args else kwargs.get("save_directory")
        before, self.unsaved.passing = self.unsaved.passing, True
        try:
            returned = original(*args, **kwargs)
        finally:
            self.unsaved.passing = before
        if folder is not None and kwargs.get("is_main_process", True) and Path(folder).is_dir():
            save(self.method, folder)
        return returned

    def _resume(self, policy: Any) -> None:
        """Go on with the method in the folder that the policy was loaded from, if it holds one."""
        folder = _origin(policy)
        if folder and (Path(folder) / FILE).is_file():
            load(self.method, folder)
            _log.info("the method goes on as it was saved in %s", folder)


_told: weakref.WeakSet[DomainGuidance] = weakref.WeakSet()


def _tell(guidance: DomainGuidance, value: float) -> None:
    _told.add(guidance)
    warnings.warn(
        "guidance adds a domain's token to the condition, got tokens that are all zero: the policy was loaded without "
        "them, or not trained with them, and guidance changes nothing. Load them: cotrain.load(folder).",
        stacklevel=6,
    )


def _origin(policy: Any) -> str:
    """Where LeRobot or transformers say that the policy was loaded from."""
    inner = unwrapped(policy)
    path = getattr(getattr(inner, "config", None), "pretrained_path", None) or getattr(inner, "name_or_path", None)
    return str(path) if isinstance(path, str | Path) else ""
