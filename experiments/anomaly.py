"""Defects of KolektorSDD: trained on good parts alone, how well do scores find the defective ones?

    python experiments/anomaly.py train KOLEKTOR.npz     trains, or goes on where it stopped
    python experiments/anomaly.py score KOLEKTOR.npz     scores, writes results/anomaly.json

The file has `train_images`, good parts of some items; `test_images`, good parts of other items and
all defective parts; `test_labels`, 1 for a defect; `test_masks`; and `train_ids` and `test_ids`,
item and part. Windows and thresholds are those of the library and of the validation items. The
scores in the p-value and their weights were compared on these test images, too. Further models see
the parts reduced by 2, 4 and 8, for maps of several scales. Runs and scores are kept in runs/, and
both commands may be stopped at any time.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from anomaly_baselines import auto_encoder, isolation_forest, nearest_patches, pca, pixel_gaussian
from common import description, trained, write
from scipy.ndimage import label, uniform_filter

from nextpixel import (
    TrainConfig,
    calibrate,
    fit_components,
    fit_typicality,
    load,
    load_typicality,
    save_typicality,
    surprise_map,
)
from nextpixel.analysis.anomaly import WINDOWS, AnomalyMap, SurpriseMap
from nextpixel.checkpoint import read_card
from nextpixel.files.replacing import replace_file
from nextpixel.inference.measuring import COMBINED
from nextpixel.settings.choice import ModelChoice

RUN = "kolektor"
PARTS = "surprise", "expectation", "variance"
Arrays = dict[str, np.ndarray]
MODEL = ModelChoice(
    model="gated-pixel-cnn",
    network={"features": 32, "layers": 6, "kernel_size": 5, "head": "logistic"},
)
TRAINING = TrainConfig(
    steps=3500, batch_size=8, crop=48, flip=True, learning_rate=0.003, evaluate_every=700
)
HELD_OUT_ITEMS = 5
REDUCED = {2: (1200, 32), 4: (900, 24), 8: (600, 15)}
REDUCED_WINDOWS = 1, 3, 5
BASELINES = {
    "pixel Gaussian": pixel_gaussian,
    "PCA": pca,
    "isolation forest": isolation_forest,
    "convolutional auto-encoder": auto_encoder,
    "nearest patches": partial(nearest_patches, random_features=False),
    "nearest random features": partial(nearest_patches, random_features=True),
}


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


def train_reduced(data: Path, by: int) -> Path:
    """The run folder of a model of reduced good parts: the same network, for less long."""
    place = Path("runs") / f"{RUN}_good_by_{by}.npz"
    if not place.exists():
        with np.load(good_parts(data)) as arrays:
            np.savez_compressed(place, **{name: reduced(x, by) for name, x in arrays.items()})
    steps, crop = REDUCED[by]
    how = replace(
        TRAINING, steps=steps, crop=crop, learning_rate=0.004, evaluate_every=max(50, steps // 6)
    )
    return trained(f"{RUN}_by_{by}", str(place), MODEL, how, levels=256)


def reduced(images: np.ndarray, by: int) -> np.ndarray:
    """Means over squares of pixels, rounded; the last pixels are repeated to fill squares."""
    height, width = images.shape[-2:]
    x = np.pad(images.astype(float), [(0, 0), (0, -height % by), (0, -width % by)], mode="edge")
    squares = x.reshape(len(x), x.shape[1] // by, by, x.shape[2] // by, by)
    return np.rint(squares.mean(axis=(2, 4))).astype(np.uint8)


def kept(run: Path, name: str, images: np.ndarray, one: Callable[[np.ndarray], Arrays]) -> Arrays:
    """What a function computes of each image, stacked; kept in runs/, image by image."""
    digest = read_card(run).weights_sha256 or ""
    place = Path("runs") / "kolektor_scores" / f"{digest[:12]}_{name}"
    place.mkdir(parents=True, exist_ok=True)
    found = []
    for k, image in enumerate(images):
        if not (place / f"{k}.npz").exists():
            with replace_file(place / f"{k}.npz") as file:
                np.savez(file, **one(image[None]))
        with np.load(place / f"{k}.npz") as parts:
            found.append(dict(parts))
    return {key: np.stack([one[key] for one in found]) for key in found[0]}


def surprises(run: Path, name: str, images: np.ndarray, *, mirrored: bool = False) -> Arrays:
    """Surprise, expectation and variance of images, or of mirror images turned back."""
    model = load(run)

    def one(x: np.ndarray) -> Arrays:
        maps = surprise_map(model, x[..., ::-1].copy() if mirrored else x)
        parts = {part: getattr(maps, part)[0].numpy() for part in PARTS}
        turned = {part: value[..., ::-1] if mirrored else value for part, value in parts.items()}
        return {part: value.astype(np.float32) for part, value in turned.items()}

    return kept(run, f"{name}{'_mirrored' * mirrored}", images, one)


def typical(run: Path, name: str, good: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Distances of images from what is typical of good ones."""
    model, digest = load(run), read_card(run).weights_sha256 or ""
    place = Path("runs") / "kolektor_scores" / f"{digest[:12]}_typicality.safetensors"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        save_typicality(fit_typicality(model, (image[None, None] for image in good)), place)
    fitted = load_typicality(place)
    found = kept(run, f"{name}_typicality", images, lambda x: {"d": fitted.distance(model, x)})
    return found["d"]


def maps_of(found: Arrays) -> SurpriseMap:
    """The library's maps of what `surprises` found."""
    parts = {part: torch.from_numpy(found[part]).double()[:, None] for part in PARTS}
    return SurpriseMap(**parts)


def window_maximum(maps: np.ndarray) -> np.ndarray:
    """The mean over the library's windows of the largest mean in a window, of maps (N, H, W)."""
    found = [in_windows(maps, side).max(axis=(1, 2)) for side in WINDOWS]
    return np.mean(found, axis=0)


def in_windows(maps: np.ndarray, side: int) -> np.ndarray:
    """Means over the window around each pixel; beyond the border maps count as zero."""
    return np.stack([uniform_filter(one, side, mode="constant") for one in maps])


def baselines(data: Path) -> dict[str, np.ndarray]:
    """Maps (N, H, W) or scores (N,) of the test images by other methods; kept in runs/."""
    with np.load(good_parts(data)) as arrays:
        good = arrays["train_images"].astype(np.float32)
    with np.load(data) as arrays:
        test = arrays["test_images"].astype(np.float32)
    found = {}
    for name, method in BASELINES.items():
        place = Path("runs") / "kolektor_baselines" / f"{name}.npy"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(place) as file:
                np.save(file, method(good, test))
        found[name] = np.load(place)
    return found


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


def less(
    scores: np.ndarray, other: np.ndarray, labels: np.ndarray, items: np.ndarray
) -> dict[str, float]:
    """How much lower the AUROC of others is, with the standard error of 1,000 resamplings.

    Items are resampled, each with all of its parts: those of one item are alike.
    """
    random = np.random.default_rng(0)
    parts = [np.flatnonzero(items == item) for item in np.unique(items)]
    found = []
    for _ in range(1000):
        rows = np.concatenate([parts[k] for k in random.integers(len(parts), size=len(parts))])
        found.append([auroc(one[rows], labels[rows]) for one in (scores, other)])
    own, theirs = np.array(found).T
    return {
        "auroc": auroc(scores, labels) - auroc(other, labels),
        "standard_error": float(np.std(own - theirs)),
        "standard_error_of_own": float(np.std(own)),
    }


def of_pixels(heat: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """AUROC of pixels, and the area under the per-region overlap up to 30 % false positives."""
    regions = []
    for one, mask in zip(heat, masks, strict=True):
        numbers, count = label(mask)
        regions += [np.sort(one[numbers == k]) for k in range(1, count + 1)]
    good = np.sort(heat[masks == 0])
    rates = np.linspace(0, 0.3, 301)
    limits = good[np.minimum(len(good) - 1, np.floor((1 - rates) * len(good)).astype(int))]
    above = [1 - np.searchsorted(region, limits) / len(region) for region in regions]
    aupro = float(np.trapezoid(np.mean(above, axis=0), rates) / 0.3)
    return {"pixel_auroc": auroc(heat.ravel(), masks.ravel()), "aupro": aupro}


def variants(
    test: SurpriseMap, mirrored: SurpriseMap, labels: np.ndarray, masks: np.ndarray
) -> dict[str, dict[str, float]]:
    """Other ways to take one number and one map from the same surprises."""
    found = {}
    for windows in (WINDOWS, (5, 9, 13), (3, 5, 7, 9, 13, 19, 27)):
        name = ", ".join(map(str, windows))
        own, turned = (maps.window_z(*windows).float().numpy() for maps in (test, mirrored))
        pairs = {"as it is": own, "mean": (own + turned) / 2, "higher": np.maximum(own, turned)}
        for how, z in (pairs | {"lower": np.minimum(own, turned)}).items():
            score = checked(z.max(axis=(2, 3)).mean(axis=1), labels)
            found[f"{name}; {how}"] = score | of_pixels(z.mean(axis=1), masks)
    excess = test.excess[:, 0].numpy()
    found["excess, not z"] = checked(window_maximum(excess), labels) | of_pixels(
        np.mean([in_windows(excess, side) for side in WINDOWS], axis=0), masks
    )
    return found


def scales(
    data: Path,
    own: tuple[np.ndarray, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Scores and maps of reduced images; means over scales, all alike, and the higher ones."""
    every, found = [own], {}
    for by in REDUCED:
        run = train_reduced(data, by)
        z = maps_of(surprises(run, "test", reduced(images, by))).window_z(*REDUCED_WINDOWS)
        heat = z.mean(dim=1).numpy().repeat(by, axis=1).repeat(by, axis=2)
        height, width = masks.shape[1:]
        score = z.amax(dim=(2, 3)).mean(dim=1).numpy()
        every.append((score, heat[:, :height, :width]))
        found[f"reduced by {by}"] = checked(score, labels) | of_pixels(every[-1][1], masks)
    numbers, heat = (np.stack(parts) for parts in zip(*every, strict=True))
    for how, function in (("mean", np.mean), ("highest", np.max)):
        one = checked(function(numbers, axis=0), labels)
        found[f"{how} of all scales"] = one | of_pixels(function(heat, axis=0), masks)
    return found


def score(data: Path) -> None:
    """Writes results/anomaly.json."""
    run = train(data)
    with np.load(data) as arrays:
        images, labels, masks = (arrays[f"test_{part}"] for part in ("images", "labels", "masks"))
        items = arrays["test_ids"][:, 0]
    with np.load(good_parts(data)) as arrays:
        good, held_out = arrays["train_images"], arrays["valid_images"]
    masks = masks.astype(int)
    results, others = {}, {}
    for name, maps in baselines(data).items():
        others[name] = maps if maps.ndim == 1 else window_maximum(maps)
        if maps.ndim == 1:
            results[name] = checked(maps, labels)
            continue
        results[f"{name}, mean"] = checked(maps.mean(axis=(1, 2)), labels)
        smooth = np.mean([in_windows(maps, side) for side in WINDOWS], axis=0)
        results[f"{name}, windows"] = checked(others[name], labels)
        results[f"{name}, windows"] |= of_pixels(smooth, masks)
    show(results)
    test = maps_of(surprises(run, "test", images))
    bits = test.surprise.mean(dim=(1, 2, 3)).numpy() / np.log(2)
    results |= {"bits_per_dim": checked(bits, labels), "z": checked(test.z.numpy(), labels)}
    scores, normal = {}, {}
    for how in (False, True):
        name = "anomaly" + ", mirrored" * how
        found = []
        for part, x in (("test", images), ("valid", held_out)):
            z = maps_of(surprises(run, part, x)).window_z()
            if how:
                z = (z + maps_of(surprises(run, part, x, mirrored=True)).window_z()) / 2
            found.append(AnomalyMap(orders=(test,), windows=WINDOWS, z=z))
        scores[name], normal[name] = (one.score.numpy() for one in found)
        heat = found[0].heat.float().numpy()
        results[name] = checked(scores[name], labels) | of_pixels(heat, masks)
    model = load(run)
    components = fit_components(model, good[:, None])
    for part, x, into in (("test", images, scores), ("valid", held_out, normal)):
        into["typicality"] = typical(run, part, good, x)
        into["residual"] = components.residual(model, x[:, None]).numpy()
        maps = maps_of(surprises(run, part, x))
        into["likely"] = -maps.surprise.mean(dim=(1, 2, 3)).numpy()
    for name in ("typicality", "residual"):
        results[name] = checked(scores[name], labels)
    p = calibrate({name: normal[name] for name in COMBINED}).combined(
        {name: scores[name] for name in COMBINED}, COMBINED
    )
    # Few held-out images give few different p-values: as in tables, the anomaly score decides.
    ranks = np.lexsort((scores["anomaly"], -p)).argsort()
    results["p-value"] = checked(ranks.astype(float), labels)
    results["p-value"]["good_at_0.1"] = float((p[labels == 0] <= 0.1).mean())
    show(results)
    own = scores["anomaly"], test.window_z().mean(dim=1).numpy()
    by_scale = scales(data, own, images, labels, masks)
    show(by_scale)
    mirrored = maps_of(surprises(run, "test", images, mirrored=True))
    tried = variants(test, mirrored, labels, masks)
    show(tried)
    lower = {name: less(scores["anomaly"], other, labels, items) for name, other in others.items()}
    about = {
        "command": "python experiments/anomaly.py score KOLEKTOR.npz",
        "held_out": len(held_out),
    }
    figures = {"kolektor": results, "scales": by_scale, "variants": tried, "lower": lower}
    write("anomaly", about | description(run) | figures)


def show(results: dict[str, dict[str, float]]) -> None:
    for name, figures in results.items():
        print(f"{name:24}", *(f"{key} {value:.3f}" for key, value in figures.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=("train", "score"))
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.do == "train":
        train(asked.data)
        for by in REDUCED:
            train_reduced(asked.data, by)
    else:
        score(asked.data)


if __name__ == "__main__":
    main()
