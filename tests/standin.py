"""A device that any machine has: tensors that say they are elsewhere, and are held on the CPU.

    x.device                   elsewhere:0: the library takes the path of every device but the CPU
    x.numpy(), x + cpu_tensor  refused, as on a GPU

Operations that mix devices are refused, scalars of the CPU apart; indices have to be there too, which is stricter than
CUDA.  Needs torch 2.9, and compiles nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

NAME = "elsewhere"
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class There(torch.Tensor):
    """A tensor of that device; `held` is its memory."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> There:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, device=f"{NAME}:0", **layout)
        made.held = held
        return made

    def __init__(self, held: torch.Tensor) -> None:
        pass

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, *args, **(kwargs or {}))

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, other: There) -> None:  # as a module does when it changes its precision
        self.held = other.held
        torch.Tensor.data.__set__(self, other)

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("can't convert a tensor of another device to numpy. Use Tensor.cpu() first.")
        return self.held.detach().numpy()

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self, **_: Any) -> str:
        return f"{self.held!r} elsewhere"


def run(func: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation on what is held; its results are where its arguments are, or where it was told to put them."""
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    if func not in COPIES and (left := [x for x in given if not isinstance(x, There) and x.ndim > 0]):
        raise RuntimeError(f"{func} expects all tensors on one device, got {[tuple(x.shape) for x in left]} on the CPU")
    to = kwargs.get("device")
    stays = to is None or torch.device(to).type == NAME
    held = {**kwargs, "device": "cpu"} if stays and to is not None else kwargs
    found = func(*tree_map(_held, args), **tree_map(_held, held))
    if not stays:
        return found
    known = {id(_held(x)): x for x in given}  # what was changed in place is the tensor it was

    if torch.Tag.inplace_view in func.tags:  # squeeze_ and its like, which (n,) @ (n, d) ends with
        given[0].data = There(given[0].held)

    def there(x: Any) -> Any:
        return (known[id(x)] if id(x) in known else There(x)) if isinstance(x, torch.Tensor) else x

    return tree_map(there, found)


def _held(x: Any) -> Any:
    return x.held if isinstance(x, There) else x


def registered() -> torch.device:
    """The device, from here on known to torch in this process: autocast then asks it for what it has not."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("_", "IMPL")
    library.fallback(run, "PrivateUse1")  # what makes tensors there
    lists = torch.library.Library("aten", "IMPL")
    lists.impl("copy_", partial(run, COPIES[1]), "PrivateUse1")  # tensors of a list, of which no fallback is asked
    kept.extend([library, lists])
    return torch.device(f"{NAME}:0")


kept: list[torch.library.Library] = []
