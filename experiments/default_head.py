"""Softmax, or a mixture of logistics with a linear prediction: which suits a short training?

    python experiments/default_head.py FOLDER_OR_FILE [FOLDER_OR_FILE ...] [--updates 200]

Trains the default Gated PixelCNN of `nextpixel train` on each data set, with each head, for equally
many updates, in runs/head-NAME-HEAD-UPDATES. Writes experiments/results/default_head.json: bits/dim
of the validation split, and processor seconds.
"""

import argparse
import time
from pathlib import Path

from common import description, trained, write

from nextpixel import TrainConfig
from nextpixel.settings.choice import ModelChoice

HEADS = {
    "softmax": {"head": "softmax"},
    "logistic": {"head": "logistic"},
    "logistic, linear": {"head": "logistic", "linear_prediction": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--updates", type=int, default=200)
    asked = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for source in asked.sources:
        for head, network in HEADS.items():
            training = TrainConfig(steps=asked.updates, batch_size=16)
            name = f"head-{source.stem}-{head.replace(', ', '-')}-{asked.updates}"
            start = time.process_time()
            run = trained(
                name, str(source), ModelChoice(network=network), training, ignore_labels=True
            )
            what = description(run)
            found.setdefault(source.stem, {})[head] = {
                "parameters": what["parameters"],
                "valid_bits_per_dim": what["training"]["valid_bits_per_dim"],
                "processor_seconds": time.process_time() - start,
            }
            write("default_head", {"updates": asked.updates, "data": found})


if __name__ == "__main__":
    main()
