"""The LSTM recurrence over fronts of cells, in operations that torch can transform.

`recurrence` is what `layers.scan` computes, without operations in place and without a backward pass
of its own: for the transforms of `torch.func`, forward mode, and programs that torch compiles or
exports. `gradients` is the backward pass of `layers.scan` as a function that has derivatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Fronts", "gradients", "recurrence"]


@dataclass(frozen=True, eq=False)
class Fronts:
    """How the cells of a map, and border cells, are packed.

    Cell k of a front is read by tap j of the next front's cell k - shift + j, so that taps are
    neighbouring slices.

    Attributes:
        cells: for every direction the pixels (row · W + column) in the order of their fronts, (D,
            H·W).
        spans: for every front, where it begins and ends among the cells, where it begins among
            cells and borders, and where among those the slice of its first tap begins.
        padded: number of cells and borders.
        inner: where each cell is among cells and borders, (H·W,).
        border: where each border cell is whose content the caller gives; the others are zero.
        taps: number of taps.
        carry: which tap hands on the cell state.
    """

    cells: Tensor
    spans: tuple[tuple[int, int, int, int], ...]
    padded: int
    inner: Tensor
    border: Tensor
    taps: int
    carry: int


def recurrence(
    weight: Tensor,
    border_h: Tensor,
    border_c: Tensor,
    fronts: Fronts,
    z: Sequence[Tensor],
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Runs the recurrence over all cells of a map: see `scan.lstm_scan`.

    Args:
        weight, border_h, border_c, fronts: as there.
        z: for each direction the input-to-state values, as rows (B·H·W, 4F).

    Returns:
        For each direction the states, as rows (B·H·W, F); and the cell states of the last front.
    """
    batch, product = border_h.shape[2], z[0].dtype
    cells = fronts.cells.to(weight.device)
    gates, matrices = _packed(z, cells, batch), weight.to(product).unbind(1)
    before_h = _padded(border_h.to(product), fronts)
    before_c = _padded(border_c.to(weight.dtype), fronts)
    all_h: list[Tensor] = []
    own, h, c = 0, before_h[:, :0], before_c[:, :0]
    for start, stop, place, read in fronts.spans:
        n, carry = stop - start, read + fronts.carry
        seen = _seen(before_h, h, own, read, read + n + fronts.taps - 1)
        a = gates[:, start:stop]
        for tap, matrix in enumerate(matrices):
            a = a + torch.einsum("dnbf,dfg->dnbg", seen[:, tap : tap + n], matrix).to(a.dtype)
        a = a.to(weight.dtype)
        carried = _seen(before_c, c, own, carry, carry + n)
        o, f, i, g = a.chunk(4, dim=3)
        c = f.sigmoid() * carried + i.sigmoid() * g.tanh()
        h = (o.sigmoid() * c.tanh()).to(product)
        all_h.append(h)
        own = place
    states = _unpacked(torch.cat(all_h, dim=1), cells)
    return tuple(states), c.detach()


def gradients(
    saved: Sequence[Tensor],
    fronts: Fronts,
    sources: Sequence[Tensor],
    of_states: Sequence[Tensor | None],
    of_saved: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...]:
    """The gradients of `scan.lstm_scan`'s inputs, as a function of what its forward pass saved.

    Args:
        saved: gates, tanh of cell states, states, cell states and the weight, as saved.
        fronts: the order of the cells.
        sources: for each tap the places that all cells read, among cells and borders.
        of_states: for each direction the gradient of its states, as rows.
        of_saved: those of the first four of `saved`, which second derivatives pass through.

    Returns:
        The gradients of weight, border_h and border_c, None, and for each direction that of its z.
    """
    gates, tanh_c, h, c, weight = saved
    batch, width, device = *tanh_c.shape[2:], weight.device
    cells, inner = fronts.cells.to(device), fronts.inner.to(device)
    of_gates, of_tanh, of_h, of_c = (
        torch.zeros_like(value, dtype=c.dtype) if given is None else given.to(c.dtype)
        for value, given in zip(saved, of_saved, strict=False)
    )
    rows = [
        h.new_zeros(batch * len(inner), width) if given is None else given for given in of_states
    ]
    grad_h = of_h.index_add(1, inner, _packed(rows, cells, batch).to(c.dtype))
    grad_c = of_c.clone()
    of_inputs: list[Tensor] = []
    for start, stop, own, read in reversed(fronts.spans):
        n, carry = stop - start, read + fronts.carry
        o, f, i, g = gates[:, start:stop].unbind(3)
        t = tanh_c[:, start:stop]
        # What is saved for derivatives must not share memory with what is added to below.
        dh, dc = grad_h[:, own : own + n].clone(), grad_c[:, own : own + n].clone()
        dc = dc + (dh * o + of_tanh[:, start:stop]) * (1 - t * t)
        by = torch.stack([dh * t, dc * c[:, carry : carry + n], dc * g, dc * i], dim=3)
        slopes = torch.stack([o - o * o, f - f * f, i - i * i, 1 - g * g], dim=3)
        d = ((by + of_gates[:, start:stop]) * slopes).flatten(3)
        of_inputs.insert(0, d)
        grad_c[:, carry : carry + n] += dc * f
        for tap, matrix in enumerate(weight.unbind(1)):
            grad_h[:, read + tap : read + tap + n] += torch.einsum("dnbg,dfg->dnbf", d, matrix)
    every, border = torch.cat(of_inputs, dim=1), fronts.border.to(device)
    read_by = (h.index_select(1, source).to(c.dtype) for source in sources)
    of_weight = [torch.einsum("dnbf,dnbg->dfg", states, every) for states in read_by]
    of_z = (part.to(h.dtype) for part in _unpacked(every, cells))
    return torch.stack(of_weight, dim=1), grad_h[:, border], grad_c[:, border], None, *of_z


def _packed(rows: Sequence[Tensor], cells: Tensor, batch: int) -> Tensor:
    """Rows (B·H·W, F) of each direction in the order of its cells, (D, H·W, B, F)."""
    return torch.stack(
        [
            one.view(batch, -1, one.shape[1]).transpose(0, 1).index_select(0, order)
            for one, order in zip(rows, cells.unbind(0), strict=True)
        ]
    )


def _unpacked(values: Tensor, cells: Tensor) -> list[Tensor]:
    """The inverse of `_packed`."""
    return [
        one.index_select(0, order).transpose(0, 1).flatten(0, 1)
        for one, order in zip(values.unbind(0), cells.argsort(dim=1).unbind(0), strict=True)
    ]


def _padded(border: Tensor, fronts: Fronts) -> Tensor:
    """The given border cells (D, borders, B, F) at their places among cells and borders.

    There are zeros elsewhere.
    """
    places = torch.full((fronts.padded,), border.shape[1], device=fronts.border.device)
    places[fronts.border] = torch.arange(len(fronts.border), device=fronts.border.device)
    blank = torch.zeros_like(border[:, :1])
    return torch.cat([border, blank], dim=1).index_select(1, places.to(border.device))


def _seen(before: Tensor, front: Tensor, own: int, start: int, stop: int) -> Tensor:
    """The places start … stop-1 among cells and borders, where a front is in its own places."""
    end = own + front.shape[1]
    parts = (
        before[:, start : max(start, min(own, stop))],
        front[:, max(start - own, 0) : max(stop - own, 0)],
        before[:, max(start, end) : max(stop, end)],
    )
    return torch.cat([part for part in parts if part.shape[1]], dim=1)
