"""The LSTM recurrence of PixelRNNs over all cells of a map, front by front.

Row LSTM and Diagonal BiLSTM (Pixel Recurrent Neural Networks, sections 3.1 and 3.2) are one
recurrence over fronts of cells that are computed together: the front is a row, or a diagonal. With
the input-to-state map z, for every cell::

    [o, f, i, g] = z + Σ_taps h(tap) · W_tap
    c = σ(f) ⊙ c(carry) + σ(i) ⊙ tanh(g)
    h = σ(o) ⊙ tanh(c)

where taps are neighbours on the previous front, and one of them, the carry, hands on its cell
state. (The paper prints σ for all four gates; g is a tanh, as in every LSTM.)

Cells are packed front after front, and each front stands between border cells that hold what is
given: initial states, the row above, or zeros. A tap of a whole front is then one slice, both
directions are one batched product, and nothing is computed but the cells of the map. The backward
pass is written out: gradients of the states are accumulated in place, and those of the weights are
one product per tap at the end.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nextpixel.front.place import Front
from nextpixel.layers.arithmetic import Arithmetic
from nextpixel.layers.constants import constant
from nextpixel.layers.recurrence import Fronts, gradients, recurrence
from nextpixel.tracing import transformed

__all__ = ["Fronts", "diagonal_fronts", "lstm_cell", "lstm_scan", "row_fronts"]


@constant
def row_fronts(height: int, width: int, kernel_size: int) -> Fronts:
    """Fronts of the Row LSTM: row after row; taps are a cell's k neighbours above.

    Border cells: the row above the map, column by column. Beside the map there are zeros.
    """
    reach, block = kernel_size // 2, width + kernel_size - 1
    spans = tuple(
        (r * width, (r + 1) * width, (r + 1) * block + reach, r * block) for r in range(height)
    )
    columns = torch.arange(width, device="cpu")
    inner = torch.cat([columns + (r + 1) * block + reach for r in range(height)])
    cells = torch.arange(height * width, device="cpu")[None]
    return Fronts(cells, spans, (height + 1) * block, inner, columns + reach, kernel_size, reach)


@constant
def diagonal_fronts(height: int, width: int) -> Fronts:
    """Fronts of the Diagonal BiLSTM: diagonals of equal row + column.

    Taps are the cell above and the one before. The second direction is that of the mirrored map.
    Border cells: the row above the map, column by column as the direction goes, then the cell
    before each row.
    """
    # Every front is packed as: the border above its successor's first cell, its cells, the border
    # before the successor's last row. The front before the first has borders only.
    spans: list[tuple[int, int, int, int]] = []
    rows: list[int] = []
    columns: list[int] = []
    inner: list[int] = []
    above, before = [0], [1]
    first, start, previous_first, previous_start = 0, 0, 0, 0
    position = 2
    for step in range(height + width - 1):
        first, last = max(0, step - width + 1), min(step, height - 1)
        count = last - first + 1
        spans.append((start, start + count, position + 1, previous_start + first - previous_first))
        rows += range(first, last + 1)
        columns += [step - row for row in range(first, last + 1)]
        inner += range(position + 1, position + 1 + count)
        if step + 1 < width:
            above.append(position)
        if step + 1 < height:
            before.append(position + 1 + count)
        previous_first, previous_start = first, position
        start, position = start + count, position + count + 2
    row, column = torch.tensor(rows, device="cpu"), torch.tensor(columns, device="cpu")
    cells = torch.stack([row * width + column, row * width + (width - 1 - column)])
    border, places = torch.tensor(above + before, device="cpu"), torch.tensor(inner, device="cpu")
    return Fronts(cells, tuple(spans), position, places, border, taps=2, carry=1)


def lstm_cell(
    front: Front,
    gates: Tensor,
    carried: Tensor,
    h: Tensor,
    c: Tensor,
    arithmetic: Arithmetic | None = None,
) -> None:
    """One step at a front: gates o, f, i, g (lanes, 4F) and cell states (lanes, F) to h and c.

    It overwrites the gates.
    """
    if arithmetic is not None:
        front.run(arithmetic.cell, gates, carried, h, c)
        return
    o, f, i, g = gates.chunk(4, dim=1)
    front.run(gates[:, : 3 * c.shape[1]].sigmoid_)
    front.run(g.tanh_)
    front.run(torch.mul, f, carried, out=c)
    front.run(c.addcmul_, i, g)
    front.run(torch.tanh, c, out=h)
    front.run(h.mul_, o)


def lstm_scan(
    z: Sequence[Tensor],
    weight: Tensor,
    border_h: Tensor,
    border_c: Tensor,
    fronts: Fronts,
    arithmetic: Arithmetic | None = None,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Runs the recurrence over all cells of a map.

    Args:
        z: for each direction the input-to-state values of the gates o, f, i, g, (B, 4F, H, W).
        weight: state-to-state matrices, (D, taps, F, 4F).
        border_h: states of the border cells, (D, borders, B, F).
        border_c: their cell states, same shape; read where the carry is a border.
        fronts: the order of the cells.
        arithmetic: None for floating point; no other has a backward pass.

    Returns:
        For each direction the states h, (B, F, H, W), channels last in memory; and the cell states
        of the last front, (D, n, B, F), without gradient.
    """
    batch, _, height, columns = z[0].shape
    directions, _, width, _ = weight.shape
    assert len(z) == directions == len(fronts.cells)
    rows = [m.permute(0, 2, 3, 1).reshape(-1, 4 * width) for m in z]
    if arithmetic is not None:
        h, (c, *_) = _run(weight, border_h, border_c, fronts, rows, arithmetic)
    elif transformed():
        h, c = recurrence(weight, border_h, border_c, fronts, rows)
    else:
        found = _Scan.apply(weight, border_h, border_c, fronts, *rows)  # type: ignore[no-untyped-call]
        h, c = found[:directions], found[directions]
    return tuple(m.view(batch, height, columns, width).permute(0, 3, 1, 2) for m in h), c


@constant
def _places(fronts: Fronts, batch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows hold which cells, for each direction.

    Returns:
        Which pixel of which image, as rows of (B, H·W), each cell of (H·W, B) is; for each pixel,
        the row of its cell; and the row of its cell among (cells and borders, B). Each (D, H·W·B).
    """
    count = fronts.cells.shape[1]
    image = torch.arange(batch, device="cpu")
    to = (image * count + fronts.cells[:, :, None]).flatten(1)
    back = to.argsort(dim=1)
    padded = (fronts.inner[:, None] * batch + image).flatten()[back]
    return to.to(device), back.to(device), padded.to(device)


@constant
def _slots(fronts: Fronts, device: torch.device) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Places among cells and borders.

    Returns:
        The borders that the caller gives, the cells, and for each tap what the cells read.
    """
    first = torch.cat(
        [
            torch.arange(read, read + stop - start, device="cpu")
            for start, stop, _, read in fronts.spans
        ]
    )
    return (
        fronts.border.to(device),
        fronts.inner.to(device),
        tuple((first + t).to(device) for t in range(fronts.taps)),
    )


def _run(
    weight: Tensor,
    border_h: Tensor,
    border_c: Tensor,
    fronts: Fronts,
    z: Sequence[Tensor],
    arithmetic: Arithmetic | None = None,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The states of each direction, as rows; and what `_Scan` saves."""
    directions, _, width, _ = weight.shape
    count, batch = fronts.cells.shape[1], border_h.shape[2]
    to, _, padded = _places(fronts, batch, weight.device)
    border, _, _ = _slots(fronts, weight.device)
    product = z[0].dtype
    h = weight.new_zeros(directions, fronts.padded, batch, width, dtype=product)
    c = weight.new_zeros(h.shape)
    h[:, border], c[:, border] = border_h.to(product), border_c.to(c.dtype)
    matrices = [matrix.contiguous() for matrix in weight.to(product).unbind(1)]
    largest = max(stop - start for start, stop, _, _ in fronts.spans)
    kept = count if arithmetic is None else largest  # only a backward pass reads them again
    gates = weight.new_empty(directions, kept, batch, 4, width)
    tanh_c = weight.new_empty(directions, kept, batch, width)
    sums = (
        None if product == weight.dtype else z[0].new_empty(directions, largest * batch, 4 * width)
    )
    # Everything is done front by front, even what could be done for the whole map: a front
    # stays in the cache.
    for start, stop, own, read in fronts.spans:
        n, carry = stop - start, read + fronts.carry
        here = gates[:, start:stop] if arithmetic is None else gates[:, :n]
        a = here.flatten(3).flatten(1, 2) if sums is None else sums[:, : n * batch]
        for direction, rows in enumerate(z):
            torch.index_select(
                rows, 0, to[direction, start * batch : stop * batch], out=a[direction]
            )
        for tap, matrix in enumerate(matrices):
            a.baddbmm_(h[:, read + tap : read + tap + n].flatten(1, 2), matrix)
        if sums is not None:
            here.copy_(a.view(here.shape))
        before, now = c[:, carry : carry + n], c[:, own : own + n]
        if arithmetic is not None:
            arithmetic.cell(here.flatten(3), before, h[:, own : own + n], now)
            continue
        here[:, :, :, :3].sigmoid_()
        o, f, i, g = here.unbind(3)
        torch.mul(f, before, out=now).addcmul_(i, g.tanh_())
        t = torch.tanh(now, out=tanh_c[:, start:stop])
        if sums is None:
            torch.mul(o, t, out=h[:, own : own + n])
        else:
            h[:, own : own + n] = o * t
    last = now.clone()
    states = (m.flatten(0, 1).index_select(0, rows) for m, rows in zip(h, padded, strict=True))
    return tuple(states), (last, gates, tanh_c, h, c)


class _Scan(torch.autograd.Function):
    """`lstm_scan` on rows (B·H·W, F).

    If z comes in half precision, from a convolution under autocast, then so are the factors of all
    products, the states h and their gradients; gates, cell states and sums stay in the weights'
    precision.

    What the backward pass needs is among the outputs, so that second derivatives pass through it.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, border_h: Tensor, border_c: Tensor, fronts: Fronts, *z: Tensor
    ) -> tuple[Tensor, ...]:
        states, (last, gates, tanh_c, h, c) = _run(weight, border_h, border_c, fronts, z)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(gates, tanh_c, h, c, weight)
            ctx.fronts = fronts
        ctx.mark_non_differentiable(last)
        ctx.set_materialize_grads(False)
        return (*states, last, gates, tanh_c, h, c)

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        gates, tanh_c, h, c, weight = ctx.saved_tensors
        fronts: Fronts = ctx.fronts
        of_states, of_saved = given[: len(weight)], given[len(weight) + 1 :]
        batch, width = tanh_c.shape[2:]
        to, back, _ = _places(fronts, batch, h.device)
        border, inner, sources = _slots(fronts, h.device)
        if torch.is_grad_enabled() or any(gradient is not None for gradient in of_saved):
            with torch.autocast(h.device.type, enabled=False):
                return gradients(ctx.saved_tensors, fronts, sources, of_states, of_saved)
        product = h.dtype
        grad_h, grad_c = torch.zeros_like(h), torch.zeros_like(c)
        for direction, (rows, gradient) in enumerate(zip(to, of_states, strict=True)):
            if gradient is not None:
                grad_h[direction, inner] = (
                    gradient.to(product).index_select(0, rows).view(-1, batch, width)
                )
        grad_gates, one = torch.empty_like(gates, dtype=product), gates.new_ones(())
        largest = max(stop - start for start, stop, _, _ in fronts.spans)
        scratch = None if product == gates.dtype else torch.empty_like(gates[:, :largest])
        transposed = [
            matrix.to(product).transpose(1, 2).contiguous() for matrix in weight.unbind(1)
        ]
        with torch.autocast(h.device.type, enabled=False):
            for start, stop, own, read in reversed(fronts.spans):
                n, carry = stop - start, read + fronts.carry
                gate, kept = gates[:, start:stop], grad_gates[:, start:stop]
                here = kept if scratch is None else scratch[:, :n]
                o, f, i, g = gate.unbind(3)
                do, df, di, dg = here.unbind(3)
                t = tanh_c[:, start:stop]
                dh, dc = grad_h[:, own : own + n].to(gates.dtype), grad_c[:, own : own + n]
                dt = dh * o
                dc.add_(dt).addcmul_(dt, t * t, value=-1)
                sigmoids = gate[:, :, :, :3]
                torch.addcmul(
                    sigmoids, sigmoids, sigmoids, value=-1, out=here[:, :, :, :3]
                )  # σ' = σ - σ²
                torch.addcmul(one, g, g, value=-1, out=dg).mul_(i)  # tanh' = 1 - tanh²
                do.mul_(t).mul_(dh)
                df.mul_(c[:, carry : carry + n])
                di.mul_(g)
                here[:, :, :, 1:].mul_(dc[:, :, :, None])
                grad_c[:, carry : carry + n].addcmul_(dc, f)
                if scratch is not None:
                    kept.copy_(here)
                d = kept.flatten(3).flatten(1, 2)
                for tap, matrix in enumerate(transposed):
                    grad_h[:, read + tap : read + tap + n].flatten(1, 2).baddbmm_(d, matrix)
            # One product over all cells for each tap: exact sums even in half precision.
            every = grad_gates.flatten(3).flatten(1, 2)
            grad_weight = torch.stack(
                [
                    h.index_select(1, source).flatten(1, 2).transpose(1, 2).bmm(every)
                    for source in sources
                ],
                dim=1,
            ).to(weight.dtype)
        grad_z = [
            m.view(-1, 4 * width).index_select(0, rows)
            for m, rows in zip(grad_gates, back, strict=True)
        ]
        return grad_weight, grad_h[:, border].to(c.dtype), grad_c[:, border], None, *grad_z
