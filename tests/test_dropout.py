"""Laws of dropout: how much is dropped, what is left, and the same for all memory layouts."""

import pytest
import torch
from torch.nn import functional

from nextpixel.devices import seeded
from nextpixel.layers.dropout import dropout

LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(1, 3),
    "every second": lambda x: x[:, :, ::2],
    "odd": lambda x: x[:1, :1, :7, :1],
    "empty": lambda x: x[:0],
}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999, 1 - 2**-20, 2**-20])
def test_the_share_is_dropped_and_the_mean_stays(share: float) -> None:
    with seeded(0):
        y = dropout(torch.ones(1 << 22, dtype=torch.float64), share)
    dropped = round((y == 0).double().mean().item() * y.numel())
    exact = min(max(round(share * 2**16), 0), 2**16 - 1) / 2**16
    assert abs(dropped / y.numel() - exact) <= 5 * (exact * (1 - exact) / y.numel()) ** 0.5
    assert torch.unique(y[y != 0]).tolist() == pytest.approx([1 / (1 - exact)])


def test_values_are_dropped_independently_of_their_neighbours() -> None:
    with seeded(0):
        kept = (dropout(torch.ones(1 << 20, dtype=torch.float64), 0.5) > 0).double() - 0.5
    for distance in (1, 2, 3, 4, 8, 28):
        correlation = (kept[distance:] * kept[:-distance]).mean() / 0.25
        assert abs(correlation) < 5 / len(kept) ** 0.5, distance


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_layouts_precisions_and_derivatives(layout: str, dtype: torch.dtype) -> None:
    with seeded(1):
        x = LAYOUTS[layout](torch.rand(4, 6, 8, 10) + 1).to(dtype).requires_grad_()
        y = dropout(x, 0.25)
    assert y.dtype == dtype and y.shape == x.shape
    kept = y != 0
    torch.testing.assert_close(y, torch.where(kept, x / 0.75, 0), rtol=1e-2, atol=0)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(slope != 0, kept)
    if x.numel() > 100:
        assert 0.6 < kept.double().mean() < 0.9


def test_seeds_decide_and_transforms_take_the_operation_of_torch() -> None:
    x = torch.rand(5, 7)
    draws = []
    for seed in (3, 3, 4):
        with seeded(seed):
            draws.append(dropout(x, 0.5))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert dropout(x, 0.0) is x
    with seeded(3):
        transformed = torch.func.vmap(lambda y: dropout(y, 0.5), randomness="different")(x)
    with seeded(3):
        assert torch.equal(
            torch.func.vmap(lambda y: functional.dropout(y, 0.5), randomness="different")(x),
            transformed,
        )


def test_the_default_device_does_not_matter() -> None:
    x = torch.rand(5, 7)
    with seeded(3):
        expected = dropout(x, 0.5)
    with seeded(3), torch.device("meta"):
        assert torch.equal(dropout(x, 0.5), expected)
