"""Evaluation as a property of a call: see decision 0026."""

from copy import copy
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import nn

__all__ = ["evaluating"]

Module = TypeVar("Module", bound=nn.Module)


def evaluating(model: Module) -> Module:
    """The model in evaluation mode, whatever mode it is in: a view that shares all of its tensors.

    Dropout is off in the view and in all of its sub-modules, while the model, which another thread
    may train meanwhile, stays as it is: evaluation belongs to a call, not to a module. The view's
    modules are other objects with the same parameters, buffers and hooks. What a `forward` writes
    to plain attributes of its module stays in the view.
    """
    views: dict[int, nn.Module] = {}
    parts = list(model.modules())
    for part in parts:
        if isinstance(part, torch.jit.ScriptModule):  # its mode is in its compiled code
            views[id(part)] = part
            continue
        view = views[id(part)] = object.__new__(type(part))
        vars(view).update(vars(part), training=False, _compiled_call_impl=None)
    for part in parts:
        if (view := views[id(part)]) is not part:
            for name, value in vars(part).items():
                if isinstance(value, _HOLDERS) and value:
                    vars(view)[name] = _seen_from(views, value)
    return views[id(model)]  # type: ignore[return-value]


_HOLDERS = dict, list, tuple, MethodType
"""What an attribute may hold modules in; sub-modules themselves are in a dictionary."""


def _seen_from(views: dict[int, nn.Module], value: Any) -> Any:
    """An attribute of a module with views in the place of modules."""
    if isinstance(value, MethodType) and id(value.__self__) in views:
        return MethodType(value.__func__, views[id(value.__self__)])
    if isinstance(value, dict) and any(id(part) in views for part in value.values()):
        seen = copy(value)
        seen.update({name: views.get(id(part), part) for name, part in value.items()})
        return seen
    if type(value) in (list, tuple) and any(id(part) in views for part in value):
        return type(value)(views.get(id(part), part) for part in value)
    return value
