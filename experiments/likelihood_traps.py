"""Pictures of another kind that raw likelihood takes for normal: which scores find them?

    python experiments/likelihood_traps.py FOLDER [FASHION MNIST PATCHES PNEUMONIA]

FOLDER holds arrays as `nextpixel train` takes them: fashion.npz, mnist.npz, mnist_binarized.npz,
omniglot_small.npz, patches32.npz and medmnist_pneumonia.npz. The models are the pretrained ones; of
the X-rays a small one is trained on normal ones alone. With --background the likelihood ratio is
taken against small models of the same pictures with noise (Ren et al., *Likelihood Ratios for
Out-of-Distribution Detection*, 2019). All figures are AUROCs of columns of the tables that
`nextpixel score` writes: new normal pictures against the others. Of the pictures given as --normal,
half fit typicality and half give p-values; none was trained on. Writes
results/likelihood_traps.json; runs and tables are kept in runs/.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from anomaly import checked
from common import RESULTS, description, trained, write
from PIL import Image

from nextpixel import TrainConfig
from nextpixel.inference.complexity import file_bits
from nextpixel.inference.scores import score_images
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.scores import ScoreRequest

PLACE = Path("runs") / "traps"
NORMAL, NEW, OTHERS = 800, 300, 300
JPEG_XL = "complexity_bits, jpeg-xl"
"""What the column is with `--complexity jpeg-xl`."""
COLUMNS = (
    "nats",
    "z",
    "complexity_bits",
    JPEG_XL,
    "ratio_nats",
    "anomaly",
    "typicality",
    "residual",
    "p_value",
)
NOISE = 0.2


@dataclass(frozen=True)
class Trap:
    """Normal pictures, and others that look likely.

    Args:
        model: a pretrained model; "" trains one on `train`.
        normal, new: normal pictures that were not trained on.
        others: by their names.
        train: what a background, or the model, is trained on.
        levels: of the pictures as they are stored.
    """

    model: str
    normal: np.ndarray
    new: np.ndarray
    others: dict[str, np.ndarray]
    train: np.ndarray
    preparation: dict[str, int]


def some(x: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    return x[np.random.default_rng(seed).permutation(len(x))[:count]]


def fashion(folder: Path) -> Trap:
    with np.load(folder / "fashion.npz") as a, np.load(folder / "mnist.npz") as b:
        test = some(a["test_images"], NORMAL + NEW)
        return Trap(
            "fashion-mnist",
            test[:NORMAL],
            test[NORMAL:],
            {"MNIST": some(b["test_images"], OTHERS)},
            some(a["train_images"], 6000),
            {"levels": 16},
        )


def mnist(folder: Path) -> Trap:
    """White strokes on black, as in MNIST: Omniglot is turned over, reduced and thresholded."""
    with np.load(folder / "mnist_binarized.npz") as a, np.load(folder / "omniglot_small.npz") as b:
        test = some(a["test_images"], NORMAL + NEW)
        drawn = some(b["test_images"], OTHERS).astype(float)
        drawn = drawn / drawn.max()
        if drawn.mean() > 0.5:
            drawn = 1 - drawn
        small = [Image.fromarray(np.uint8(255 * x)).resize((28, 28), 4) for x in drawn]
        strokes = np.stack([np.asarray(x) for x in small]) > 64
        blank = np.zeros((OTHERS, 28, 28), np.uint8)
        blank[np.arange(OTHERS), 14, np.arange(OTHERS) % 28] = 1
        return Trap(
            "mnist-gated-pixel-cnn",
            test[:NORMAL],
            test[NORMAL:],
            {"Omniglot": strokes.astype(np.uint8), "one dot": blank},
            some(a["train_images"], 6000),
            {"levels": 2, "from_levels": 2},
        )


def patches(folder: Path) -> Trap:
    with np.load(folder / "patches32.npz") as a:
        test = some(a["test_images"], NORMAL + NEW)
        train = some(a["train_images"], 2000)
    random = np.random.default_rng(0)
    flat = np.repeat(random.integers(0, 256, (OTHERS, 1, 1, 3)), 32, 1).repeat(32, 2)
    noise = random.integers(0, 256, (OTHERS, 32, 32, 3))
    return Trap(
        "patches",
        test[:NORMAL],
        test[NORMAL:],
        {"flat": flat.astype(np.uint8), "noise": noise.astype(np.uint8)},
        train,
        {"levels": 256},
    )


def pneumonia(folder: Path) -> Trap:
    with np.load(folder / "medmnist_pneumonia.npz") as a:
        train, test = a["train_images"], a["test_images"]
        healthy = some(train[a["train_labels"].ravel() == 0], 10**6)
        sick = a["test_labels"].ravel() == 1
        more = a["valid_images"][a["valid_labels"].ravel() == 0]
    held = np.concatenate([more, healthy[:265]])
    return Trap("", held, test[~sick], {"pneumonia": test[sick]}, healthy[265:], {"levels": 256})


TRAPS = {"fashion": fashion, "mnist": mnist, "patches": patches, "pneumonia": pneumonia}


def small_model(name: str, trap: Trap, steps: int, noise: float = 0.0) -> Path:
    place = PLACE / f"{name}_train.npz"
    if not place.exists():
        x = trap.train
        np.savez_compressed(place, train_images=x[:-100], valid_images=x[-100:])
    head = "logistic" if trap.preparation["levels"] == 256 else None
    network = {"features": 24, "layers": 5} | ({"head": head} if head else {})
    choice = ModelChoice(model="gated-pixel-cnn", network=network)
    how = TrainConfig(
        steps=steps,
        batch_size=16,
        learning_rate=0.003,
        evaluate_every=steps,
        value_noise=noise,
    )
    return trained(f"traps_{name}", str(place), choice, how, **trap.preparation)


def figures(name: str, trap: Trap, background: bool) -> dict[str, object]:
    run = None if trap.model else small_model(name, trap, 600)
    other = None
    if background:
        other = small_model(f"{name}_background", trap, 300, NOISE)
    np.savez(PLACE / f"{name}_normal.npz", images=trap.normal)
    new = {"normal": trap.new, **trap.others}
    np.savez(PLACE / f"{name}_new.npz", images=np.concatenate(list(new.values())))
    kinds = np.repeat(list(new), [len(x) for x in new.values()])
    fitted = PLACE / f"{name}_fitted"
    fit = not fitted.exists()
    request = ScoreRequest(
        out=PLACE / f"{name}.csv",
        fit=fit,
        fitted=fitted,
        normal=PLACE / f"{name}_normal.npz" if fit else None,
        background=other,
    )
    data = DataRequest(data=PLACE / f"{name}_new.npz")
    scored = score_images(run or trap.model, request, data=data)
    rows = {int(row["name"]): row for row in scored.rows}
    scored = replace(scored, columns=(*scored.columns, JPEG_XL))
    pictures = np.concatenate(list(new.values())).astype(np.int64)
    pictures = pictures[:, None] if pictures.ndim == 3 else pictures.transpose(0, 3, 1, 2)
    levels = trap.preparation["levels"]
    pictures = pictures * levels // trap.preparation.get("from_levels", 256)
    for number, bits in enumerate(file_bits(pictures, levels, "jpeg-xl")):
        rows[number][JPEG_XL] = rows[number]["nats"] / np.log(2) - bits
    found: dict[str, object] = {"counts": {kind: len(x) for kind, x in new.items()}}
    for kind in trap.others:
        chosen = np.flatnonzero((kinds == "normal") | (kinds == kind))
        labels = (kinds[chosen] == kind).astype(int)
        figures = {}
        for column in COLUMNS:
            if column in scored.columns:
                values = np.array([rows[k][column] for k in chosen])
                sign = -1 if column == "p_value" else 1
                figures[column] = checked(sign * values, labels)["auroc"]
        found[kind] = figures
    if run is not None:
        found["run"] = description(run)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(TRAPS), help=", ".join(TRAPS))
    parser.add_argument("--background", action="store_true", help="train backgrounds for the ratio")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    PLACE.mkdir(parents=True, exist_ok=True)
    place = RESULTS / "likelihood_traps.json"
    results = json.loads(place.read_text()) if place.exists() else {}
    for name in asked.names:
        results[name] = figures(name, TRAPS[name](asked.folder), asked.background)
        write("likelihood_traps", results)
        print(name, json.dumps(results[name]), flush=True)


if __name__ == "__main__":
    main()
