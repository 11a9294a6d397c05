"""The LSTM recurrence of Row LSTM: `layers.scan` where all fronts are rows of the same length.

The row of all images that is being computed stays in the cache: what its taps read is laid side by
side, so that they are one product, and nothing is put in another order. What is kept for the
backward pass comes row after row, (H, B, W, …); maps are read and written as they lie.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nextpixel.layers.arithmetic import Arithmetic
from nextpixel.layers.cells import compute_cells, compute_slopes
from nextpixel.layers.recurrence import gradients
from nextpixel.layers.scan import lstm_scan, row_fronts, slots
from nextpixel.tracing import transformed

__all__ = ["row_scan"]


def row_scan(
    z: Tensor,
    weight: Tensor,
    above_h: Tensor,
    above_c: Tensor,
    arithmetic: Arithmetic | None = None,
) -> tuple[Tensor, Tensor]:
    """Runs the recurrence of `layers.scan` over all cells of a map, row by row.

    Args:
        z: the input-to-state values of the gates o, f, i, g, (B, 4F, H, W).
        weight: state-to-state matrices, (k, F, 4F), one for each tap along the row above.
        above_h: states of the row above the map, (B, W, F).
        above_c: its cell states, (B, W, F).
        arithmetic: None for floating point; no other has a backward pass.

    Returns:
        The states h, (B, F, H, W), channels last in memory; and the cell states of the last row,
        (B, W, F), without gradient.
    """
    if arithmetic is not None:
        return _computed(z, weight, above_h, above_c, arithmetic)
    if transformed():
        _, _, height, width = z.shape
        (h,), last = lstm_scan(
            [z],
            weight[None],
            above_h.transpose(0, 1)[None],
            above_c.transpose(0, 1)[None],
            row_fronts(height, width, len(weight)),
        )
        return h, last[0].transpose(0, 1)
    h, c, *_ = _RowScan.apply(z.permute(0, 2, 3, 1), weight, above_h, above_c)  # type: ignore[no-untyped-call]
    return h.permute(0, 3, 1, 2), c[-1].detach()


def _computed(
    z: Tensor, weight: Tensor, above_h: Tensor, above_c: Tensor, arithmetic: Arithmetic
) -> tuple[Tensor, Tensor]:
    """As `row_scan`, by another arithmetic; features come first in memory, as in its products."""
    batch, gates, height, columns = z.shape
    taps, features, _ = weight.shape
    matrix, reach = weight.flatten(0, 1).T.contiguous(), taps // 2
    states = z.new_empty(features, batch, height, columns)
    row = functional.pad(above_h.permute(2, 0, 1), (reach, reach))
    seen = z.new_empty(taps, features, batch, columns)
    sums, h = z.new_empty(gates, batch, columns), z.new_empty(features, batch, columns)
    c = above_c.permute(2, 0, 1).flatten(1).contiguous().T
    for r in range(height):
        for tap in range(taps):
            seen[tap] = row[:, :, tap : tap + columns]
        sums.copy_(z[:, :, r].transpose(0, 1))
        sums.flatten(1).addmm_(matrix, seen.flatten(2).flatten(0, 1))
        arithmetic.cell(sums.flatten(1).T, c, h.flatten(1).T, c)
        row[:, :, reach : reach + columns] = h
        states[:, :, r] = h
    return states.transpose(0, 1), c.T.view(features, batch, columns).permute(1, 2, 0)


class _RowScan(torch.autograd.Function):
    """`row_scan` of maps (B, H, W, 4F), channels last.

    If z comes in half precision, from a convolution under autocast, then so are the factors of all
    products, the states h and their gradients; gates, cell states and sums stay in the weights'
    precision. What the backward pass needs is among the outputs, as in `layers.scan`.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, weight: Tensor, above_h: Tensor, above_c: Tensor
    ) -> tuple[Tensor, ...]:
        batch, height, columns, _ = z.shape
        width = weight.shape[1]
        states, product = z.new_empty(batch, height, columns, width), z.dtype
        gates = weight.new_empty(height, batch, columns, 4, width)
        tanh_c = weight.new_empty(height, batch, columns, width)
        c = weight.new_empty(height + 1, batch, columns, width)
        c[0] = above_c
        row = _Row(above_h.to(product), len(weight))
        matrix = weight.to(product).flatten(0, 1)
        sums = None if product == weight.dtype else z.new_empty(batch, columns, 4 * width)
        for r, (here, t) in enumerate(zip(gates, tanh_c, strict=True)):
            a = here.flatten(2) if sums is None else sums
            a.copy_(z[:, r]).flatten(0, 1).addmm_(row.seen(), matrix)
            if sums is not None:
                here.copy_(a.view(here.shape))
            compute_cells(here, c[r], c[r + 1], t)
            states[:, r] = torch.mul(here[:, :, 0], t, out=row.states)
        ctx.save_for_backward(weight, above_h, states, gates, tanh_c, c)
        ctx.set_materialize_grads(False)
        return states, c, gates, tanh_c

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, above_h, states, gates, tanh_c, c = ctx.saved_tensors
        with torch.autocast(states.device.type, enabled=False):
            if torch.is_grad_enabled() or any(gradient is not None for gradient in given[1:]):
                return _differentiable(ctx.saved_tensors, *given)
            batch, height, columns, width = states.shape
            taps, product, (of_states, *_) = len(weight), states.dtype, given
            of_z = states.new_empty(batch, height, columns, 4 * width)
            of_weight = weight.new_zeros(taps * width, 4 * width)
            row = _Row(above_h.to(product), taps)
            below = _Row(torch.zeros_like(c[0]), taps)
            dc = torch.zeros_like(c[0])
            d = of_z.new_empty(batch, columns, 4 * width)
            by = d.view(gates[0].shape) if product == weight.dtype else torch.empty_like(gates[0])
            matrix = weight.to(product).flatten(0, 1).t().contiguous()
            for r in reversed(range(height)):
                dh = below.states if of_states is None else below.states + of_states[:, r]
                compute_slopes(gates[r], c[r], tanh_c[r], dh, dc, by)
                dc.mul_(gates[r][:, :, 1])
                if product != weight.dtype:
                    d.copy_(by.flatten(2))
                of_z[:, r] = d
                of_cells = d.flatten(0, 1)
                of_seen = (of_cells @ matrix).to(dc.dtype).view(batch, columns, taps, width)
                below.padded.zero_()
                for tap, part in enumerate(of_seen.unbind(2)):
                    below.padded[:, tap : tap + columns].add_(part)
                row.states.copy_(states[:, r - 1] if r else above_h)
                of_weight.add_(row.seen().t() @ of_cells)
        return of_z, of_weight.view(weight.shape), below.states.to(above_h.dtype), dc


def _differentiable(
    saved: Sequence[Tensor],
    of_states: Tensor | None,
    of_c: Tensor | None,
    of_gates: Tensor | None,
    of_tanh_c: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """The backward pass as a function that has derivatives: that of `layers.scan`."""
    weight, above_h, states, gates, tanh_c, c = saved
    batch, height, columns, _ = states.shape
    reach = len(weight) // 2
    fronts = row_fronts(height, columns, len(weight))

    def cells(rows: Tensor, beside: int = 0) -> Tensor:
        """(H, B, W, …) as the cells of fronts, (1, H·W, B, …)."""
        if beside:
            rows = functional.pad(rows, (0, 0, beside, beside))
        return rows.transpose(1, 2).flatten(0, 1)[None]

    h = torch.cat([above_h[None].to(states.dtype), states.transpose(0, 1)])
    found = gradients(
        [cells(gates), cells(tanh_c), cells(h, reach), cells(c, reach), weight[None]],
        fronts,
        slots(fronts, states.device)[2],
        [None if of_states is None else of_states.flatten(0, 2)],
        [
            None if of_gates is None else cells(of_gates),
            None if of_tanh_c is None else cells(of_tanh_c),
            None,
            None if of_c is None else cells(of_c, reach),
        ],
    )
    of_weight, of_h, of_above_c, of_z = (part for part in found if part is not None)
    return (
        of_z.view(batch, height, columns, -1),
        of_weight[0],
        of_h[0].transpose(0, 1).to(above_h.dtype),
        of_above_c[0].transpose(0, 1),
    )


class _Row:
    """A row of states between zeros, and what the taps of each cell read of it.

    Args:
        states: of the row, (B, W, F).
        taps: k.

    Attributes:
        padded: (B, W + k - 1, F).
        states: as given, to be overwritten.
    """

    def __init__(self, states: Tensor, taps: int) -> None:
        batch, columns, width = states.shape
        self.padded = functional.pad(states, (0, 0, taps // 2, taps // 2))
        self.states = self.padded[:, taps // 2 : taps // 2 + columns]
        image, cell, _ = self.padded.stride()
        self._windows = self.padded.as_strided((batch, columns, taps * width), (image, cell, 1))
        self._seen = torch.empty_like(self._windows, memory_format=torch.contiguous_format)

    def seen(self) -> Tensor:
        """Side by side what the taps read, as rows (B·W, k·F)."""
        return self._seen.copy_(self._windows).flatten(0, 1)
