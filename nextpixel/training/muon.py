"""Muon for hidden matrices, whose updates are made orthogonal; AdamW for everything else.

Jordan et al., 2024 (Muon), with the scale of Liu et al., 2025 (Muon is scalable for LLM training,
section 2.2): the update of a matrix has the root mean square of an AdamW update, so both parts
share one learning rate. `torch.optim.Muon` takes only matrices, no kernels, and multiplies in
bfloat16, which most CPUs emulate.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nextpixel.devices import full_precision

__all__ = ["Muon", "orthogonal"]

_QUINTIC = 3.4445, -4.7750, 2.0315
_ADAMW_RMS = 0.2
_MOMENTUM = 0.95


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximates the nearest matrices with orthogonal rows or columns, (…, m, n).

    Newton-Schulz iterations with a quintic that lifts small singular values fast and leaves all of
    them at about 0.7 … 1.2.
    """
    a, b, c = _QUINTIC
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = (matrix.mT if tall else matrix).reshape(-1, min(matrix.shape[-2:]), max(matrix.shape[-2:]))
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).reshape(matrix.shape)


class Muon(torch.optim.Optimizer):
    """Muon for the hidden layers' matrices, AdamW for everything else.

    Args:
        model: its parameters are trained. Hidden matrices are the kernels (outputs, …), each taken
            as one matrix, and the state-to-state matrices of recurrences, one for all taps of a
            direction. AdamW trains tables of values, initial states, biases, what conditions add to
            them, and the last layer of a head.
        lr: learning rate.
        weight_decay: decoupled; not for biases.
    """

    def __init__(self, model: nn.Module, *, lr: float, weight_decay: float = 0.0) -> None:
        kinds: dict[str, list[nn.Parameter]] = {
            "kernels": [],
            "recurrent": [],
            "others": [],
            "biases": [],
        }
        for name, parameter in model.named_parameters():
            kinds[_kind(name, parameter)].append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": kinds["kernels"], "weight_decay": weight_decay, "flatten": (1, -1)},
            {"params": kinds["recurrent"], "weight_decay": weight_decay, "flatten": (-3, -2)},
            {"params": kinds["others"], "weight_decay": weight_decay},
            {"params": kinds["biases"]},
        ]
        self._adamw = _adamw()
        defaults = self._adamw.defaults | {"lr": lr, "weight_decay": 0.0, "flatten": None}
        super().__init__(groups, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # which holds groups and moments, in a copy as in a file
        self._adamw = _adamw()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update. Returns the loss that `closure` computes, as torch's optimizers do."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._adamw.param_groups = [
            group for group in self.param_groups if group["flatten"] is None
        ]
        self._adamw.state = self.state
        self._adamw.step()
        for group in self.param_groups:
            if group["flatten"] is not None and group["params"]:
                # A caller's autocast would round the products, and so would TF32.
                with full_precision(group["params"][0].device):
                    self._step_matrices(group)
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = {}
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"].lerp_(parameter.grad, 1 - _MOMENTUM)
            matrix = parameter.grad.lerp(momentum, _MOMENTUM).flatten(*group["flatten"])
            kind = matrix.shape, matrix.dtype, matrix.device
            alike.setdefault(kind, []).append((parameter, matrix))
        for (shape, *_), members in alike.items():
            scale = _ADAMW_RMS * max(shape[-2:]) ** 0.5
            # Matrices of one shape are one batch of products.
            updates = orthogonal(torch.stack([matrix for _, matrix in members]))
            for (parameter, _), update in zip(members, updates.unbind(0), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"] * scale)


def _adamw() -> torch.optim.AdamW:
    """AdamW for the groups and moments that each step hands to it."""
    return torch.optim.AdamW([{"params": []}], fused=True)


def _kind(name: str, parameter: nn.Parameter) -> str:
    parts = name.split(".")
    if any("bias" in part for part in parts):
        return "biases"
    if parts[-1] == "state_to_state":
        return "recurrent"
    # Tables are seldom all in use; initial states are vectors; a head's last layer scores each
    # value.
    own = {"values", "head_out", "initial_h", "initial_c"}
    return "others" if parameter.ndim < 2 or own & set(parts) else "kernels"
