"""Nine constructions on CIFAR-10, three seeds each, at equal updates and equal processor time.

    python experiments/cifar_compared.py cifar10.npz

The networks are those of `nextpixel reproduce cifar10-…-small`, about a quarter of a million
parameters each. All train in batches of 16 at a constant rate, with averaged weights. First the
four families are trained for the updates that the slowest construction makes in `SECONDS` of
processor time, at each of `RATES`, and at twice the highest while that is the best one; what is
derived from a family has its rate. Then every construction trains for `SECONDS`, with each of
`SEEDS`, and is validated at the equal number of updates on the way. A few updates of each, in
turns, say how many updates the time allows. Validation is on `VALIDATION` images of the training
split; the test images are not looked at. Runs are in runs/cifar-…, and go on where they stopped.
Writes experiments/results/cifar_compared.json after each, and in the end cifar10_samples.png: the
first ten draws of every construction's first seed, none chosen.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, spread, trained_in, updates_within, write
from plots import framed

from nextpixel import Preparation, TrainConfig, initial_state, load, load_data, sample, train
from nextpixel.data.image_files import grid
from nextpixel.data.load import ImageData
from nextpixel.data.splits import subset
from nextpixel.devices import seeded
from nextpixel.models.core import ImageModel
from nextpixel.papers.recipes import RECIPES
from nextpixel.training.metrics import read_metrics

SECONDS = 150.0
SEEDS = (0, 1, 2)
RATES = (0.01, 0.02, 0.04)
EQUAL = 0.01
"""Rates whose bits/dim differ by less count as equal: the lowest of the best ones is taken."""
VALIDATION = 500
FAMILIES = ("pixel-cnn", "gated-pixel-cnn", "row-lstm", "diagonal-bilstm")
DERIVED = {
    "pixel-cnn-gates": "pixel-cnn",
    "pixel-cnn-skip-too": "pixel-cnn",
    "pixel-cnn-skip-only": "pixel-cnn",
    "pixel-cnn-neither": "pixel-cnn",
    "gated-logistic": "gated-pixel-cnn",
}
"""The construction whose learning rate each of the others takes."""


def build(name: str, seed: int) -> ImageModel:
    with seeded(seed):
        return RECIPES[f"cifar10-{name}-small"].build()


def config(rate: float, updates: int, seed: int, validate_at: int) -> TrainConfig:
    return TrainConfig(
        steps=updates,
        batch_size=16,
        learning_rate=rate,
        warmup_steps=30,
        schedule="constant",
        ema_decay=0.995,
        precision="bf16",
        evaluate_every=validate_at,
        seed=seed,
    )


def place_of(name: str, how: TrainConfig) -> Path:
    return Path("runs") / f"cifar-{name}-{how.learning_rate:g}-{how.steps}-{how.seed}"


def bits(name: str, how: TrainConfig, data: ImageData) -> dict[int, float]:
    """Bits/dim on the validation images after so many updates."""
    trained_in(place_of(name, how), build(name, how.seed), data, how)
    return {
        line["step"]: line["valid_bits_per_dim"]
        for line in read_metrics(place_of(name, how))
        if "valid_bits_per_dim" in line
    }


def updates_in_time(data: ImageData) -> dict[str, int]:
    """How many updates of each `SECONDS` allow; measured once, and kept in runs/."""
    how = config(0.01, 100, 0, 100)
    loops = {
        name: train(initial_state(build(name, 0), how), data, how) for name in (*FAMILIES, *DERIVED)
    }
    return updates_within(SECONDS, loops, Path("runs") / "cifar-updates.json")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="CIFAR-10 as .npz, with train_images")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(asked.data, Preparation(ignore_labels=True))
    data = replace(data, valid=subset(data.valid, spread(VALIDATION, len(data.valid))))
    Path("runs").mkdir(exist_ok=True)
    updates = updates_in_time(data)
    equal = min(updates.values())
    results: dict[str, Any] = {
        "command": "python experiments/cifar_compared.py cifar10.npz",
        "processor_seconds": SECONDS,
        "equal_updates": equal,
        "valid_images": VALIDATION,
        "models": {
            name: {
                "parameters": sum(p.numel() for p in build(name, 0).parameters()),
                "updates_in_time": updates[name],
            }
            for name in updates
        },
    }
    models = results["models"]
    for name in FAMILIES:
        tried: dict[float, float] = {}
        rates = list(RATES)
        for rate in rates:  # grows until the best one is not the highest
            tried[rate] = bits(name, config(rate, equal, 0, equal), data)[equal]
            if rate == rates[-1] and rate == min(tried, key=tried.__getitem__):
                rates.append(2 * rate)
        models[name] |= {
            "tried": {f"{rate:g}": found for rate, found in tried.items()},
            "rate": min(r for r, found in tried.items() if found < min(tried.values()) + EQUAL),
        }
        print(name, tried, flush=True)
        write("cifar_compared", results)
    for name, family in DERIVED.items():
        models[name]["rate"] = models[family]["rate"]
    for seed in SEEDS:
        for name, found in models.items():
            after = bits(name, config(found["rate"], updates[name], seed, equal), data)
            for when, step in (("equal_updates", equal), ("equal_time", updates[name])):
                found.setdefault(when, {})[str(seed)] = after[step]
            print(name, seed, after, flush=True)
            write("cifar_compared", results)
    draws = [
        sample(
            load(place_of(name, config(found["rate"], updates[name], SEEDS[0], equal))),
            10,
            (32, 32),
            generator=torch.Generator().manual_seed(0),
        )
        for name, found in models.items()
    ]
    sheet = grid(torch.cat(draws).numpy(), columns=10, levels=256, scale=2)
    framed(sheet, RESULTS / "cifar10_samples.png", rows=tuple(models))


if __name__ == "__main__":
    main()
