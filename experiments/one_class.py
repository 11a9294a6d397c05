"""Trained on one kind of picture, which scores tell the other kinds from new ones of this kind?

    python experiments/one_class.py FOLDER

FOLDER holds mnist_binarized.npz, fashion.npz (Fashion-MNIST) and kodak/, photographs as PNG files.
Normal are the digits, or clothes, of one class, or tiles of one photograph; the others are those of
all other classes or photographs. A small model is trained on some, typicality and p-values are
fitted on others, and AUROCs are of new ones: tiles of a photograph are from different parts of it.
Beside the columns of the table that `nextpixel score` writes stand two other methods, which get the
pictures that the model was trained on and those that were fitted on: the residual of principal
components with three quarters of the variance at full size, and the distance from the nearest
neighbour. Writes results/one_class.json after each; runs and tables are kept in runs/.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from anomaly import checked
from anomaly_baselines import components
from common import description, tiles, trained, write
from numpy.typing import NDArray
from PIL import Image

from nextpixel import TrainConfig
from nextpixel.inference.scores import score_images
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.scores import ScoreRequest

PLACE = Path("runs") / "one_class"
COLUMNS = "nats", "z", "anomaly", "typicality", "residual", "p_value"
CLASSES = 0, 4, 8
PHOTOGRAPHS = "kodim01", "kodim05", "kodim09"
TILE, OTHERS = 32, 330
Pictures = NDArray[np.uint8]
Parts = dict[str, Pictures]
"""Pictures to train on, to fit on, new ones, and the others."""


def some(x: Pictures, count: int) -> Pictures:
    return x[np.random.default_rng(0).permutation(len(x))[:count]]


def of_class(file: Path, kind: int) -> Parts:
    with np.load(file) as arrays:
        train, labels = arrays["train_images"], arrays["train_labels"].ravel()
        test, test_labels = arrays["test_images"], arrays["test_labels"].ravel()
    own = some(train[labels == kind], 1600)
    return {
        "train": own[:1200],
        "fit": own[1200:],
        "new": some(test[test_labels == kind], 200),
        "others": some(test[test_labels != kind], OTHERS),
    }


def of_photograph(folder: Path, name: str) -> Parts:
    """The left two thirds to train on; of the rest every second row of tiles to fit on."""
    every = {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in folder.iterdir()}
    own = every.pop(name)
    third = own.shape[1] * 2 // 3
    rest = [
        tiles(own[top : top + TILE, third:], TILE, TILE) for top in range(0, len(own) - TILE, TILE)
    ]
    others = [
        some(np.stack(tiles(x, TILE, TILE)), OTHERS // len(every)) for _, x in sorted(every.items())
    ]
    return {
        "train": np.stack(tiles(own[:, :third], TILE, TILE // 2)),
        "fit": np.concatenate(rest[::2]),
        "new": np.concatenate(rest[1::2]),
        "others": np.concatenate(others),
    }


def tasks(folder: Path) -> Iterator[tuple[str, Parts, dict[str, int], TrainConfig]]:
    """Names, pictures, their preparation and the training."""
    short = TrainConfig(steps=300, batch_size=16, evaluate_every=300)
    for kind in CLASSES:
        parts = of_class(folder / "mnist_binarized.npz", kind)
        yield f"digit {kind}", parts, {"levels": 2, "from_levels": 2}, short
    for kind in CLASSES:
        yield f"clothes {kind}", of_class(folder / "fashion.npz", kind), {"levels": 16}, short
    for name in PHOTOGRAPHS:
        yield f"photograph {name}", of_photograph(folder / "kodak", name), {"levels": 256}, short


def principal(good: Pictures, test: Pictures) -> NDArray[np.float64]:
    mean, axes = components(good.astype(np.float32), 0.75)
    away = test.reshape(len(test), -1) - mean
    found: NDArray[np.float64] = np.square(away - away @ axes.T @ axes).sum(axis=1)
    return found


def nearest(good: Pictures, test: Pictures) -> NDArray[np.float64]:
    one, other = (x.reshape(len(x), -1).astype(np.float64) for x in (test, good))
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    found: NDArray[np.float64] = squares.min(axis=1)
    return found


def figures(
    name: str, parts: Parts, preparation: dict[str, int], training: TrainConfig
) -> dict[str, object]:
    place = PLACE / name.replace(" ", "_")
    place.mkdir(parents=True, exist_ok=True)
    held_out = len(parts["train"]) // 10
    np.savez(
        place / "train.npz",
        train_images=parts["train"][held_out:],
        valid_images=parts["train"][:held_out],
    )
    colour = parts["train"].ndim == 4
    network = {"features": 24, "layers": 5}
    choice = ModelChoice(network=network | ({"head": "logistic"} if colour else {}))
    run = trained(
        f"one_class/{place.name}/run", f"{place}/train.npz", choice, training, **preparation
    )
    np.savez(place / "fit.npz", images=parts["fit"])
    np.savez(place / "new.npz", images=np.concatenate([parts["new"], parts["others"]]))
    request = ScoreRequest(fit=True, normal=place / "fit.npz", out=place / "scores.csv")
    (place / "scores.csv").unlink(missing_ok=True)
    scored = score_images(run, request, data=DataRequest(data=place / "new.npz"))
    rows = {int(row["name"]): row for row in scored.rows}
    labels = np.repeat([0, 1], [len(parts["new"]), len(parts["others"])])
    auroc = {}
    for column in COLUMNS:
        values = np.array([rows[k][column] for k in range(len(labels))])
        auroc[column] = checked(-values if column == "p_value" else values, labels)["auroc"]
    good = np.concatenate([parts["train"], parts["fit"]])
    test = np.concatenate([parts["new"], parts["others"]])
    for method, function in (("PCA", principal), ("nearest neighbour", nearest)):
        auroc[method] = checked(function(good, test), labels)["auroc"]
    return {
        "counts": {part: len(x) for part, x in parts.items()},
        "auroc": auroc,
        "run": description(run),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    found: dict[str, object] = {}
    for name, *task in tasks(folder):
        found[name] = figures(name, *task)
        write("one_class", {"command": "python experiments/one_class.py FOLDER", "tasks": found})
        print(name, found[name]["auroc"], flush=True)  # type: ignore[index]


if __name__ == "__main__":
    main()
