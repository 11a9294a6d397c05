"""What a program of one's own relies on: signatures, values that compare, and files that open."""

import copy
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

import nextpixel
from nextpixel import (
    DiagonalBiLSTM,
    GatedPixelCNN,
    PixelCNN,
    RowLSTM,
    Source,
    load,
    load_data,
)
from nextpixel.errors import UsageError
from nextpixel.inference.drawing import Drawn


@pytest.mark.parametrize("model", [DiagonalBiLSTM, GatedPixelCNN, PixelCNN, RowLSTM])
def test_a_constructor_says_what_it_takes(model: type) -> None:
    keywords = inspect.signature(model).parameters
    assert {"levels", "condition", "features", "layers"} <= keywords.keys()
    assert typing.get_type_hints(model.__init__).keys() == {*keywords, "return"}
    assert f"{model.__name__}Settings" in (model.__init__.__doc__ or "")
    with pytest.raises(TypeError, match=f"{model.__name__} has no option 'width'; .* features, "):
        model(width=3)
    with pytest.raises(TypeError, match=f"{model.__name__} takes its options by name"):
        model(256)


def test_the_public_names_are_listed() -> None:
    assert {*nextpixel.__all__, "__version__"} <= {*dir(nextpixel)}


def test_values_that_hold_arrays_are_compared_by_identity() -> None:
    data = load_data("digits")
    for value in (data, data.train):
        assert value == value and value != copy.deepcopy(value)
        assert len({value, copy.copy(value)}) == 2


@pytest.mark.parametrize("draws", [(), (2,)])
def test_drawn_images_become_a_folder(draws: tuple[int, ...], tmp_path: Path) -> None:
    x = np.zeros((3, *draws, 1, 4, 5), dtype=np.uint8)
    drawn = Drawn(images=x, levels=2, grid=x.reshape(-1, 1, 4, 5), columns=None)
    drawn.save(tmp_path / "images")
    assert len([*(tmp_path / "images").iterdir()]) == x.size // 20
    with pytest.raises(UsageError, match=r"ends in \.txt"):
        drawn.save(tmp_path / "images.txt")
    assert not (tmp_path / "images.txt").exists()


def test_an_error_shows_the_start_of_a_wrong_value() -> None:
    with pytest.raises(UsageError, match="must be the name of a file or folder") as caught:
        Source(1000 * "long" + "\0")
    assert len(str(caught.value)) < 150


def test_a_model_of_numpy_numbers_is_saved(tmp_path: Path) -> None:
    # In a process of its own: here, what checks the types of arguments refuses them.
    program = f"""
import numpy as np
from nextpixel import ClassCondition, GatedPixelCNN, load, save
given = ClassCondition(np.array([0, 2]).max() + 1)
sizes = dict(levels=np.int64(4), features=np.int32(8), layers=1, kernel_size=np.int64(3))
model = GatedPixelCNN(**sizes, dropout=np.float32(0.5), condition=given)
save(model, {str(tmp_path / "model.safetensors")!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    config = load(tmp_path / "model.safetensors").config()
    assert config["condition"] == {"classes": 3} and config["dropout"] == 0.5


def test_numbers_and_sizes_of_numpy_are_taken_everywhere() -> None:
    program = """
import json
from dataclasses import asdict
import numpy as np
import nextpixel
from nextpixel import GatedPixelCNN, PixelCNNAutoencoder, TrainConfig, VectorCondition
from nextpixel.errors import UsageError
from nextpixel.models.autoencoder import ConvolutionalAutoencoder
from nextpixel.models.embedding import Embedding
from nextpixel.settings.requests import SampleRequest

one, half, size = np.int64(2), np.float32(0.5), np.array([6, 5])
decoder = GatedPixelCNN(levels=4, features=8, layers=2, condition=VectorCondition(2))
models = [
    PixelCNNAutoencoder(
        decoder=decoder, size=size, encoder_features=one, variational=True, free_bits=half,
        negative_slope=half,
    ),
    ConvolutionalAutoencoder(levels=one, size=size, code_size=one, encoder_features=one),
    Embedding(levels=one, size=size, outputs=one, features=one, dropout=half),
]
for model in models:
    json.dumps(model.config())
config = TrainConfig(steps=np.int64(3), learning_rate=half, condition_noise=np.float64(0.25))
assert json.loads(json.dumps(asdict(config)))["learning_rate"] == 0.5
for wrong in ({"learning_rate": np.float32("nan")}, {"weight_decay": np.float32(-1)}):
    try:
        TrainConfig(**wrong)
    except UsageError:
        continue
    raise AssertionError(wrong)
for size in ([3, 5], (np.int64(3), np.int32(5)), (3, 5)):
    assert SampleRequest(size=size).shape == (3, 5)
assert SampleRequest(size=np.int64(28)).shape == (28, 28) and SampleRequest().shape is None
for size in (0, (3, 0), (1, 2, 3), 2.5, "32", [3]):
    try:
        SampleRequest(size=size)
    except UsageError as error:
        assert "must be a side in pixels from 1 to 65536" in str(error), error
        continue
    raise AssertionError(size)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
