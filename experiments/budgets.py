"""What to train in so many minutes: how near is the default of `nextpixel train` to the best?

    python experiments/budgets.py FOLDER --minutes 2 [--data emoji patches …]

FOLDER holds emoji_twemoji32.npz, patches32.npz, mnist.npz, sprites_crawl32.npz and
medmnist_pneumonia.npz. For each, Gated PixelCNNs of the sizes that `nextpixel train` knows are
trained for the same processor time at a rate of 0.01, how many updates that is being measured in
turns. The largest size that gets 300 updates, which is the default, is also trained at other rates,
of which the one next to that of the default counts as it, and, where the default head is a mixture
of logistics, with a softmax. All else is the default: Muon, batches of 32, averaged weights.
Validation is on up to 512 held-out images. Runs are in runs/budget-…, and go on where they stopped.
Writes experiments/results/budgets.json after each, with how much worse the default is than the
best.
"""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, description, spread, trained_in, updates_within, write

from nextpixel import Preparation, TrainConfig, initial_state, load_data, train
from nextpixel.data.load import ImageData
from nextpixel.data.splits import subset
from nextpixel.devices import seeded
from nextpixel.models.trainable import Trainable
from nextpixel.settings.choice import ModelChoice
from nextpixel.training.build import build_model
from nextpixel.training.defaults import with_head, with_kind, with_rate
from nextpixel.training.pace import FEW_UPDATES

DATA = {
    "emoji": "emoji_twemoji32.npz",
    "patches": "patches32.npz",
    "mnist": "mnist.npz",
    "sprites": "sprites_crawl32.npz",
    "pneumonia": "medmnist_pneumonia.npz",
}
SIZES = (48, 8), (32, 6), (24, 4), (16, 3)
RATE, OTHER_RATES = 0.01, (0.005, 0.02, 0.04)
VALIDATION = 512


def images(path: Path) -> ImageData:
    data = load_data(str(path), Preparation(ignore_labels=True))
    valid = subset(data.valid, spread(VALIDATION, len(data.valid)))
    return replace(data, valid=valid, test=subset(data.test, spread(1, len(data.test))))


def build(data: ImageData, features: int, layers: int, head: str | None = None) -> Trainable:
    """The default network for these images, of another size, or with another head."""
    asked = ModelChoice(network={} if head is None else {"head": head})
    choice, _ = with_kind(asked, data)
    choice, _ = with_head(choice, data)
    width = -(-features // data.channels) * data.channels
    size = {"features": width, "layers": layers}
    with seeded(0):
        return build_model(data, replace(choice, network={**choice.network, **size}))


def studied(name: str, data: ImageData, minutes: float) -> dict[str, Any]:
    place = Path("runs") / f"budget-{name}-{minutes:g}"
    place.mkdir(parents=True, exist_ok=True)
    timed = TrainConfig(steps=100, evaluate_every=100)
    loops = {
        f"{features}×{layers}": train(
            initial_state(build(data, features, layers), timed), data, timed
        )
        for features, layers in SIZES
    }
    updates = updates_within(60 * minutes, loops, place / "updates.json")
    enough = [size for size, count in updates.items() if count >= FEW_UPDATES]
    default = enough[0] if enough else list(updates)[-1]
    tries: list[tuple[str, float, str | None]] = [(size, RATE, None) for size in updates]
    tries += [(default, rate, None) for rate in OTHER_RATES]
    if build(data, *SIZES[-1]).config()["head"] == "logistic":
        tries.append((default, RATE, "softmax"))
    found: dict[str, float] = {}
    for size, rate, head in tries:
        what = f"{size}, rate {rate:g}" + (f", {head}" if head else "")
        run = place / what.replace(", rate ", "-").replace(", ", "-")
        config = TrainConfig(steps=updates[size], learning_rate=rate, evaluate_every=updates[size])
        features, layers = map(int, size.split("×"))
        trained_in(run, build(data, features, layers, head), data, config)
        found[what] = float(description(run)["training"]["valid_bits_per_dim"])
        print(name, what, found[what], flush=True)
    usual = with_rate(TrainConfig(steps=updates[default]), data, None).learning_rate or RATE
    nearest = min((RATE, *OTHER_RATES), key=lambda rate: abs(math.log(rate / usual)))
    own = f"{default}, rate {nearest:g}"
    best = min(found, key=found.__getitem__)
    return {
        "images": len(data.train),
        "size": list(data.train.sizes[0].tolist()),
        "channels": data.channels,
        "updates": updates,
        "valid_bits_per_dim": found,
        "default": own,
        "best": best,
        "default_is_worse_by": found[own] / found[best] - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0, help="of processor time for a run")
    parser.add_argument("--data", nargs="*", choices=DATA, default=list(DATA))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "budgets.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["minutes"] if path.exists() else {}
    for name in asked.data:
        found = studied(name, images(asked.folder / DATA[name]), asked.minutes)
        kept.setdefault(f"{asked.minutes:g}", {})[name] = found
        write(path.stem, {"minutes": kept})
        print(name, found["default"], found["best"], found["default_is_worse_by"], flush=True)


if __name__ == "__main__":
    main()
