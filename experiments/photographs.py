"""What a linear prediction is worth on photographs: bits per sub-pixel after equal updates.

    python experiments/photographs.py FOLDER [--updates 120]

Trains a Gated PixelCNN of 5 layers of 32 with a mixture of logistics on random windows of 48×48,
with and without `linear_prediction` and for two seeds, in runs/photographs-…, and evaluates it on
the validation photographs. FOLDER has the folders train/ and valid/. Writes
experiments/results/photographs.json.
"""

import argparse
import statistics
from pathlib import Path

from common import description, trained, write

from nextpixel import TrainConfig
from nextpixel.settings.choice import ModelChoice

SEEDS = (0, 1)
NETWORK = {"head": "logistic", "features": 32, "layers": 5, "kernel_size": 5}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--updates", type=int, default=120)
    asked = parser.parse_args()
    found = {}
    for predicts in (False, True):
        bits, seconds, parameters = [], [], 0
        for seed in SEEDS:
            training = TrainConfig(
                steps=asked.updates, batch_size=16, crop=48, precision="float32", seed=seed
            )
            model = ModelChoice(network=NETWORK | {"linear_prediction": predicts})
            name = f"photographs-{'linear' if predicts else 'plain'}-{asked.updates}-{seed}"
            run = trained(name, str(asked.folder), model, training, channels=3, ignore_labels=True)
            what = description(run)
            bits.append(what["training"]["valid_bits_per_dim"])
            seconds.append(what["training"]["seconds"])
            parameters = what["parameters"]
        found["linear prediction" if predicts else "without"] = {
            "parameters": parameters,
            "valid_bits_per_dim": statistics.mean(bits),
            "each": bits,
            "seconds": seconds,
        }
        write("photographs", {"updates": asked.updates, "models": found})


if __name__ == "__main__":
    main()
