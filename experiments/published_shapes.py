"""What separates our binary MNIST models from the published ones, one change at a time.

    python experiments/published_shapes.py MNIST_BINARIZED.npz [--updates 3125] [--family NAME]

Begins with the published network and training of each family ([1], section 5 and table 4; widths
that are not given there are those of `nextpixel reproduce mnist-…`), and then adds our changes one
after another: every row has all changes of the rows above it. All rows have the same updates and
batches of 16 images, and are validated on the same 10,000 images, with seed 0; the first and the
last row of a family also with two other seeds. The test images are not looked at. Runs are in
runs/published-shapes-UPDATES-…, and go on where they stopped; all rows with seed 0 come first.
Writes experiments/results/published_shapes.json after each.
"""

import argparse
import json
import math
from collections.abc import Iterator
from typing import Any

from common import RESULTS, description, trained, write

from nextpixel import TrainConfig
from nextpixel.papers.recipes import RECIPES
from nextpixel.settings.choice import ModelChoice

Change = tuple[str, dict[str, Any], dict[str, Any]]
"""What a row is called, and what it changes in the network and in the training."""
OURS: tuple[Change, ...] = (
    ("positions", {"position_waves": 3}, {}),
    ("Muon, cosine", {}, {"optimizer": "muon", "learning_rate": 0.003, "schedule": "cosine"}),
    ("averaged weights", {}, {"ema_decay": 0.999}),
)
DROPOUT: Change = ("dropout", {"dropout": 0.1}, {})
PLAIN = {"features": 32, "skip": False, "head_features": None}
FAMILIES: dict[str, tuple[str, tuple[Change, ...]]] = {
    "diagonal-bilstm": (
        "mnist-diagonal-bilstm-7-layers",
        (
            ("as published", {}, {}),
            ("gap closed", {"complete_context": True}, {}),
            *OURS,
            ("3 layers of 32, no skips", {"layers": 3} | PLAIN, {}),
            DROPOUT,
        ),
    ),
    "row-lstm": (
        "mnist-row-lstm",
        (
            ("as published", {}, {}),
            *OURS,
            (
                "4 layers of 32, kernels of 5, no skips",
                {"layers": 4, "kernel_size": 5} | PLAIN,
                {},
            ),
        ),
    ),
    "pixel-cnn": (
        "mnist-pixel-cnn",
        (
            ("as published", {}, {}),
            *OURS,
            (
                "6 layers of 32, kernels of 7, no skips",
                {"layers": 6, "kernel_size": 7} | PLAIN,
                {},
            ),
            DROPOUT,
        ),
    ),
}
SEEDS = (0, 1, 2)
"""All but the first are for the first and the last row of a family."""
NATS = 28 * 28 * math.log(2)
"""Of an image that has one bit a pixel."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="the static binarisation of MNIST")
    parser.add_argument("--updates", type=int, default=3125, help="of 16 images each: an epoch")
    parser.add_argument("--family", choices=FAMILIES, nargs="*", default=list(FAMILIES))
    asked = parser.parse_args()
    path = RESULTS / "published_shapes.json"
    written = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if written.get("updates") != asked.updates:
        written = {"updates": asked.updates, "families": {}}
    for seed in SEEDS:
        for family in asked.family:
            rows = written["families"].setdefault(family, {})
            for number, (name, network, options) in enumerate(_rows(family)):
                if seed and 0 < number < len(FAMILIES[family][1]) - 1:
                    continue
                options |= {"steps": asked.updates, "evaluate_every": asked.updates, "seed": seed}
                run = trained(
                    f"published-shapes-{asked.updates}-{family}-{number}-{seed}",
                    asked.data,
                    ModelChoice(model=family, network=network),
                    TrainConfig(**options),
                    ignore_labels=True,
                )
                what = description(run)
                row = rows.setdefault(name, {"parameters": what["parameters"], "seeds": {}})
                row["seeds"][str(seed)] = {
                    "valid_nats_per_image": what["training"]["valid_bits_per_dim"] * NATS,
                    "minutes": what["training"]["seconds"] / 60,
                }
                write("published_shapes", written)


def _rows(family: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Names, networks and trainings: each with all changes so far."""
    recipe, changes = FAMILIES[family]
    network, options = dict(RECIPES[recipe].model[1]), dict(RECIPES[recipe].training)
    del network["channels"], network["levels"], options["epochs"]  # those of the data; updates
    for name, of_network, of_training in changes:
        network, options = network | of_network, options | of_training
        yield name, network, options


if __name__ == "__main__":
    main()
