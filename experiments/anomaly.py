"""Defects of KolektorSDD: trained on good parts alone, how well do scores find the defective ones?

    python experiments/anomaly.py train KOLEKTOR.npz     trains, or goes on where it stopped
    python experiments/anomaly.py score KOLEKTOR.npz     scores, compares, writes results/anomaly.json

The file has `train_images`, good parts of some items; `test_images`, good parts of other items and
all defective parts; `test_labels`, 1 for a defect; `test_masks`; and `train_ids`, item and part.
Windows and thresholds are those of the library and of the validation items: nothing is chosen on
the test images. Runs and scores are kept in runs/, and both commands may be stopped at any time.
"""

import argparse
from pathlib import Path

import numpy as np
from common import trained

from nextpixel import TrainConfig
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
        np.savez_compressed(
            place, train_images=images[~held_out], valid_images=images[held_out]
        )
    return place


def train(data: Path) -> Path:
    """The run folder of the model of good parts."""
    return trained(RUN, str(good_parts(data)), MODEL, TRAINING, levels=256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=("train", "score"))
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    train(asked.data)


if __name__ == "__main__":
    main()
