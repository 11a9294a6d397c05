"""The four families on binary MNIST, with equal parameters, each at its own best learning rate.

    python experiments/four_models.py MNIST_BINARIZED.npz

In what order do they come after a short training? First every family is trained for `UPDATES`
updates at each of `RATES` (Muon), the Gated PixelCNN also with AdamW. Then each is trained at its
best rate for the same processor time, `SECONDS`, with several seeds: a few updates of each, in
turns, say how many updates that is. All are validated on the same images, `VALIDATION` of the
validation split, by which rates are chosen; the test images are not looked at. Runs are in
runs/four-…, and go on where they stopped. Writes experiments/results/four_models.json after each.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, spread, trained_in, updates_within, write
from numpy.typing import NDArray

from nextpixel import (
    DiagonalBiLSTM,
    GatedPixelCNN,
    PixelCNN,
    Preparation,
    RowLSTM,
    TrainConfig,
    initial_state,
    load,
    load_data,
    train,
)
from nextpixel.analysis.uncertainty import standard_error
from nextpixel.data.load import ImageData
from nextpixel.data.splits import subset
from nextpixel.models.core import ImageModel
from nextpixel.training.evaluation import log_probabilities

UPDATES = 400
SECONDS = 150.0
SEEDS = (0,)
VALIDATION = 2000
RATES = {"muon": (0.003, 0.01, 0.02, 0.04), "adamw": (0.001, 0.003, 0.01, 0.02, 0.04)}
WITH_ADAMW = ("gated-pixel-cnn",)
MODELS: Mapping[str, tuple[Callable[..., ImageModel], dict[str, int]]] = {
    "diagonal-bilstm": (DiagonalBiLSTM, {"features": 24, "layers": 7}),
    "row-lstm": (RowLSTM, {"features": 26, "layers": 7}),
    "pixel-cnn": (PixelCNN, {"features": 44, "layers": 7}),
    "gated-pixel-cnn": (
        GatedPixelCNN,
        {"features": 33, "layers": 7, "kernel_size": 3, "first_kernel_size": 7},
    ),
}


def build(name: str, seed: int) -> ImageModel:
    """One of `MODELS`; the seed decides its initial weights."""
    kind, network = MODELS[name]
    torch.manual_seed(seed)
    return kind(levels=2, **network)


def config(optimiser: str, rate: float, updates: int, seed: int) -> TrainConfig:
    return TrainConfig(
        steps=updates,
        batch_size=32,
        optimizer=optimiser,  # type: ignore[arg-type]
        learning_rate=rate,
        precision="bf16",
        ema_decay=0.995,
        evaluate_every=updates,
        seed=seed,
    )


def nats_after(name: str, how: TrainConfig, data: ImageData) -> NDArray[np.float64]:
    """The nats of each validation image after a training, which goes on where it stopped."""
    parts = (name, how.optimizer, how.learning_rate, how.steps, how.seed)
    place = Path("runs") / f"four-{'-'.join(map(str, parts))}"
    trained_in(place, build(name, how.seed), data, how)
    return -log_probabilities(load(place), data.valid)


def updates_in_time(data: ImageData) -> dict[str, int]:
    """How many updates of each model `SECONDS` allow; measured once, and kept in runs/."""
    how = config("muon", 0.01, 100, 0)
    loops = {name: train(initial_state(build(name, 0), how), data, how) for name in MODELS}
    return updates_within(SECONDS, loops, Path("runs") / "four-updates.json")


def behind(nats: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """How much worse each is than the best one, on the same images."""
    best = min(nats, key=lambda name: float(nats[name].mean()))
    return {
        name: {
            "valid_nats_per_image": float(own.mean()),
            "behind": float((own - nats[best]).mean()),
            "standard_error": standard_error(own - nats[best]) if name != best else 0.0,
        }
        for name, own in nats.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data", help="the static binarisation of MNIST, as .npz with train and valid images"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(asked.data, Preparation(ignore_labels=True))
    data = replace(data, valid=subset(data.valid, spread(VALIDATION, len(data.valid))))
    Path("runs").mkdir(exist_ok=True)
    place = RESULTS / "four_models.json"
    results: dict[str, Any] = {
        "command": "python experiments/four_models.py MNIST_BINARIZED.npz",
        "updates": UPDATES,
        "processor_seconds": SECONDS,
        "valid_images": VALIDATION,
        "models": {
            name: {"parameters": sum(p.numel() for p in build(name, 0).parameters())}
            for name in MODELS
        },
    }
    at_best: dict[str, NDArray[np.float64]] = {}
    for name, found in results["models"].items():
        tried: dict[str, float] = {}
        every: dict[str, NDArray[np.float64]] = {}
        for optimiser, rates in RATES.items():
            if optimiser == "adamw" and name not in WITH_ADAMW:
                continue
            for rate in rates:
                nats = nats_after(name, config(optimiser, rate, UPDATES, 0), data)
                tried[f"{optimiser} {rate:g}"] = float(nats.mean())
                every[f"{optimiser} {rate:g}"] = nats
                print(name, optimiser, rate, tried[f"{optimiser} {rate:g}"], flush=True)
        best = min((one for one in tried if one.startswith("muon")), key=tried.__getitem__)
        at_best[name] = every[best]
        found |= {"tried": tried, "rate": float(best.split()[1])}
        write(place.stem, results)
    for name, figures in behind(at_best).items():
        results["models"][name]["equal_updates"] = figures
    updates, in_time = updates_in_time(data), {}
    for name, found in results["models"].items():
        seeds = [
            nats_after(name, config("muon", found["rate"], updates[name], seed), data)
            for seed in SEEDS
        ]
        in_time[name] = np.mean(seeds, axis=0)
        found["updates_in_time"] = updates[name]
        found["seeds_in_time"] = [float(nats.mean()) for nats in seeds]
        print(name, updates[name], found["seeds_in_time"], flush=True)
        write(place.stem, results)
    for name, figures in behind(in_time).items():
        results["models"][name]["equal_time"] = figures
    write(place.stem, results)


if __name__ == "__main__":
    main()
