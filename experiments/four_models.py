"""The four families on binary MNIST, with equal parameters, after one pass over the images.

    python experiments/four_models.py MNIST_BINARIZED.npz

Trains each in runs/four-NAME, or goes on with it there, evaluates on the full test split, and
writes experiments/results/four_models.json and .png. The question: in what
order do they come after a short training? The papers give the order after a long one.
"""

import argparse
import json
import math
import time

from common import RESULTS, description, trained, write
from matplotlib.figure import Figure

from nextpixel import Preparation, TrainConfig, load, load_data
from nextpixel.settings.choice import ModelChoice
from nextpixel.training.evaluation import evaluate
from nextpixel.training.metrics import read_metrics

TRAINING = TrainConfig(
    epochs=1,
    batch_size=32,
    learning_rate=0.002,
    precision="bf16",
    evaluate_every=260,
    ema_decay=0.998,
)
# Name, model, and what the papers report for their larger models after long training, in nats.
MODELS = {
    "diagonal": (
        ModelChoice(model="diagonal-bilstm", network={"features": 24, "layers": 7}),
        79.20,
    ),
    "row": (ModelChoice(model="row-lstm", network={"features": 26, "layers": 7}), 80.54),
    "pixelcnn": (ModelChoice(model="pixel-cnn", network={"features": 44, "layers": 7}), 81.30),
    "gated": (
        ModelChoice(
            network={"features": 33, "layers": 7, "kernel_size": 3, "first_kernel_size": 7}
        ),
        None,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data", help="the static binarisation of MNIST, as .npz with train, valid and test images"
    )
    source = parser.parse_args().data
    test = load_data(source, Preparation(ignore_labels=True)).test
    results, figure = {}, Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, (choice, published) in MODELS.items():
        run = trained(f"four-{name}", source, choice, TRAINING, conditional=False)
        model, metrics = load(run), read_metrics(run)
        began = time.monotonic()
        bits = evaluate(model, test)
        results[name] = {
            **description(run),
            "seconds_of_training": metrics[-1]["seconds"],
            "test_images": len(test),
            "test_nats": bits * math.log(2) * 784,
            "test_bits_per_dim": bits,
            "seconds_of_evaluation": time.monotonic() - began,
            "papers_nats_for_larger_models": published,
        }
        print(name, json.dumps(results[name]), flush=True)
        points = [
            (m["step"], m["valid_bits_per_dim"] * math.log(2) * 784)
            for m in metrics
            if "valid_bits_per_dim" in m
        ]
        axes.plot(
            *zip(*points, strict=True), marker="o", markersize=3.0, label=type(model).__name__
        )
    axes.set_xlabel("step of 32 images")
    axes.set_ylabel("validation, nats per image")
    axes.set_ylim(top=150)
    axes.grid(alpha=0.3)
    axes.legend()
    write("four_models", results)
    figure.savefig(RESULTS / "four_models.png", dpi=100)


if __name__ == "__main__":
    main()
