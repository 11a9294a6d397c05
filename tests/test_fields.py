"""What each model sees: derived unseen sets, shapes of fields, and the effective field."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from nextpixel import (
    DiagonalBiLSTM,
    GatedPixelCNN,
    MapCondition,
    MultiScale,
    PixelCNN,
    RowLSTM,
    check_causality,
    score,
)
from nextpixel.analysis.causality import dependencies
from nextpixel.analysis.receptive_fields import (
    effective_receptive_field,
    receptive_field,
    receptive_field_picture,
)
from nextpixel.models.core import AutoregressiveModel, ImageModel
from nextpixel.scoring import log_prob_map, scale_scores

Offset = tuple[int, int]


@pytest.fixture
def smooth(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ReLUs, which block paths by chance: what is unseen then is unseen by construction."""
    monkeypatch.setattr(Tensor, "relu", Tensor.tanh)
    monkeypatch.setattr(Tensor, "relu_", Tensor.tanh)


def field(model: ImageModel, shape: Offset) -> Tensor:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return dependencies(model, shape, draws=2)


def square(k: int, *, own: bool) -> set[Offset]:
    """The sites of a k×k kernel before its centre, as (rows, columns) away, or with the centre."""
    reach = k // 2
    above = set(itertools.product(range(-reach, 0), range(-reach, reach + 1)))
    return above | {(0, -dx) for dx in range(1, reach + 1)} | ({(0, 0)} if own else set())


def steps(a: set[Offset], b: set[Offset]) -> set[Offset]:
    return {(i[0] + j[0], i[1] + j[1]) for i, j in itertools.product(a, b)}


def matrix(offsets: set[Offset], shape: Offset) -> Tensor:
    pixels = list(itertools.product(range(shape[0]), range(shape[1])))
    return torch.tensor([[(p[0] - o[0], p[1] - o[1]) in offsets for p in pixels] for o in pixels])


def cone(layers: int, kernel: int, first: int) -> set[Offset]:
    """PixelCNN: one move of the first convolution, and one of each other."""
    reached = square(first, own=False)
    for _ in range(layers):
        reached = steps(reached, square(kernel, own=True))
    return reached


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize(
    ("layers", "kernel", "first"), [(1, 3, 3), (2, 3, 3), (6, 3, 3), (2, 3, 7), (2, 5, 3)]
)
def test_pixel_cnn_sees_its_cone_and_nothing_else(layers: int, kernel: int, first: int) -> None:
    model = PixelCNN(
        levels=3, features=6, layers=layers, kernel_size=kernel, first_kernel_size=first
    )
    assert torch.equal(field(model, (5, 8)), matrix(cone(layers, kernel, first), (5, 8)))


@pytest.mark.parametrize(("first", "layers", "unseen"), [(3, 20, 21), (7, 15, 10)])
def test_the_blind_spot_is_of_the_known_size(first: int, layers: int, unseen: int) -> None:
    """From the middle of the last row of 15×15 pixels, 21 or 10 of 217 pixels are unseen."""
    model = PixelCNN(levels=2, features=2, layers=layers, first_kernel_size=first)
    torch.manual_seed(0)
    seen = receptive_field(model, (15, 15), pixel=(14, 7))[0, 0]
    past = torch.arange(225).view(15, 15) < 14 * 15 + 7
    predicted = matrix(cone(layers, 3, first), (15, 15))[14 * 15 + 7].view(15, 15)
    assert int((past & ~predicted).sum()) == unseen
    assert not seen[~predicted].any()


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_diagonal_bilstm_misses_the_last_pixel_of_the_row_above(layers: int) -> None:
    """42 of 2016 pairs of 8×8 pixels are unseen at any depth, and none with the gap closed."""
    depends = field(
        DiagonalBiLSTM(levels=3, features=6, layers=layers, first_kernel_size=3), (8, 8)
    )
    expected = torch.ones(64, 64).tril(-1).bool()
    for row, column in itertools.product(range(1, 8), range(6)):
        expected[row * 8 + column, (row - 1) * 8 + 7] = False
    assert int((~expected).tril(-1).sum()) == 42
    assert torch.equal(depends, expected)
    complete = DiagonalBiLSTM(
        levels=3, features=6, layers=layers, first_kernel_size=3, complete_context=True
    )
    assert torch.equal(field(complete, (8, 8)), torch.ones(64, 64).tril(-1).bool())


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize(
    ("layers", "kernel", "first"), [(1, 3, 3), (2, 3, 3), (3, 3, 3), (1, 5, 3), (2, 3, 7)]
)
def test_row_lstm_sees_a_triangle(layers: int, kernel: int, first: int) -> None:
    """Any number of rows up, k//2 columns to either side in each, and L·(k//2) more to the left."""
    shape, reach = (5, 9), kernel // 2
    up = {(-rows, dx) for rows in range(shape[0]) for dx in range(-rows * reach, rows * reach + 1)}
    left = {(0, -dx) for dx in range(layers * reach + 1)}
    expected = matrix(steps(steps(up, left), square(first, own=False)), shape)
    model = RowLSTM(
        levels=3, features=6, layers=layers, kernel_size=kernel, first_kernel_size=first
    )
    assert torch.equal(field(model, shape), expected)


def test_multi_scale_sees_all_that_comes_before() -> None:
    torch.manual_seed(0)
    model = MultiScale(
        small=DiagonalBiLSTM(levels=3, features=8, layers=2),
        large=GatedPixelCNN(
            levels=3, features=8, layers=3, kernel_size=5, condition=MapCondition(1, levels=3)
        ),
    )
    report = check_causality(model, shape=(5, 6), draws=3)
    assert report.ok, str(report)
    assert report.sites[:4] == ((0, 0, 0), (0, 0, 2), (0, 0, 4), (0, 2, 0))
    small = [
        k for k, (_, row, column) in enumerate(report.sites) if row % 2 == 0 and column % 2 == 0
    ]
    assert small == list(range(9))
    assert torch.equal(report.depends[:9, :9], torch.ones(9, 9).tril(-1).bool())
    # A pixel of the large image sees pixels of the small one that come later in raster order.
    assert report.depends[report.sites.index((0, 0, 1)), report.sites.index((0, 2, 2))]
    assert receptive_field_picture(model, (5, 6)).shape[0] == 3


def test_multi_scale_counts_every_pixel_once() -> None:
    """Log p(x) = log p(small) + log p(rest | small), both computed by hand from the two models."""
    torch.manual_seed(0)
    small = RowLSTM(levels=3, features=4, layers=1)
    large = PixelCNN(levels=3, features=4, layers=2, condition=MapCondition(1, scale=2, levels=3))
    model = MultiScale(small=small, large=large)
    x = torch.randint(3, (6, 1, 5, 6))
    few = x[:, :, ::2, ::2]
    rest = torch.ones(5, 6)
    rest[::2, ::2] = 0
    first, second = score(small, few), (log_prob_map(large, x, few) * rest).sum(dim=(1, 2, 3))
    torch.testing.assert_close(scale_scores(model, x), torch.stack([first, second], dim=1))
    torch.testing.assert_close(score(model, x), first + second)


@pytest.mark.parametrize("kind", [GatedPixelCNN, PixelCNN, RowLSTM, DiagonalBiLSTM])
def test_the_effective_field_lies_in_the_field(kind: type[ImageModel]) -> None:
    torch.manual_seed(0)
    model = kind(channels=2, levels=4, features=8, layers=2)  # type: ignore[call-arg]
    x = torch.randint(4, (6, 2, 9, 11))
    effective = effective_receptive_field(model, x, pixel=(7, 5))
    assert effective.strength.shape == (9, 11)
    assert float(effective.strength.sum()) == pytest.approx(1)
    seen = receptive_field(model, (9, 11), pixel=(7, 5)).any(dim=1).any(dim=0)
    assert not effective.strength[~seen].any()
    apart = [[math.hypot(row - 7, column - 5) for column in range(11)] for row in range(9)]
    radius = float((torch.tensor(apart).double() * effective.strength).sum())
    assert effective.radius == pytest.approx(radius)
    assert effective.within[0] <= effective.within[1] <= effective.within[2]
    assert "half of it lies within" in str(effective)


def test_the_effective_field_of_a_known_dependence() -> None:
    """A model that looks at the pixel to its left alone: all strength at distance 1."""
    model = GatedPixelCNN(levels=3, features=4, layers=1, kernel_size=3)
    nn.init.zeros_(model.blocks[0].link.weight)  # type: ignore[union-attr, arg-type]
    effective = effective_receptive_field(model, torch.randint(3, (4, 1, 6, 6)), pixel=(3, 3))
    assert float(effective.strength[3, 2]) == pytest.approx(1)
    assert effective.within == (1.0, 1.0, 1.0)


def test_a_pixel_outside_is_refused() -> None:
    model = GatedPixelCNN(levels=3, features=4, layers=1)
    with pytest.raises(ValueError, match=r"pixel=\(6, 0\) is outside the images, which are 6×5"):
        effective_receptive_field(model, torch.randint(3, (1, 1, 6, 5)), pixel=(6, 0))


def test_what_has_no_field_is_refused_or_said() -> None:
    model = GatedPixelCNN(levels=3, features=4, layers=1)
    x = torch.randint(3, (2, 1, 6, 5))
    with pytest.raises(ValueError, match=r"pixel=\(9, 9\) is outside the images"):
        receptive_field(model, (6, 6), pixel=(9, 9))
    with pytest.raises(ValueError, match=r"shape=\(0, 6\) must be"):
        receptive_field(model, (0, 6))
    with pytest.raises(ValueError, match="there is no image"):
        effective_receptive_field(model, x[:0])
    with pytest.raises(ValueError, match="are categories"):
        effective_receptive_field(
            GatedPixelCNN(levels=3, features=4, layers=1, value_features=2), x
        )
    first = effective_receptive_field(model, x, pixel=(0, 0))  # sees nothing
    assert first.within == (0.0, 0.0, 0.0) and "depends on no pixel" in str(first)


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (4, 1), (8, 2)])
def test_the_field_of_a_multi_scale_model_is_that_of_the_large_one(shape: tuple[int, int]) -> None:
    model = MultiScale(
        small=PixelCNN(levels=3, features=4, layers=1),
        large=PixelCNN(
            levels=3, features=4, layers=1, condition=MapCondition(1, scale=2, levels=3)
        ),
    )
    row, column = effective_receptive_field(model, torch.randint(3, (2, 1, *shape))).pixel
    assert row % 2 or column % 2


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize("kind", [GatedPixelCNN, PixelCNN, RowLSTM, DiagonalBiLSTM])
@pytest.mark.parametrize("shape", [(9, 4), (1, 8)])
def test_with_context_every_pixel_sees_the_whole_map(
    kind: type[AutoregressiveModel], shape: tuple[int, int]
) -> None:
    """Every large pixel depends on every small one, and without context the first one does not."""
    height, width = shape
    for context in (True, False):
        torch.manual_seed(0)
        given = MapCondition(1, levels=None, features=4, context=context)
        model = kind(levels=3, features=4, layers=1, kernel_size=3, condition=given).double()
        x = torch.randint(3, (1, 1, *shape))
        small = torch.randn(1, 1, -(-height // 2), -(-width // 2), dtype=torch.double)
        small.requires_grad_()
        log_pmf = model(x, small).log_pmf(x, 0)[0, 0].flatten()
        seen = torch.stack(
            [torch.autograd.grad(y, small, retain_graph=True)[0].flatten() != 0 for y in log_pmf]
        )
        assert bool(seen.all()) is context and bool(seen[0].all()) is context
