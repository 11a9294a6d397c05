"""What belongs to images is found with them, whatever they are called and however they are kept."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nextpixel import GatedPixelCNN, TrainConfig, VectorCondition, sample, save, train_model
from nextpixel.data.load import DataError, Preparation, load_data
from nextpixel.errors import UsageError
from nextpixel.files.card import ModelCard
from nextpixel.inference.completion import complete_images
from nextpixel.inference.conditions import conditions_of_request
from nextpixel.inference.drawing import draw_images
from nextpixel.inference.evaluation import Evaluation, evaluate_model
from nextpixel.inference.masks import known_pixels
from nextpixel.inference.publishing import publish
from nextpixel.inference.reconstruction import reconstruct_images
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.inference.worth import measure_condition
from nextpixel.scoring import score
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import (
    CompletionRequest,
    DataRequest,
    ReconstructionRequest,
    SampleConfig,
    SampleRequest,
)
from nextpixel.settings.source import Source

COUNT = 12
SMALL = {"levels": 4, "features": 6, "layers": 1, "kernel_size": 3}
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


def test_samples_of_maps_and_vectors_without_images(
    original: tuple[Trained, Set], tmp_path: Path
) -> None:
    """Image k has the map, the vector and the class that are its own."""
    trained, data = original
    np.save(tmp_path / "top.npy", data.maps[:2])
    np.save(tmp_path / "v.npy", data.vectors[:3])
    request = DataRequest(maps=tmp_path / "top.npy", vectors=tmp_path / "v.npy")
    drawn = draw_images(trained, SampleRequest(n=6, class_="all"), LIKELIEST, data=request)
    condition = (
        torch.tensor([0, 0, 1, 1, 2, 2]),
        torch.from_numpy(data.vectors[[0, 1, 2, 0, 1, 2]]),
        torch.from_numpy(data.maps[[0, 1, 0, 1, 0, 1], None].astype(np.int64)),
    )
    network = trained.distribution
    wanted = sample(network, 6, (4, 4), condition=condition, temperature=0.0)
    assert np.array_equal(drawn.images, wanted.numpy())
    np.save(tmp_path / "top.npy", data.maps[:2, :3])
    with pytest.raises(UsageError, match="maps of 3×4 and 1 channel, but images of 4×4 take"):
        draw_images(trained, SampleRequest(n=2, class_="0"), data=request)
    assert draw_images(
        trained, SampleRequest(per_class=2), data=replace(request, maps=None, split="train")
    ).names == tuple("001122")
    with pytest.raises(UsageError, match="n=3 and per_class=2 both say"):
        SampleRequest(n=3, per_class=2)


def test_a_model_of_several_labels_is_asked_by_name(tmp_path: Path) -> None:
    names = ("blue", "red")
    model = GatedPixelCNN(**SMALL, condition=VectorCondition(2))
    prepared = Preparation(attributes=names, levels=4)
    save(model, tmp_path / "m", card=ModelCard(shape=(3, 4), preparation=prepared))
    trained = open_trained(tmp_path / "m", device="cpu")
    for asked, vector in (("red", [0.0, 1.0]), ("red;blue", [1.0, 1.0]), ("", [0.0, 0.0])):
        values = conditions_of_request(trained, 2, (3, 4), class_=asked)
        assert values[0].tolist() == [vector] * 2
    assert conditions_of_request(trained, 1, (3, 4), class_="none")[0].isnan().all()
    with pytest.raises(UsageError, match="has the label 'green', but the model knows blue, red"):
        conditions_of_request(trained, 1, (3, 4), class_="green")
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 4), np.uint8))
    with pytest.raises(UsageError, match="give a table of the labels blue, red as labels="):
        evaluate_model(trained, DataRequest(data=tmp_path / "x.npy"))
    with pytest.raises(UsageError, match="maps= was given, but this model is not conditioned on"):
        evaluate_model(trained, DataRequest(data=tmp_path / "x.npy", maps=tmp_path / "x.npy"))
    clean = publish(tmp_path / "m", tmp_path / "clean").card.preparation
    assert clean is not None and clean.attributes == ("0", "1")


def test_maps_of_reals_are_standardised_on_request(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.integers(0, 4, (20, 4, 4), dtype=np.uint8))
    maps = rng.normal(1e20, 1e18, size=(20, 2, 4, 4))
    maps[:, 1] = 7.0  # constant
    maps[3] = np.nan  # unknown
    np.save(tmp_path / "m.npy", maps)
    source = Source(tmp_path / "x.npy", maps=tmp_path / "m.npy")
    data = load_data(source, Preparation(standardise=True, validation=0, test=0))
    found = np.delete(data.train.maps, 3, axis=0)  # type: ignore[arg-type]
    assert abs(found[:, 0].mean()) < 1e-6 and found[:, 0].std() == pytest.approx(1)
    assert (found[:, 1] == 0).all() and np.isnan(data.train.maps[3]).all()  # type: ignore[index]
    # Of other images the same numbers are subtracted and divided by.
    np.save(tmp_path / "m.npy", maps + 1e18)
    again = load_data(source, data.preparation).train.maps
    assert again is not None and np.nanmean(again[:, 0]) == pytest.approx(
        1e18 / data.preparation.map_scale[1]  # type: ignore[index]
    )
    np.save(tmp_path / "m.npy", np.zeros(maps.shape, np.uint8))
    with pytest.raises(DataError, match="is for maps of real numbers, and there are none"):
        load_data(source, Preparation(standardise=True))


def test_masks_are_prepared_as_their_pictures(tmp_path: Path) -> None:
    """A picture of 6×8 is cropped to its middle 6×6 and reduced to 3×3; so is its mask."""
    (tmp_path / "x").mkdir()
    (tmp_path / "masks").mkdir()
    rng = np.random.default_rng(0)
    mask = np.full((6, 8), 255, np.uint8)
    mask[0, 1], mask[4:, 3], mask[:, 0] = 0, 100, 0  # the last column is cropped
    expected = np.array([[0, 1, 1], [1, 1, 1], [1, 0, 1]], bool)
    for k in range(2):
        Image.fromarray(rng.integers(0, 256, (6, 8), dtype=np.uint8)).save(tmp_path / f"x/{k}.png")
        Image.fromarray(np.roll(mask, 2 * k, axis=1)).save(tmp_path / f"masks/{k}.png")
    part = load_data(tmp_path / "x", Preparation(size=3, validation=0, test=0)).train
    rows = np.arange(2)

    def known(path: str) -> NDArray[np.bool_]:
        return known_pixels(CompletionRequest(mask=tmp_path / path), part, rows)

    assert np.array_equal(known("masks/0.png"), np.stack([expected, expected])[:, None])
    both = known("masks")
    assert np.array_equal(both[0, 0], expected) and both[1, 0].tolist()[2] == [False, True, False]
    see_through = np.full((6, 8, 4), 200, np.uint8)
    see_through[..., 3] = mask
    Image.fromarray(see_through).save(tmp_path / "clear.png")
    assert np.array_equal(known("clear.png")[0, 0], expected)
    Image.fromarray(expected).save(tmp_path / "small.png")
    assert np.array_equal(known("small.png")[1, 0], expected)
    Image.fromarray(mask[:, 1:]).save(tmp_path / "other.png")
    with pytest.raises(UsageError, match="is 6×7, but 0.png has 6×8, and 3×3 as the model sees it"):
        known("other.png")
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(UsageError, match=r"holds no mask for 1\.png \(1 of 2 images\)"):
        known("masks")
