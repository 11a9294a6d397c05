"""Defects of KolektorSDD: trained on good parts alone, how well do scores find the defective ones?

    python experiments/anomaly.py train KOLEKTOR.npz     trains, or goes on where it stopped
    python experiments/anomaly.py score KOLEKTOR.npz     scores, writes results/anomaly.json

The file has `train_images`, good parts of some items; `test_images`, good parts of other items and
all defective parts; `test_labels`, 1 for a defect; `test_masks`; and `train_ids`, item and part.
Windows and thresholds are those of the library and of the validation items: nothing is chosen on
the test images. Runs and scores are kept in runs/, and both commands may be stopped at any time.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from common import description, trained, write

from nextpixel import TrainConfig, anomaly_map, calibrate, fit_typicality, load
from nextpixel.analysis.anomaly import WINDOWS
from nextpixel.checkpoint import read_card
from nextpixel.files.replacing import replace_file
from nextpixel.settings.choice import ModelChoice

RUN = "kolektor"
MODEL = ModelChoice(
    model="gated-pixel-cnn",
    network={"features": 32, "layers": 6, "kernel_size": 5, "head": "logistic"},
)
TRAINING = TrainConfig(
    steps=3500, batch_size=8, crop=48, flip=True, learning_rate=0.003, evaluate_every=700
)
HELD_OUT_ITEMS = 5


def good_parts(data: Path) -> Path:
    """The good parts as a source with a validation split, whose items are not trained on."""
    place = Path("runs") / "kolektor_good.npz"
    if not place.exists():
        with np.load(data) as arrays:
            images, items = arrays["train_images"], arrays["train_ids"][:, 0]
        held_out = np.isin(items, np.unique(items)[-HELD_OUT_ITEMS:])
        place.parent.mkdir(exist_ok=True)
        np.savez_compressed(place, train_images=images[~held_out], valid_images=images[held_out])
    return place


def train(data: Path) -> Path:
    """The run folder of the model of good parts."""
    return trained(RUN, str(good_parts(data)), MODEL, TRAINING, levels=256)


def surprises(run: Path, name: str, images: np.ndarray, mirrored: bool) -> dict[str, np.ndarray]:
    """Bits per dimension, z, anomaly score and heat map of images; kept image by image."""
    model, kept = load(run), []
    digest = read_card(run).weights_sha256 or ""
    place = Path("runs") / "kolektor_scores" / f"{digest[:12]}_{name}{'_mirrored' * mirrored}"
    place.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(images):
        if not (place / f"{k}.npz").exists():
            found = anomaly_map(model, image[None], mirrored=mirrored)
            nats = float(found.surprise.surprise.sum())
            with replace_file(place / f"{k}.npz") as file:
                np.savez_compressed(
                    file,
                    bits_per_dim=nats / (image.size * np.log(2)),
                    z=float(found.surprise.z),
                    anomaly=float(found.score),
                    heat=found.heat.numpy().astype(np.float32),
                )
        with np.load(place / f"{k}.npz") as one:
            kept.append(dict(one))
    return {column: np.stack([one[column] for one in kept]) for column in kept[0]}


def typical(run: Path, good: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Distances of images from what is typical of good ones."""
    model = load(run)
    fitted = fit_typicality(model, (image[None, None] for image in good))
    return [
        np.concatenate([fitted.distance(model, image[None, None]).numpy() for image in images])
        for images in others
    ]


def baselines(data: Path) -> dict[str, np.ndarray]:
    """Maps of squared errors of an independent Gaussian for each pixel, and of PCA."""
    with np.load(good_parts(data)) as arrays:
        good = arrays["train_images"].astype(np.float32)
    with np.load(data) as arrays:
        test = arrays["test_images"].astype(np.float32)
    mean, deviation = good.mean(axis=0), good.std(axis=0) + 1.0
    flat = (good - mean).reshape(len(good), -1)
    _, values, axes = np.linalg.svd(flat, full_matrices=False)
    kept = np.searchsorted(np.cumsum(values**2) / (values**2).sum(), 0.9) + 1
    centred = (test - mean).reshape(len(test), -1)
    rest = (centred - centred @ axes[:kept].T @ axes[:kept]).reshape(test.shape)
    return {"pixel Gaussian": ((test - mean) / deviation) ** 2, "PCA": rest**2}


def window_maximum(maps: np.ndarray) -> np.ndarray:
    """The mean over the library's windows of the largest mean in a window, of maps (N, H, W)."""
    found = []
    for side in WINDOWS:
        padded = np.pad(maps.astype(float), ((0, 0), (side, side - 1), (side, side - 1)))
        sums = padded.cumsum(axis=1).cumsum(axis=2)
        inner = sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side]
        inner = (inner + sums[:, :-side, :-side]) / side**2
        found.append(inner.max(axis=(1, 2)))
    return np.mean(found, axis=0)


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """P(a defect scores higher than a good one) + P(equal) / 2."""
    values, inverse = np.unique(scores, return_inverse=True)
    bad = np.bincount(inverse[labels == 1], minlength=len(values))
    good = np.bincount(inverse[labels == 0], minlength=len(values))
    below = np.cumsum(good) - good
    return float((bad * (below + good / 2)).sum() / (bad.sum() * good.sum()))


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """The mean over defects of the precision at their score."""
    values, inverse = np.unique(-scores, return_inverse=True)
    bad = np.bincount(inverse[labels == 1], minlength=len(values))
    precision = np.cumsum(bad) / np.cumsum(np.bincount(inverse, minlength=len(values)))
    return float((bad * precision).sum() / bad.sum())


def checked(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Both figures, compared with scikit-learn's where it is installed."""
    found = {"auroc": auroc(scores, labels), "ap": average_precision(scores, labels)}
    try:
        from sklearn.metrics import average_precision_score, roc_auc_score
    except ImportError:
        return found
    theirs = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    assert np.allclose(theirs, list(found.values())), (theirs, found)
    return found


def score(data: Path, mirrored: bool) -> None:
    """Writes results/anomaly.json."""
    run = train(data)
    with np.load(data) as arrays:
        images, labels = arrays["test_images"], arrays["test_labels"]
        masks = arrays["test_masks"].astype(int).ravel()
    with np.load(good_parts(data)) as arrays:
        good, held_out = arrays["train_images"], arrays["valid_images"]
    results = {}
    for name, maps in baselines(data).items():
        results[f"{name}, mean"] = checked(maps.mean(axis=(1, 2)), labels)
        results[f"{name}, windows"] = checked(window_maximum(maps), labels)
        results[f"{name}, windows"]["pixel_auroc"] = auroc(maps.ravel(), masks)
    test = surprises(run, "test", images, mirrored)
    results |= {name: checked(test[name], labels) for name in ("bits_per_dim", "z", "anomaly")}
    results["anomaly"]["pixel_auroc"] = auroc(test["heat"].ravel(), masks)
    show(results)
    normal = {"anomaly": surprises(run, "valid", held_out, mirrored)["anomaly"]}
    normal["typicality"], test["typicality"] = typical(run, good, held_out, images)
    results["typicality"] = checked(test["typicality"], labels)
    p = calibrate(normal).combined({name: test[name] for name in normal})
    # Few validation images give few different p-values: the anomaly score breaks ties.
    results["p-value"] = checked(np.lexsort((test["anomaly"], -p)).argsort().astype(float), labels)
    about = {"command": "python experiments/anomaly.py score KOLEKTOR.npz", "mirrored": mirrored}
    write("anomaly", about | description(run) | {"kolektor": results})
    show(results)


def show(results: dict[str, dict[str, float]]) -> None:
    for name, figures in results.items():
        print(f"{name:24}", *(f"{key} {value:.3f}" for key, value in figures.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=("train", "score"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--mirrored", action="store_true", help="look at mirror images, too")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.do == "train":
        train(asked.data)
    else:
        score(asked.data, asked.mirrored)


if __name__ == "__main__":
    main()
