"""Every command gives what the library's call gives, and every option another output.

The data are RGB, their splits differ in size, and their classes, vectors and maps decide much.
"""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from borders import asked_of, cells, drawn, nextpixel, split_of_arrays, write_splits
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nextpixel import TrainConfig, complete, dequantised_bits_per_dim, load, sample, score
from nextpixel.analysis.condition_worth import condition_worth
from nextpixel.analysis.receptive_fields import effective_receptive_field
from nextpixel.checkpoint import load_embedding
from nextpixel.inference.interpolation import interpolate
from nextpixel.models.core import ImageModel
from nextpixel.models.embedding import embed
from nextpixel.scoring import scale_scores

HEIGHT, WIDTH, LEVELS, CLASSES = 4, 6, 4, 3
NAMES = ["red", "green", "blue"]
COUNTS = {"train": 24, "valid": 5, "test": 7}
SMALL = ["--levels", LEVELS, "--features", 6, "--layers", 1, "--kernel-size", 3, "--quiet"]
LEARNS = ["--steps", 40, "--batch-size", 12, "--learning-rate", 0.03, "--ema-decay", 0.0]


@dataclass(frozen=True)
class World:
    """A file of arrays, and runs on it: of classes, of classes, vectors and maps, of two scales."""

    arrays: dict[str, NDArray[Any]]
    source: Path
    classes: Path
    everything: Path
    scales: Path

    def x(self, split: str, rows: Any = slice(None)) -> Tensor:
        return torch.from_numpy(self.arrays[f"{split}_images"][rows]).long().permute(0, 3, 1, 2)

    def labels(self, split: str, rows: Any = slice(None)) -> Tensor:
        return torch.from_numpy(self.arrays[f"{split}_labels"][rows])

    def given(self, split: str, rows: Any = slice(None)) -> tuple[Tensor, ...]:
        maps = torch.from_numpy(self.arrays[f"{split}_maps"][rows])
        vectors = torch.from_numpy(self.arrays[f"{split}_vectors"][rows])
        return self.labels(split, rows), vectors, (maps if maps.ndim == 4 else maps[:, None])


def arrays_of(splits: dict[str, int]) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {"label_names": np.array(NAMES)}
    for split, n in splits.items():
        labels = generator.permutation(np.arange(n) % CLASSES)
        bright = np.eye(3)[labels][:, None, None, :] * 2
        noise = generator.integers(0, 2, size=(n, HEIGHT, WIDTH, 3))
        arrays |= {
            f"{split}_images": (bright + noise).astype(np.uint8),
            f"{split}_labels": labels,
            f"{split}_vectors": generator.normal(size=(n, 2)).astype(np.float32),
            f"{split}_maps": generator.normal(size=(n, HEIGHT, WIDTH)).astype(np.float32),
        }
    return arrays


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    arrays = arrays_of(COUNTS)
    few = {
        key: value
        for key, value in arrays.items()
        if not key.endswith("vectors") and not key.endswith("maps")
    }
    source = write_splits(folder / "classes.npz", **few)
    everything = write_splits(folder / "everything.npz", **arrays)
    drop = ["--condition-dropout", 0.2]
    nextpixel("train", source, "--out", folder / "classes", *SMALL, *LEARNS, *drop)
    nextpixel("train", everything, "--out", folder / "everything", *SMALL, *LEARNS, *drop)
    two = ["--scale", 2, "--head", "logistic", "--no-conditional", "--steps", 2]
    nextpixel("train", source, "--out", folder / "scales", *SMALL, *two)
    runs = [folder / name for name in ("classes", "everything", "scales")]
    return World(arrays, everything, *runs)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(found: NDArray[Any], wanted: Tensor) -> bool:
    return found.shape == tuple(wanted.shape) and np.array_equal(found, wanted.numpy())


# --- sample ---

SAMPLES: dict[str, tuple[list[object], dict[str, Any]]] = {
    "usual": ([], {}),
    "n": (["--n", 8], {"n": 8, "labels": [0, 0, 0, 1, 1, 1, 2, 2]}),
    "few": (["--n", 2], {"n": 2, "labels": [0, 1]}),
    "per class": (["--per-class", 2], {"n": 6}),
    "size": (["--size", "3x7"], {"shape": (3, 7)}),
    "side": (["--size", "5"], {"shape": (5, 5)}),
    "temperature": (["--temperature", 0.4], {"temperature": 0.4}),
    "hot": (["--temperature", 3], {"temperature": 3.0}),
    "coldest": (["--temperature", 0], {"temperature": 0.0}),
    "guidance": (["--guidance", 3], {"guidance": 3.0}),
    "unguided": (["--guidance", 0], {"guidance": 0.0}),
    "seed": (["--seed", 5], {"seed": 5}),
    "batch": (["--batch-size", 4], {}),
    "by name": (["--class", "green"], {"labels": [1] * 9}),
    "by number": (["--class", "2"], {"labels": [2] * 9}),
    "first": (["--class", "0"], {"labels": [0] * 9}),
    "unknown": (["--class", "none"], {"labels": [-1] * 9}),
    "all": (["--class", "all", "--n", 6], {"n": 6}),
}


def samples_wanted(model: ImageModel, **options: Any) -> Tensor:
    n = options.pop("n", 9)
    labels = options.pop("labels", [k for k in range(CLASSES) for _ in range(n // CLASSES)])
    return sample(
        model,
        n,
        options.pop("shape", (HEIGHT, WIDTH)),
        condition=torch.tensor(labels),
        generator=seeded(options.pop("seed", 0)),
        **options,
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_those_of_the_library(name: str, world: World, tmp_path: Path) -> None:
    words, options = SAMPLES[name]
    model = load(world.classes)
    n = [] if "--n" in words or "--per-class" in words else ["--n", 9]
    found = drawn(tmp_path / "x.npy", "sample", world.classes, *n, *words)
    assert same(found, samples_wanted(model, **options))
    usual = samples_wanted(model)
    if name not in ("usual", "batch"):
        assert not same(found, usual)


def test_samples_in_a_grid_and_in_a_folder(world: World, tmp_path: Path) -> None:
    x = samples_wanted(load(world.classes)).numpy()
    for words, columns, scale in [([], 3, 1), (["--columns", 2], 2, 1), (["--scale", 3], 3, 3)]:
        nextpixel("sample", world.classes, "--n", 9, "--out", tmp_path / "x.png", *words)
        found = cells(tmp_path / "x.png", HEIGHT, WIDTH, columns=columns, scale=scale)
        assert np.array_equal(found[:9], x * 85)
    nextpixel("sample", world.classes, "--n", 12, "--out", tmp_path / "folder")
    names = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert names == [f"{k:02d}_{NAMES[k // 4]}.png" for k in range(12)]
    twelve = samples_wanted(load(world.classes), n=12).numpy()
    for k, name in enumerate(names):
        with Image.open(tmp_path / "folder" / name) as picture:
            assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), twelve[k] * 85)


def test_samples_of_a_model_of_several_conditions(world: World, tmp_path: Path) -> None:
    """What is not given is that of the first pictures of a split, again from the first on."""
    model, out = load(world.everything), tmp_path / "x.npy"
    np.save(tmp_path / "v.npy", np.array([[3.0, -3.0], [-3.0, 3.0]], np.float32))
    vectors = torch.tensor([[3.0, -3.0], [-3.0, 3.0]])[torch.arange(9) % 2]
    for words, split, change in [
        ([], "test", {}),
        (["--split", "valid"], "valid", {}),
        (["--split", "train"], "train", {}),
        (["--class", "green"], "test", {0: torch.ones(9, dtype=torch.long)}),
        (["--class", "none"], "test", {0: -torch.ones(9, dtype=torch.long)}),
        (["--vectors", tmp_path / "v.npy"], "test", {1: vectors}),
    ]:
        values = list(world.given(split, np.arange(9) % COUNTS[split]))
        for place, value in change.items():
            values[place] = value
        wanted = sample(model, 9, (HEIGHT, WIDTH), condition=tuple(values), generator=seeded())
        assert same(drawn(out, "sample", world.everything, "--n", 9, *words), wanted), words


# --- complete ---

HIDDEN = {
    "bottom": lambda row, column: row >= 2,
    "top": lambda row, column: row < 2,
    "left": lambda row, column: column < 3,
    "right": lambda row, column: column >= 3,
    "centre": lambda row, column: 1 <= row < 3 and 1 <= column < 5,
    "scratches": lambda row, column: (
        column in (1 + row // 2, 4 - row // 3) or row == 1 + column // 4
    ),
    "between": lambda row, column: row % 2 == 1 or column % 2 == 1,
    "all": lambda row, column: True,  # noqa: ARG005
}


def known_of(name: str) -> Tensor:
    return torch.tensor([[not HIDDEN[name](i, j) for j in range(WIDTH)] for i in range(HEIGHT)])


COMPLETIONS: dict[str, tuple[list[object], dict[str, Any]]] = {
    "usual": ([], {}),
    "n": (["--n", 2], {"n": 2}),
    "n beyond": (["--n", 50], {"n": COUNTS["test"]}),
    "draws": (["--draws", 3], {"draws": 3}),
    "temperature": (["--temperature", 0.3], {"temperature": 0.3}),
    "coldest": (["--temperature", 0], {"temperature": 0.0}),
    "seed": (["--seed", 4], {"seed": 4}),
    "particles": (["--hide", "left", "--particles", 3], {"hide": "left", "particles": 3}),
    "a colour": (["--hide", "all", "--known", 1], {"hide": "all", "colours": [1]}),
    "two colours": (["--known", "0,2"], {"colours": [0, 2]}),
    "valid": (["--split", "valid"], {"split": "valid"}),
    "train": (["--split", "train"], {"split": "train"}),
    "class": (["--class", "green"], {"labels": [1] * 4}),
    "no class": (["--class", "none"], {"labels": [-1] * 4}),
} | {hide: (["--hide", hide], {"hide": hide}) for hide in HIDDEN}


def completions_wanted(world: World, **options: Any) -> Tensor:
    n, split = options.pop("n", 4), options.pop("split", "test")
    labels = options.pop("labels", world.labels(split, slice(n)).tolist())
    known = known_of(options.pop("hide", "bottom")).repeat(3, 1, 1)
    known[options.pop("colours", [])] = True
    return complete(
        load(world.classes),
        world.x(split, slice(n)),
        known,
        draws=options.pop("draws", 2),
        condition=torch.tensor(labels),
        generator=seeded(options.pop("seed", 0)),
        **options,
    )


@pytest.mark.parametrize("name", COMPLETIONS)
def test_completions_are_those_of_the_library(name: str, world: World, tmp_path: Path) -> None:
    words, options = COMPLETIONS[name]
    words = [*([] if "--n" in words else ["--n", 4]), *words]
    words = [*([] if "--draws" in words else ["--draws", 2]), *words]
    found = drawn(tmp_path / "x.npy", "complete", world.classes, *words)
    assert same(found, completions_wanted(world, **options))
    if name not in ("usual", "bottom"):
        assert not same(found, completions_wanted(world))


def test_a_picture_of_completions_and_a_mask(world: World, tmp_path: Path) -> None:
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[1, 2:5], mask[2, 3], mask[3, 0] = 0, 127, 128
    Image.fromarray(mask).save(tmp_path / "mask.png")
    known = torch.from_numpy(mask >= 128)
    x = world.x("test", slice(3))
    wanted = complete(
        load(world.classes),
        x,
        known,
        draws=2,
        condition=world.labels("test", slice(3)),
        generator=seeded(),
    )
    words = ["complete", world.classes, "--n", 3, "--draws", 2, "--mask", tmp_path / "mask.png"]
    assert same(drawn(tmp_path / "x.npy", *words), wanted)
    for scale in (1, 2):
        nextpixel(*words, "--scale", scale, "--out", tmp_path / "x.png")
        shown = cells(tmp_path / "x.png", HEIGHT, WIDTH, columns=4, scale=scale)
        for k in range(3):
            given = torch.where(known, x[k], LEVELS // 2)
            row = torch.stack([x[k], given, *wanted[k]]).numpy()
            assert np.array_equal(shown[4 * k : 4 * k + 4], row * 85)


def test_completions_of_other_pictures_have_what_stands_beside_them(
    world: World, tmp_path: Path
) -> None:
    generator = np.random.default_rng(5)
    x = generator.integers(4, size=(3, HEIGHT, WIDTH, 3)).astype(np.uint8)
    vectors = generator.normal(size=(3, 2)).astype(np.float32)
    maps = generator.normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)
    for name, value in (("x", x), ("v", vectors), ("m", maps)):
        np.save(tmp_path / f"{name}.npy", value)
    beside = ["--vectors", tmp_path / "v.npy", "--maps", tmp_path / "m.npy"]
    words = ["--data", tmp_path / "x.npy", "--class", "blue", *beside, "--draws", 2]
    found = drawn(tmp_path / "o.npy", "complete", world.everything, *words)
    labels = torch.full((3,), 2)
    values = labels, torch.from_numpy(vectors), torch.from_numpy(maps)[:, None]
    pictures = torch.from_numpy(x).long().permute(0, 3, 1, 2)
    wanted = complete(
        load(world.everything),
        pictures,
        known_of("bottom"),
        draws=2,
        condition=values,
        generator=seeded(),
    )
    assert same(found, wanted)


# --- reconstruct, interpolate ---

RECONSTRUCTIONS: dict[str, tuple[list[object], dict[str, Any]]] = {
    "usual": ([], {}),
    "n": (["--n", 2], {"rows": [0, 1]}),
    "draws": (["--draws", 3], {"draws": 3}),
    "spread": (["--spread"], {"rows": [0, 2, 4, 6]}),
    "valid": (["--split", "valid"], {"split": "valid"}),
    "temperature": (["--temperature", 0.3], {"temperature": 0.3}),
    "guidance": (["--guidance", 4], {"guidance": 4.0}),
    "seed": (["--seed", 3], {"seed": 3}),
}


def reconstructions_wanted(world: World, **options: Any) -> Tensor:
    rows, draws = options.pop("rows", [0, 1, 2, 3]), options.pop("draws", 2)
    values = world.given(options.pop("split", "test"), rows)
    n = len(rows)
    return sample(
        load(world.everything),
        n * draws,
        (HEIGHT, WIDTH),
        condition=tuple(value[[k // draws for k in range(n * draws)]] for value in values),
        generator=seeded(options.pop("seed", 0)),
        **options,
    ).view(n, draws, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_reconstructions_are_those_of_the_library(name: str, world: World, tmp_path: Path) -> None:
    words, options = RECONSTRUCTIONS[name]
    words = [*([] if "--n" in words else ["--n", 4]), *words]
    words = [*([] if "--draws" in words else ["--draws", 2]), *words]
    found = drawn(tmp_path / "x.npy", "reconstruct", world.everything, *words)
    assert same(found, reconstructions_wanted(world, **options))
    if name != "usual":
        assert not same(found, reconstructions_wanted(world))
    if name == "usual":
        nextpixel(
            "reconstruct", world.everything, *words, "--scale", 2, "--out", tmp_path / "x.png"
        )
        shown = cells(tmp_path / "x.png", HEIGHT, WIDTH, columns=3, scale=2)
        for k in range(4):
            row = [world.x("test", [k]).numpy()[0], *found[k]]
            assert np.array_equal(shown[3 * k : 3 * k + 3], np.stack(row) * 85)


INTERPOLATIONS: dict[str, tuple[list[object], dict[str, Any]]] = {
    "usual": ([], {}),
    "between": (["--between", 5, 1], {"pairs": [(5, 1)]}),
    "rows": (["--rows", 1], {"pairs": [(0, 3)]}),
    "steps": (["--steps", 4], {"steps": 4}),
    "keep length": (["--keep-length"], {"keep_length": True}),
    "train": (["--split", "train"], {"split": "train", "pairs": [(0, 12), (6, 18)]}),
    "temperature": (["--temperature", 0.4], {"temperature": 0.4}),
    "guidance": (["--guidance", 4], {"guidance": 4.0}),
    "seed": (["--seed", 3], {"seed": 3}),
}


def interpolations_wanted(world: World, **options: Any) -> Tensor:
    model, split = load(world.everything), options.pop("split", "test")
    pairs = options.pop("pairs", [(0, 2), (1, 3)])
    seed, steps = options.pop("seed", 0), options.pop("steps", 3)
    rows = []
    for pair in pairs:
        first, last = (tuple(value[0] for value in world.given(split, [k])) for k in pair)
        rows.append(
            interpolate(
                model, first, last, (HEIGHT, WIDTH), steps=steps, generator=seeded(seed), **options
            )
        )
    return torch.stack(rows)


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_interpolations_are_those_of_the_library(name: str, world: World, tmp_path: Path) -> None:
    words, options = INTERPOLATIONS[name]
    words = [*([] if "--rows" in words else ["--rows", 2]), *words]
    words = [*([] if "--steps" in words else ["--steps", 3]), *words]
    found = drawn(tmp_path / "x.npy", "interpolate", world.everything, *words)
    assert same(found, interpolations_wanted(world, **options))
    if name != "usual":
        assert not same(found, interpolations_wanted(world))
    if name == "usual":
        nextpixel(
            "interpolate", world.everything, *words, "--scale", 2, "--out", tmp_path / "x.png"
        )
        shown = cells(tmp_path / "x.png", HEIGHT, WIDTH, columns=5, scale=2)
        for k, (first, last) in enumerate([(0, 2), (1, 3)]):
            ends = world.x("test", [first, last]).numpy()
            row = np.stack([ends[0], *found[k], ends[1]])
            assert np.array_equal(shown[5 * k : 5 * k + 5], row * 85)


# --- figures ---


def json_of(*words: object) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(nextpixel(*words, "--json"))
    return figures


@pytest.mark.parametrize("split", COUNTS)
def test_figures_of_an_evaluation(split: str, world: World) -> None:
    figures = json_of("evaluate", world.everything, "--split", split)
    x, n = world.x(split), COUNTS[split]
    nats = score(load(world.everything), x, world.given(split))
    dims = 3 * HEIGHT * WIDTH
    assert figures["images"] == n and figures["split"] == split
    assert figures["nats_per_image"] == pytest.approx(-float(nats.mean()), rel=1e-5)
    assert figures["bits_per_dim"] == pytest.approx(
        -float(nats.sum()) / (n * dims * math.log(2)), rel=1e-5
    )
    assert figures["uniform_bits_per_dim"] == 2.0
    assert figures["conditional"] is True
    assert ("histogram_bits_per_dim" in figures) == (split == "test")
    if split == "test":
        assert figures["histogram_bits_per_dim"] == pytest.approx(histogram_by_loops(world))
    said = nextpixel("evaluate", world.everything, "--split", split)
    assert f"{n} images" in said and f"{figures['nats_per_image']:.2f} nats per image" in said
    assert f"{figures['bits_per_dim']:.4f}" in said and "2.0000" in said


def histogram_by_loops(world: World) -> float:
    train, test, bits = world.x("train").numpy(), world.x("test").numpy(), 0.0
    for site in np.ndindex(3, HEIGHT, WIDTH):
        for image in test:
            count = sum(int(other[site] == image[site]) for other in train)
            bits -= math.log2((count + 1) / (len(train) + LEVELS))
    return bits / test.size


@pytest.mark.parametrize("split", ["train", "test"])
def test_figures_of_scales_and_densities(split: str, world: World) -> None:
    figures = json_of("evaluate", world.scales, "--split", split)
    model, x = load(world.scales), world.x(split)
    by_scale = scale_scores(model, x)
    assert [part["step"] for part in figures["scales"]] == [2, 1]
    found = [part["nats_per_image"] for part in figures["scales"]]
    assert found == pytest.approx((-by_scale.mean(dim=0)).tolist(), rel=1e-5)
    assert sum(found) == pytest.approx(figures["nats_per_image"], rel=1e-6)
    assert found[0] < found[1] / 2  # a quarter of the pixels
    assert figures["conditional"] is False
    torch.manual_seed(0)
    densities = [dequantised_bits_per_dim(model, x) for _ in range(20)]
    spread = max(densities) - min(densities)
    assert abs(figures["dequantised_bits_per_dim"] - np.mean(densities)) < 2 * spread
    assert figures["dequantised_bits_per_dim"] != figures["bits_per_dim"]


def test_figures_of_other_pictures_are_of_all_of_them(world: World, tmp_path: Path) -> None:
    x = np.random.default_rng(3).integers(4, size=(6, HEIGHT, WIDTH, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    figures = json_of("evaluate", world.scales, "--data", tmp_path / "x.npy")
    assert (figures["images"], figures["split"]) == (6, "all")
    nats = score(load(world.scales), torch.from_numpy(x).long().permute(0, 3, 1, 2))
    assert figures["nats_per_image"] == pytest.approx(-float(nats.mean()), rel=1e-5)
    assert "histogram_bits_per_dim" not in figures
    labels = np.array([2, 0, 1, 1, 2, 2])
    np.save(tmp_path / "x_labels.npy", labels)
    other = write_splits(
        tmp_path / "o.npz", train_images=x, train_labels=labels, label_names=np.array(NAMES)
    )
    figures = json_of("evaluate", world.classes, "--data", other)
    nats = score(
        load(world.classes),
        torch.from_numpy(x).long().permute(0, 3, 1, 2),
        torch.from_numpy(labels),
    )
    assert figures["nats_per_image"] == pytest.approx(-float(nats.mean()), rel=1e-5)


@pytest.mark.parametrize("split", COUNTS)
def test_figures_of_what_a_condition_is_worth(split: str, world: World) -> None:
    arrays = world.x(split).numpy().astype(np.uint8), world.labels(split).numpy()
    part, model = split_of_arrays(*arrays), load(world.classes)
    for words, options in [
        ([], {}),
        (["--seed", 1], {"seed": 1}),
        (["--images", 4], {"images": 4}),
        (["--images", 4, "--seed", 2], {"images": 4, "seed": 2}),
    ]:
        figures = json_of("information", world.classes, "--split", split, *words)
        wanted = condition_worth(model, part, with_nothing=True, **options)
        for name in ("images", "given", "shuffled", "nothing", "bits", "accuracy", "class_bits"):
            assert figures[name] == pytest.approx(getattr(wanted, name), rel=1e-4, abs=1e-4), name
        assert figures["standard_error"] == pytest.approx(wanted.standard_error, rel=1e-3)
        assert figures["split"] == split
    nats = score(model, world.x(split), world.labels(split))
    figures = json_of("information", world.classes, "--split", split)
    assert figures["given"] == pytest.approx(-float(nats.mean()) / math.log(2), rel=1e-5)


def test_figures_of_the_data(world: World) -> None:
    figures = json_of("data", world.source, "--levels", LEVELS)
    assert (figures["channels"], figures["levels"]) == (3, LEVELS)
    assert figures["shape"] == [HEIGHT, WIDTH] and figures["classes"] == NAMES
    for split, n in COUNTS.items():
        x, told = world.x(split).numpy(), figures["splits"][split]
        assert told["images"] == n and told["mean"] == pytest.approx(x.mean())
        assert (told["lowest"], told["highest"]) == (x.min(), x.max())
        counts = {NAMES[k]: int((world.labels(split) == k).sum()) for k in range(CLASSES)}
        assert told["classes"] == counts
    shares = np.bincount(world.x("train").numpy().ravel(), minlength=LEVELS) / (
        COUNTS["train"] * 3 * HEIGHT * WIDTH
    )
    entropy = -sum(share * math.log2(share) for share in shares if share)
    assert figures["entropy_bits_per_dim"] == pytest.approx(entropy)
    assert figures["uniform_bits_per_dim"] == 2.0
    assert figures["histogram_bits_per_dim"] == pytest.approx(histogram_by_loops(world))
    said = nextpixel("data", world.source, "--levels", LEVELS)
    assert f"uniform {2:.2f}, one histogram {entropy:.2f}" in said


INSPECTIONS: dict[str, tuple[list[object], dict[str, Any]]] = {
    "usual": ([], {}),
    "image": (["--image", 3], {"image": 3}),
    "split": (["--split", "train"], {"split": "train"}),
    "images": (["--images", 2], {"images": 2}),
    "field pixel": (["--field-pixel", "3x1"], {"pixel": (3, 1)}),
}


@pytest.mark.parametrize("name", INSPECTIONS)
def test_what_inspect_says(name: str, world: World, tmp_path: Path) -> None:
    words, options = INSPECTIONS[name]
    split, image = options.get("split", "test"), options.get("image", 0)
    chosen = [(1, 4), (3, 2), (0, 0)]
    pixels = [word for row, column in chosen for word in ("--pixels", f"{row}x{column}")]
    said = nextpixel("inspect", world.everything, "--out", tmp_path, *pixels, *words)
    model, x = load(world.everything), world.x(split, [image])
    with torch.no_grad():
        law = model(x, world.given(split, [image]))
    for row, column in chosen:
        entropy = 0.0
        for c in range(3):
            for log_p in law.log_pmf(x, c)[0, :, row, column].double().tolist():
                entropy -= math.exp(log_p) * log_p / math.log(2)
        (line,) = (part for part in said.splitlines() if f"row {row}, column {column}:" in part)
        assert float(line.split()[-2]) == pytest.approx(entropy, abs=2e-3)
    rows = slice(options.get("images", 32))
    field = effective_receptive_field(
        model, world.x(split, rows), pixel=options.get("pixel"), condition=world.given(split, rows)
    )
    assert str(field) in said


def test_inspect_chooses_from_the_surest_to_the_least_sure(world: World, tmp_path: Path) -> None:
    said = nextpixel("inspect", world.everything, "--out", tmp_path)
    entropies = [float(line.split()[-2]) for line in said.splitlines() if "entropy" in line]
    x = world.x("test", [0])
    with torch.no_grad():
        law = load(world.everything)(x, world.given("test", [0]))
    bits = sum(
        torch.special.entr(law.log_pmf(x, c)[0].double().exp()).sum(dim=0) for c in range(3)
    ) / math.log(2)
    assert len(entropies) == 6 and entropies == sorted(entropies)
    assert entropies[0] == pytest.approx(float(bits.min()), abs=2e-3)
    assert entropies[-1] == pytest.approx(float(bits.max()), abs=2e-3)


def test_check_takes_its_sizes_and_tells_what_is_no_model(world: World, tmp_path: Path) -> None:
    said = nextpixel("check", world.classes, "--size", "2x3")
    assert "3 channels, 2×3 pixels" in said and "causal and normalised" in said
    assert "2×2 pixels" in nextpixel("check", world.scales, "--size", "2")
    nextpixel(
        "check", world.classes, "--size", "1x2", "--field", 5, "--picture", tmp_path / "f.png"
    )
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.size == (3 * (5 * 8 + 1) + 1, 3 * (5 * 8 + 1) + 1)


def test_info_is_of_the_checkpoint(world: World) -> None:
    told = json_of("info", world.classes)
    model = load(world.classes)
    assert told["parameters"] == sum(p.numel() for p in model.parameters())
    assert told["classes"] == NAMES
    asked = asked_of(world.classes)
    assert told["training"]["config"] == asked["training"]
    assert asked["training"]["steps"] == 40 and asked["training"]["condition_dropout"] == 0.2


# --- train and embed: what is asked for arrives ---

TRAINING = {
    "batch_size": 5,
    "accumulate": 2,
    "optimizer": "adamw",
    "learning_rate": 0.0125,
    "weight_decay": 0.25,
    "warmup_steps": 3,
    "schedule": "constant",
    "clip_norm": 0.5,
    "ema_decay": 0.75,
    "precision": "float32",
    "recompute": True,
    "channels_last": False,
    "crop": 3,
    "flip": True,
    "condition_dropout": 0.25,
    "condition_noise": 0.5,
    "value_noise": 0.25,
    "seed": 7,
    "evaluate_every": 1,
    "patience": 3,
    "steps": 2,
    "objective": "density",
}
OF_CONDITIONS = "condition_dropout", "condition_noise"
MODELS: dict[str, dict[str, Any]] = {
    "gated-pixel-cnn": {
        "features": 9,
        "layers": 2,
        "kernel_size": 3,
        "first_kernel_size": 5,
        "head_features": 12,
        "skip": True,
        "dropout": 0.25,
        "head": "logistic",
    },
    "pixel-cnn": {"position_waves": 1, "residual": False, "gated": True, "features": 9},
    "diagonal-bilstm": {"complete_context": True, "features": 9, "skip": True},
    "row-lstm": {"residual": False, "features": 9, "dropout": 0.5},
}


def words_of(options: dict[str, Any]) -> list[object]:
    words: list[object] = []
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", value]
    return words


@pytest.mark.parametrize("kind", MODELS)
def test_all_that_is_asked_of_a_training_is_done(kind: str, world: World, tmp_path: Path) -> None:
    training = TRAINING if kind == "gated-pixel-cnn" else {"steps": 1, "batch_size": 3}
    options = training | MODELS[kind]
    run = tmp_path / "run"
    data = ["--levels", LEVELS, "--quiet", "--out", run]
    nextpixel(
        "train",
        world.source,
        *data,
        "--model",
        kind,
        "--no-conditional",
        *words_of({key: value for key, value in options.items() if key not in OF_CONDITIONS}),
    )
    asked = asked_of(run)
    for name, value in training.items():
        if name not in OF_CONDITIONS:
            assert asked["training"][name] == value, name
    config = load(run).config()
    for name, value in MODELS[kind].items():
        assert config[name] == value, name
    assert config["condition"] is None and (config["channels"], config["levels"]) == (3, LEVELS)


def test_the_options_above_are_all_there_are() -> None:
    assert {field.name for field in fields(TrainConfig)} - set(TRAINING) == {"epochs", "minutes"}


def test_the_seed_of_a_training_is_also_that_of_its_first_weights(
    world: World, tmp_path: Path
) -> None:
    weights = []
    for seed in (1, 1, 2):
        run = tmp_path / f"run{len(weights)}"
        still = ["--steps", 1, "--learning-rate", 1e-30, "--ema-decay", 0, "--seed", seed]
        nextpixel("train", world.source, "--out", run, *SMALL, *still)
        weights.append(torch.cat([p.flatten() for p in load(run).parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


DATA_OPTIONS: dict[str, tuple[list[object], dict[str, Any]]] = {
    "usual": ([], {}),
    "levels": (["--levels", 2], {"levels": 2}),
    "from levels": (["--levels", 2, "--from-levels", 4], {"levels": 2}),
    "size": (["--size", "3x4"], {"shape": [3, 4]}),
    "side": (["--size", "2"], {"shape": [2, 2]}),
    "labels": (["--ignore-labels"], {"classes": []}),
    "threshold": (["--binarise", "threshold", "--from-levels", 4], {"levels": 2}),
    "validation": (["--split-by", "index", "--validation", 3], {"sizes": (15, 3, 2)}),
    "shares": (["--split-by", "index", "--validation", 0.25, "--test", 0.5], {}),
    "test": (["--test", 5], {}),
    "split seed": (["--split-seed", 3], {}),
}


@pytest.mark.parametrize("name", DATA_OPTIONS)
def test_every_option_of_data_changes_what_is_said_of_them(name: str, tmp_path: Path) -> None:
    arrays = arrays_of({"train": 20})
    few = {key: arrays[key] for key in ("train_images", "train_labels", "label_names")}
    source = write_splits(tmp_path / "x.npz", **few)
    words, wanted = DATA_OPTIONS[name]
    usual, figures = (
        json_of("data", source, "--levels", 4),
        json_of(
            "data",
            source,
            *([] if "--levels" in words or "--binarise" in words else ["--levels", 4]),
            *words,
        ),
    )
    assert (usual == figures) == (name == "usual")
    sizes = tuple(figures["splits"][split]["images"] for split in ("train", "valid", "test"))
    assert sum(sizes) == 20
    for key, value in wanted.items():
        assert (sizes if key == "sizes" else figures[key]) == value
    x = arrays["train_images"]
    if name in ("threshold", "from levels"):
        mean = sum(
            figures["splits"][split]["mean"] * figures["splits"][split]["images"]
            for split in ("train", "valid", "test")
        )
        assert mean / 20 == pytest.approx((x >= 2).mean())
    if name == "shares":
        assert sizes == (5, 5, 10)


def test_an_embedding_is_that_of_its_options(world: World, tmp_path: Path) -> None:
    usual = {"steps": 3, "classes": 2, "each": 2, "outputs": 3, "features": 4, "held_out": 0}
    others: dict[str, Any] = {
        "steps": 4,
        "classes": 3,
        "each": 3,
        "margin": 1.5,
        "learning_rate": 0.1,
        "weight_decay": 0.9,
        "flip": True,
        "shift": 1,
        "seed": 1,
        "outputs": 4,
        "features": 5,
        "dropout": 0.5,
        "held_out": 1,
    }

    def made(**options: Any) -> tuple[Any, dict[str, Any]]:
        out = tmp_path / "e.safetensors"
        words = ["--levels", LEVELS, "--out", out, *words_of(usual | options)]
        figures = json_of("embed", world.source, *words)
        return embed(load_embedding(out), world.x("test")), figures

    vectors, figures = made()
    again, _ = made()
    assert torch.equal(vectors, again) and vectors.shape == (COUNTS["test"], 3)
    for name, value in others.items():
        changed, other_figures = made(**{name: value})
        assert changed.shape != vectors.shape or not torch.equal(changed, vectors), name
        assert (other_figures["held_out"] == 1) == (name == "held_out")
    # Pairs of validation and test pictures, whose classes are all known.
    labels = torch.cat([world.labels("valid"), world.labels("test")])
    pairs = len(labels) * (len(labels) - 1) // 2
    same_class = sum(int(labels[a] == labels[b]) for a in range(len(labels)) for b in range(a))
    assert (figures["known"]["images"], figures["known"]["pairs"]) == (len(labels), pairs)
    assert figures["known"]["same"] == same_class
