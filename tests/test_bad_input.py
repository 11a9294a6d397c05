"""Every mistake of a caller ends in one sentence that says what is wrong and what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jaxtyping
import numpy as np
import pytest
import torch
from test_training import data_for

from nextpixel import (
    ClassCondition,
    DiagonalBiLSTM,
    GatedPixelCNN,
    MapCondition,
    MultiScale,
    RowLSTM,
    VectorCondition,
    bits_per_dim,
    complete,
    sample,
    score,
)
from nextpixel.cache import Cache
from nextpixel.conditions.values import forget
from nextpixel.models import registry
from nextpixel.settings.training import TrainConfig
from nextpixel.training.compatibility import check_fit
from nextpixel.walk import walk

GREY = GatedPixelCNN(levels=4, features=4, layers=1)
MAPS = RowLSTM(levels=4, features=4, layers=1, condition=MapCondition(1, levels=4))
CLASSES = GatedPixelCNN(levels=4, features=4, layers=1, condition=ClassCondition(3))
BOTH = GatedPixelCNN(
    levels=4, features=4, layers=1, condition=(ClassCondition(3), VectorCondition(2))
)
X = torch.zeros(2, 1, 3, 3, dtype=torch.int64)
ONE = torch.tensor(1)

MISTAKES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "width": (
        lambda: GatedPixelCNN(channels=3, features=100),
        ValueError,
        r"features= must be a positive multiple of channels= \(3\), not 100; use 99 or 102",
    ),
    "head width": (
        lambda: GatedPixelCNN(channels=3, features=3, head_features=4),
        ValueError,
        "head_features",
    ),
    "even kernel": (
        lambda: GatedPixelCNN(kernel_size=4),
        ValueError,
        "kernel_size= must be an odd .*, not 4",
    ),
    "levels": (lambda: GatedPixelCNN(levels=1), ValueError, "levels= must be at least 2, not 1"),
    "channels": (
        lambda: GatedPixelCNN(channels=0),
        ValueError,
        "channels= must be at least 1, not 0",
    ),
    "layers": (lambda: GatedPixelCNN(layers=0), ValueError, "layers= must be at least 1, not 0"),
    "dropout": (lambda: GatedPixelCNN(dropout=1.0), ValueError, "dropout= .*, not 1.0"),
    "head": (
        lambda: GatedPixelCNN(head="gauss"),
        ValueError,
        "must be one of 'softmax', 'bernoulli'",
    ),
    "bernoulli": (
        lambda: GatedPixelCNN(levels=3, head="bernoulli"),
        ValueError,
        "levels= is 3; use 'softmax'",
    ),
    "condition dict": (
        lambda: GatedPixelCNN(condition={"vector": 3}),
        ValueError,
        "of the form {'classes': 10}",
    ),
    "no maps": (lambda: MapCondition(0), ValueError, "maps= must be at least 1, not 0"),
    "map of a wrong size": (
        lambda: score(MAPS, X, X),
        ValueError,
        r"tensor of shape \(2, 1, 2, 2\)",
    ),
    "map of wrong values": (
        lambda: score(MAPS, X, X[:, :, :2, :2] + 9),
        ValueError,
        "value 9.*knows the values 0 … 3",
    ),
    "real map": (
        lambda: score(MAPS, X, X[:, :, :2, :2].float()),
        ValueError,
        "type torch.float32; expected images of values 0 … 3 as an integer",
    ),
    "two first kernels": (
        lambda: DiagonalBiLSTM(kernel_size=3, first_kernel_size=5),
        ValueError,
        r"kernel_size= \(3\) and first_kernel_size= \(5\) both name",
    ),
    "even row kernel": (
        lambda: RowLSTM(kernel_size=2),
        ValueError,
        "kernel_size= must be an odd .*, not 2",
    ),
    "large model": (
        lambda: MultiScale(small=GREY, large=GREY),
        ValueError,
        "give it condition=MapCondition",
    ),
    "scales of levels": (
        lambda: MultiScale(small=RowLSTM(levels=5, features=2, layers=1), large=MAPS),
        ValueError,
        "5",
    ),
    "unknown part": (
        lambda: registry.build("MultiScale", {"small": {"model": "Pixel"}, "large": MAPS}),
        ValueError,
        "must be one of Diagonal.*, not 'Pixel'",
    ),
    "cache of scales": (
        lambda: MultiScale(small=GREY, large=MAPS)(X, None, Cache(2, 1, 3, 3)),
        ValueError,
        "walk each of its scales",
    ),
    "no classes": (lambda: ClassCondition(0), ValueError, "at least 1"),
    "wrong channels": (lambda: GREY(X.expand(2, 3, 3, 3)), ValueError, r"takes \(B, 1, H, W\)"),
    "no batch": (lambda: GREY(X[0]), ValueError, r"takes \(B, 1, H, W\)"),
    "missing condition": (lambda: CLASSES(X), ValueError, r"give condition=the classes 0 … 2"),
    "unwanted condition": (
        lambda: GREY(X, torch.tensor([0, 1])),
        ValueError,
        "this model is unconditional",
    ),
    "float condition": (
        lambda: CLASSES(X, torch.tensor([0.0, 1.0])),
        ValueError,
        "type torch.float32",
    ),
    "condition shape": (lambda: CLASSES(X, torch.tensor([0])), ValueError, r"shape \(1,\)"),
    "class out of range": (
        lambda: score(CLASSES, X, torch.tensor([0, 3])),
        ValueError,
        "class 3.*0 … 2",
    ),
    "value out of range": (lambda: score(GREY, X + 4), ValueError, "value 4.*0 … 3"),
    "negative value": (lambda: bits_per_dim(GREY, X - 1), ValueError, "value -1.*0 … 3"),
    "float x": (
        lambda: score(GREY, X.float()),
        TypeError,
        "type torch.float32; give integers 0 … 3",
    ),
    "nothing to score": (lambda: bits_per_dim(GREY, X[:0]), ValueError, "nothing to score"),
    "negative n": (lambda: sample(GREY, -1, (2, 2)), ValueError, "n= must be at least 0, not -1"),
    "empty shape": (lambda: sample(GREY, 1, (0, 2)), ValueError, "at least"),
    "condition is an array": (
        lambda: CLASSES(X, np.array([0, 1])),
        TypeError,
        "condition has type ndarray; give a tensor",
    ),
    "conditions are a list": (
        lambda: score(BOTH, X, [X[:, 0, 0, 0], torch.zeros(2, 2)]),  # type: ignore[arg-type]
        TypeError,
        "condition has type list; give a tuple of tensors: the classes 0 … 2",
    ),
    "condition is a text": (
        lambda: score(CLASSES, X, "cats"),
        TypeError,
        "condition has type str; give a tensor or an array of numbers",
    ),
    "class of a byte": (
        lambda: score(CLASSES, X, torch.tensor([255, 0], dtype=torch.uint8)),
        ValueError,
        "class 255.*0 … 2",
    ),
    "guidance": (
        lambda: sample(CLASSES, 1, (2, 2), condition=ONE, guidance=-1.0),
        ValueError,
        "guidance=-1.0 must be",
    ),
    "infinite guidance": (
        lambda: sample(CLASSES, 1, (2, 2), condition=ONE, guidance=float("inf")),
        ValueError,
        "guidance=inf must be a finite number of at least 0",
    ),
    "infinite temperature": (
        lambda: sample(GREY, 1, (2, 2), temperature=float("inf")),
        ValueError,
        "temperature=inf must be a finite",
    ),
    "temperature": (
        lambda: sample(GREY, 1, (2, 2), temperature=-1.0),
        ValueError,
        "temperature=-1.0 must be",
    ),
    "batch size": (
        lambda: sample(GREY, 1, (2, 2), batch_size=0),
        ValueError,
        "batch_size= must be at least 1",
    ),
    "known type": (lambda: complete(GREY, X, torch.ones(3, 3)), TypeError, "give booleans"),
    "known shape": (
        lambda: complete(GREY, X, torch.ones(2, 2) > 0),
        ValueError,
        "does not broadcast",
    ),
    "draws": (
        lambda: complete(GREY, X, torch.ones(1) > 0, draws=0),
        ValueError,
        "draws= must be at least 1",
    ),
    "known values": (lambda: complete(GREY, X + 9, torch.ones(3, 3) > 0), ValueError, "value 9"),
    "walk values": (lambda: next(walk(GREY, X + 9)), ValueError, "value 9"),
    "walk condition": (lambda: next(walk(CLASSES, X)), ValueError, "give condition="),
}


@contextmanager
def unchecked_types() -> Iterator[None]:
    """As for users: type annotations are checked in tests only, before our own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name: str) -> None:
    call, error, message = MISTAKES[name]
    with unchecked_types(), pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_integers_of_any_type_are_images(dtype: torch.dtype) -> None:
    x = torch.tensor([0, 3, 1, 2]).view(1, 1, 2, 2)
    assert torch.equal(score(GREY, x.to(dtype)), score(GREY, x))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float16, torch.complex64])
def test_nothing_but_integers_are_images(dtype: torch.dtype) -> None:
    x = torch.ones(1, 1, 2, 2).to(dtype)
    known = torch.tensor([[True, True], [False, False]])
    for use in (
        lambda: score(GREY, x),
        lambda: bits_per_dim(GREY, x),
        lambda: complete(GREY, x, known),
        lambda: next(walk(GREY, x)),
    ):
        with unchecked_types(), pytest.raises(TypeError, match="give integers"):
            use()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_integers_of_any_type_are_conditions(dtype: torch.dtype) -> None:
    """Also where some become -1, unknown, which a byte cannot hold."""
    classes = torch.tensor([0, 2, 1])

    def drawn(given: torch.Tensor) -> torch.Tensor:
        return sample(
            CLASSES,
            3,
            (2, 3),
            condition=given,
            guidance=2.0,
            generator=torch.Generator().manual_seed(0),
        )

    assert torch.equal(drawn(classes.to(dtype)), drawn(classes))
    (forgotten,) = forget((classes.to(dtype),), torch.tensor([False, True, False]))
    assert torch.equal(forgotten, torch.tensor([0, -1, 1]))


@pytest.mark.parametrize("kind", [VectorCondition(4), ClassCondition(3)])
def test_two_conditions_of_one_kind_are_no_data_s(kind: VectorCondition | ClassCondition) -> None:
    model = GatedPixelCNN(levels=4, features=4, layers=1, condition=(kind, kind))
    with pytest.raises(
        ValueError, match=f"2 conditions on {kind.annotation}, but data has one of each kind"
    ):
        check_fit(model, data_for(model), TrainConfig(steps=1), 1)


def test_what_is_unknown_may_hold_anything() -> None:
    known = torch.zeros(3, 3, dtype=torch.bool)
    assert complete(GREY, X + 9, known).max() < 4
