"""Tensors that follow from shapes: masks, positions, the orders of cells.

They are computed where they are needed and kept as long as there is room, so that no module has to
carry them: a model that is made on the meta device, emptied, sharded, copied or converted has
nothing to lose but its parameters.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from nextpixel.tracing import transformed

__all__ = ["constant"]

P = ParamSpec("P")
Result = TypeVar("Result")

_ROOM = 1 << 26
"""Bytes of all tensors that are kept; of larger ones only the last."""

_KEPT: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
_LOCK = threading.Lock()


def constant(function: Callable[P, Result]) -> Callable[P, Result]:
    """Keeps what a function of hashable arguments gives, and forgets what was not used for longest.

    Where torch compiles or transforms the code that asks, it is computed anew.
    """

    @wraps(function)
    def kept(*args: P.args, **kwargs: P.kwargs) -> Result:
        if transformed():
            return function(*args, **kwargs)
        key = function, args, *kwargs.items()
        with _LOCK:
            if key in _KEPT:
                _KEPT.move_to_end(key)
                return _KEPT[key][0]  # type: ignore[no-any-return]
        with torch.inference_mode(False):  # training may use what a walk has computed
            result = function(*args, **kwargs)
        tensors = list(_tensors(result))
        # Those of a mode that records or fakes operations are of use to it alone.
        if all(type(tensor) is Tensor for tensor in tensors):
            with _LOCK:
                _KEPT[key] = result, sum(tensor.nbytes for tensor in tensors)
                while len(_KEPT) > 1 and sum(size for _, size in _KEPT.values()) > _ROOM:
                    _KEPT.popitem(last=False)
        return result

    return kept


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of a tensor, a tuple or a dataclass."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors(part)
