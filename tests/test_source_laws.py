"""What belongs to images is found with them, whatever they are called and however they are kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nextpixel import TrainConfig, train_model
from nextpixel.errors import UsageError
from nextpixel.inference.completion import complete_images
from nextpixel.inference.evaluation import Evaluation, evaluate_model, measure_condition
from nextpixel.inference.reconstruction import reconstruct_images
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.scoring import score
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import (
    CompletionRequest,
    DataRequest,
    ReconstructionRequest,
    SampleConfig,
)
from nextpixel.settings.source import Source

COUNT = 12
LIKELIEST = SampleConfig(temperature=0.0)


@dataclass(frozen=True)
class Set:
    """Images of 4×4 with a class, a vector and a map each."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    vectors: NDArray[np.float32]
    maps: NDArray[np.uint8]

    def rows(self, rows: NDArray[np.int64]) -> "Set":
        return Set(*(getattr(self, name)[rows] for name in Set.__annotations__))


def arrays(data: Set, folder: Path, name: str) -> DataRequest:
    for part in Set.__annotations__:
        np.save(folder / f"{name}_{part}.npy", getattr(data, part))
    return DataRequest(
        data=folder / f"{name}_images.npy",  # its labels lie beside it
        vectors=folder / f"{name}_vectors.npy",
        maps=folder / f"{name}_maps.npy",
    )


def archive(data: Set, folder: Path, name: str) -> DataRequest:
    parts = {f"train_{part}": getattr(data, part) for part in Set.__annotations__}
    np.savez(folder / f"{name}.npz", **parts)
    return DataRequest(data=folder / f"{name}.npz")


def pictures(data: Set, folder: Path, name: str) -> DataRequest:
    home = folder / name
    (home / "maps").mkdir(parents=True)
    (home / "x").mkdir()
    for k in range(len(data.images)):
        Image.fromarray(data.images[k]).save(home / "x" / f"{k:02d}.png")
        Image.fromarray(data.maps[k]).save(home / "maps" / f"{k:02d}.png")
    order = np.random.default_rng(2).permutation(len(data.images))
    labels = [f"{k:02d};{data.labels[k]}" for k in order]
    (home / "x" / "labels.csv").write_text("\n".join(["id;label", *labels]))
    vectors = [f"{k:02d}.png,{','.join(map(str, data.vectors[k].tolist()))}" for k in order]
    (home / "v.csv").write_text("\n".join(["file,a,b", *vectors]))
    return DataRequest(data=home / "x", vectors=home / "v.csv", maps=home / "maps")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Set]:
    rng = np.random.default_rng(0)
    data = Set(
        rng.integers(0, 256, (COUNT, 4, 4), dtype=np.uint8),
        np.arange(COUNT) % 3,
        rng.normal(size=(COUNT, 2)).astype(np.float32),
        rng.integers(0, 256, (COUNT, 4, 4), dtype=np.uint8),
    )
    folder = tmp_path_factory.mktemp("original")
    request = arrays(data, folder, "x")
    source = Source(str(request.data), vectors=request.vectors, maps=request.maps)
    small = ModelChoice(network={"features": 6, "layers": 1, "kernel_size": 3})
    config = TrainConfig(steps=4, batch_size=12, learning_rate=0.05, ema_decay=0.0)
    everything = {"validation": 0, "test": 0}
    train_model(source, small, config, preparation=everything, out=folder / "run", device="cpu")
    return open_trained(folder / "run", device="cpu"), data


@pytest.fixture(scope="module")
def expected(original: tuple[Trained, Set]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """The likeliest completions and reconstructions: of an image and its conditions alone."""
    trained, own = original[0], DataRequest(split="train")
    completed = complete_images(trained, CompletionRequest(n=COUNT, draws=1), LIKELIEST, data=own)
    some = ReconstructionRequest(n=COUNT, draws=1)
    return completed.images, reconstruct_images(trained, some, LIKELIEST, data=own).images


ORDER = np.random.default_rng(1).permutation(COUNT)


@pytest.mark.parametrize("form", [arrays, archive, pictures])
@pytest.mark.parametrize("rows", [ORDER, ORDER[:5]], ids=["another order", "a part"])
def test_other_files_of_the_same_images_give_the_same_result(
    original: tuple[Trained, Set],
    expected: tuple[NDArray[np.integer], NDArray[np.integer]],
    tmp_path: Path,
    form: Callable[[Set, Path, str], DataRequest],
    rows: NDArray[np.int64],
) -> None:
    trained, data = original
    chosen, n = data.rows(rows), len(rows)
    request = form(chosen, tmp_path, "other")
    condition = (chosen.labels, chosen.vectors, chosen.maps[:, None].astype(np.int64))
    x = torch.from_numpy(chosen.images[:, None].astype(np.int64))
    nats = score(trained.distribution, x, tuple(torch.from_numpy(part) for part in condition))
    found = evaluate_model(trained, request)
    assert isinstance(found, Evaluation) and found.images == n
    assert found.nats_per_image == pytest.approx(-float(nats.mean()), rel=1e-5)
    worth = measure_condition(trained, request).worth
    assert worth.images == n
    assert worth.given == pytest.approx(-float(nats.mean()) / np.log(2), rel=1e-5)
    whole, some = CompletionRequest(n=n, draws=1), ReconstructionRequest(n=n, draws=1)
    completed = complete_images(trained, whole, LIKELIEST, data=request).images
    assert np.array_equal(completed, expected[0][rows])
    drawn = reconstruct_images(trained, some, LIKELIEST, data=request).images
    assert np.array_equal(drawn, expected[1][rows])


@pytest.mark.parametrize("missing", ["labels", "vectors", "maps"])
def test_nothing_is_carried_over_from_the_training(
    original: tuple[Trained, Set], tmp_path: Path, missing: str
) -> None:
    trained, data = original
    request = archive(data, tmp_path, "other")
    with np.load(tmp_path / "other.npz") as file:
        parts = {name: file[name] for name in file if not name.endswith(missing)}
    np.savez(tmp_path / "other.npz", **parts)
    for use in (evaluate_model, measure_condition):
        with pytest.raises(UsageError, match=f"conditioned on {missing}, but .*other.npz has none"):
            use(trained, request)


def test_labels_are_matched_by_name(original: tuple[Trained, Set], tmp_path: Path) -> None:
    trained, data = original
    # Of the numbers 1 and 2 alone, 1 would be class 0 if they were counted.
    rows = np.flatnonzero(data.labels > 0)
    for form in (arrays, archive, pictures):
        found = evaluate_model(trained, form(data.rows(rows), tmp_path, form.__name__))
        assert isinstance(found, Evaluation) and found.images == len(rows)
    request = arrays(data.rows(rows), tmp_path, "y")
    np.save(tmp_path / "y_labels.npy", data.labels[rows] + 5)
    with pytest.raises(UsageError, match="has the class '6', but the model knows only 0, 1, 2"):
        evaluate_model(trained, request)
    # An unknown label stays unknown, and has no worth to measure.
    np.save(tmp_path / "y_labels.npy", np.where(rows % 2, data.labels[rows], -1))
    assert measure_condition(trained, request).worth.images == int((rows % 2).sum())
