"""Every mistake of a caller ends in one sentence that says what is wrong and what to do."""

from collections.abc import Callable

import pytest
import torch

from nextpixel import (
    ClassCondition,
    DiagonalBiLSTM,
    GatedPixelCNN,
    MapCondition,
    MultiScale,
    RowLSTM,
    bits_per_dim,
    complete,
    sample,
    score,
)
from nextpixel.cache import Cache
from nextpixel.walk import walk

GREY = GatedPixelCNN(levels=4, features=4, layers=1)
MAPS = RowLSTM(levels=4, features=4, layers=1, condition=MapCondition(1, levels=4))
CLASSES = GatedPixelCNN(levels=4, features=4, layers=1, condition=ClassCondition(3))
X = torch.zeros(2, 1, 3, 3, dtype=torch.int64)

MISTAKES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "width": (
        lambda: GatedPixelCNN(channels=3, features=100),
        ValueError,
        r"features \(=100\) must be a positive multiple of channels \(=3\); use 99 or 102",
    ),
    "head width": (lambda: GatedPixelCNN(channels=3, features=3, head_features=4), ValueError, "head_features"),
    "even kernel": (lambda: GatedPixelCNN(kernel_size=4), ValueError, r"kernel_size \(=4\) must be an odd"),
    "levels": (lambda: GatedPixelCNN(levels=1), ValueError, r"levels \(=1\) must be at least 2"),
    "channels": (lambda: GatedPixelCNN(channels=0), ValueError, r"channels \(=0\) must be at least 1"),
    "layers": (lambda: GatedPixelCNN(layers=0), ValueError, r"layers \(=0\) must be at least 1"),
    "dropout": (lambda: GatedPixelCNN(dropout=1.0), ValueError, r"dropout \(=1.0\)"),
    "head": (lambda: GatedPixelCNN(head="gauss"), ValueError, "must be one of 'softmax', 'bernoulli'"),
    "bernoulli": (lambda: GatedPixelCNN(levels=3, head="bernoulli"), ValueError, "levels is 3; use head='softmax'"),
    "condition dict": (lambda: GatedPixelCNN(condition={"vector": 3}), ValueError, "of the form {'classes': 10}"),
    "no maps": (lambda: MapCondition(0), ValueError, r"maps \(=0\) must be at least 1"),
    "map of a wrong size": (lambda: score(MAPS, X, X), ValueError, r"tensor of shape \(2, 1, 2, 2\)"),
    "map of wrong values": (lambda: score(MAPS, X, X[:, :, :2, :2] + 9), ValueError, "value 9.*knows the values 0 … 3"),
    "real map": (lambda: score(MAPS, X, X[:, :, :2, :2].float()), TypeError, "type torch.float32; give integers"),
    "two first kernels": (
        lambda: DiagonalBiLSTM(kernel_size=3, first_kernel_size=5),
        ValueError,
        r"kernel_size \(=3\) and first_kernel_size \(=5\) both name",
    ),
    "even row kernel": (lambda: RowLSTM(kernel_size=2), ValueError, r"kernel_size \(=2\) must be an odd"),
    "large model": (lambda: MultiScale(small=GREY, large=GREY), ValueError, "give it condition=MapCondition"),
    "scales of levels": (
        lambda: MultiScale(small=RowLSTM(levels=5, features=2, layers=1), large=MAPS),
        ValueError,
        "5",
    ),
    "unknown part": (lambda: MultiScale(small={"model": "Pixel"}, large=MAPS), ValueError, "must be one of Diagonal"),
    "cache of scales": (
        lambda: MultiScale(small=GREY, large=MAPS)(X, None, Cache(2, 1, 3, 3)),
        ValueError,
        "walk each of its scales",
    ),
    "no classes": (lambda: ClassCondition(0), ValueError, "at least 1"),
    "wrong channels": (lambda: GREY(X.expand(2, 3, 3, 3)), ValueError, r"takes \(B, 1, H, W\)"),
    "no batch": (lambda: GREY(X[0]), ValueError, r"takes \(B, 1, H, W\)"),
    "missing condition": (lambda: CLASSES(X), ValueError, r"give condition=the classes 0 … 2"),
    "unwanted condition": (lambda: GREY(X, torch.tensor([0, 1])), ValueError, "this model is unconditional"),
    "float condition": (lambda: CLASSES(X, torch.tensor([0.0, 1.0])), ValueError, "type torch.float32"),
    "condition shape": (lambda: CLASSES(X, torch.tensor([0])), ValueError, r"shape \(1,\)"),
    "class out of range": (lambda: score(CLASSES, X, torch.tensor([0, 3])), ValueError, "class 3.*0 … 2"),
    "value out of range": (lambda: score(GREY, X + 4), ValueError, "value 4.*0 … 3"),
    "negative value": (lambda: bits_per_dim(GREY, X - 1), ValueError, "value -1.*0 … 3"),
    "float x": (lambda: score(GREY, X.float()), TypeError, "type torch.float32; give integers 0 … 3"),
    "nothing to score": (lambda: bits_per_dim(GREY, X[:0]), ValueError, "nothing to score"),
    "negative n": (lambda: sample(GREY, -1, (2, 2)), ValueError, r"n \(=-1\)"),
    "empty shape": (lambda: sample(GREY, 1, (0, 2)), ValueError, "at least"),
    "temperature": (lambda: sample(GREY, 1, (2, 2), temperature=-1.0), ValueError, r"temperature \(=-1.0\)"),
    "batch size": (lambda: sample(GREY, 1, (2, 2), batch_size=0), ValueError, r"batch_size \(=0\)"),
    "known type": (lambda: complete(GREY, X, torch.ones(3, 3)), TypeError, "give booleans"),
    "known shape": (lambda: complete(GREY, X, torch.ones(2, 2) > 0), ValueError, "does not broadcast"),
    "draws": (lambda: complete(GREY, X, torch.ones(1) > 0, draws=0), ValueError, r"draws \(=0\)"),
    "known values": (lambda: complete(GREY, X + 9, torch.ones(3, 3) > 0), ValueError, "value 9"),
    "walk values": (lambda: next(walk(GREY, X + 9)), ValueError, "value 9"),
    "walk condition": (lambda: next(walk(CLASSES, X)), ValueError, "give condition="),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name: str) -> None:
    call, error, message = MISTAKES[name]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_is_unknown_may_hold_anything() -> None:
    known = torch.zeros(3, 3, dtype=torch.bool)
    assert complete(GREY, X + 9, known).max() < 4
