"""Which choices matter for photographs: bits per sub-pixel after equal processor time.

    python experiments/photograph_choices.py KODAK [--only NAME …]

KODAK holds photographs as .png; the last two in order of their names, kodim11 and kodim12 of the
first twelve of Kodak's, are kept from training. The first of `CHOICES` is the network of the
pretrained `photographs`; every other one differs from it in one thing, with windows of other sizes
in batches of as many pixels. A few updates of each, in turns, say how many updates `SECONDS` allow;
this is kept in the results, so that the rest can follow on another machine. Runs are in
runs/photograph-…, and go on where they stopped. Writes experiments/results/photograph_choices.json
after each: bits per sub-pixel of the two photographs at four times of the run.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, description, trained_in, updates_within, write
from numpy.typing import NDArray
from PIL import Image

from nextpixel import (
    GatedPixelCNN,
    TrainConfig,
    initial_state,
    load,
    load_data,
    train,
)
from nextpixel.data.load import ImageData
from nextpixel.devices import seeded
from nextpixel.training.evaluation import log_probabilities
from nextpixel.training.metrics import read_metrics

SECONDS = 1200.0
HELD_OUT = 2
TIMES = 4
NETWORK: dict[str, Any] = {
    "channels": 3,
    "levels": 256,
    "features": 40,
    "layers": 6,
    "kernel_size": 5,
    "head": "logistic",
    "linear_prediction": True,
}
CROP, BATCH = 48, 16


@dataclass(frozen=True)
class Choice:
    """What differs from the first one.

    Attributes:
        network: keywords of the network.
        crop: the side of the windows, and how many make a batch.
        from_green: whether red and blue are coded as their differences from green, modulo 256,
            after it.
        seed: of the initial weights and of the training.
    """

    network: dict[str, Any] = field(default_factory=dict)
    crop: tuple[int, int] = CROP, BATCH
    from_green: bool = False
    seed: int = 0


CHOICES = {
    "as `photographs`": Choice(),
    "another seed": Choice(seed=1),
    "no linear prediction": Choice({"linear_prediction": False}),
    "softmax": Choice({"linear_prediction": False, "head": "softmax", "features": 39}),
    "differences from green": Choice(from_green=True),
    "crops of 24": Choice(crop=(24, 64)),
    "crops of 96": Choice(crop=(96, 4)),
    "dropout 0.1": Choice({"dropout": 0.1}),
    "two orders": Choice({"orders": 2}),
    "24 features": Choice({"features": 24}),
    "64 features": Choice({"features": 64}),
}


def differences_from_green(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Green, red - green and blue - green modulo 256, (H, W, 3): a bijection."""
    green = x[..., 1]
    return np.stack([green, x[..., 0] - green, x[..., 2] - green], axis=-1)


def images(folder: Path, from_green: bool) -> ImageData:
    photographs = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(folder.glob("*.png"))]
    if from_green:
        photographs = [differences_from_green(x) for x in photographs]
    splits = {"train": photographs[:-HELD_OUT], "valid": photographs[-HELD_OUT:]}
    return load_data(splits, {"levels": 256, "ragged": True})


def build(choice: Choice) -> GatedPixelCNN:
    with seeded(choice.seed):
        return GatedPixelCNN(**NETWORK | choice.network)


def config(choice: Choice, updates: int) -> TrainConfig:
    crop, batch = choice.crop
    return TrainConfig(
        steps=updates,
        batch_size=batch,
        crop=crop,
        flip=True,
        evaluate_every=-(-updates // TIMES),
        seed=choice.seed,
    )


def found(name: str, choice: Choice, data: ImageData, updates: int) -> dict[str, Any]:
    """Trains a choice, or goes on with it, and gives its figures."""
    place = Path("runs") / f"photograph-{name.strip('`').replace(' ', '-').replace('`', '')}"
    trained_in(place, build(choice), data, config(choice, updates))
    each = -log_probabilities(load(place), data.valid) / np.log(2)
    sizes = data.valid.sizes.prod(axis=1) * data.channels
    return {
        "parameters": description(place)["parameters"],
        "updates": updates,
        "curve": [
            [line["step"], line["valid_bits_per_dim"]]
            for line in read_metrics(place)
            if "valid_bits_per_dim" in line
        ],
        "bits_per_sub_pixel": float(each.sum() / sizes.sum()),
        "each": (each / sizes).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", choices=CHOICES, default=list(CHOICES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    plain, other = images(asked.folder, False), images(asked.folder, True)
    path = RESULTS / "photograph_choices.json"

    def kept() -> dict[str, Any]:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    updates = kept().get("updates")
    if updates is None:
        Path("runs").mkdir(exist_ok=True)
        loops = {
            name: train(
                initial_state(build(choice), config(choice, 100)), plain, config(choice, 100)
            )
            for name, choice in CHOICES.items()
        }
        updates = updates_within(SECONDS, loops, Path("runs") / "photograph-updates.json")
        write(path.stem, {"processor_seconds": SECONDS, "updates": updates, "choices": {}})
    for name in asked.only:
        if name in kept()["choices"]:
            continue
        choice = CHOICES[name]
        figures = found(name, choice, other if choice.from_green else plain, updates[name])
        results = kept()
        results["choices"][name] = figures
        write(path.stem, results)
        print(name, figures, flush=True)


if __name__ == "__main__":
    main()
