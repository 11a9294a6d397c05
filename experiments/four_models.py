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
from plots import Curve, validation_curves

from nextpixel import Preparation, TrainConfig, load, load_data
from nextpixel.settings.choice import ModelChoice
from nextpixel.training.evaluation import evaluate
from nextpixel.training.metrics import read_metrics

TRAINING = TrainConfig(
    epochs=1,
    batch_size=32,
    optimizer="adamw",
    learning_rate=0.002,
    precision="bf16",
    evaluate_every=260,
    ema_decay=0.998,
)
# Name, model, and what the papers report after long training, in nats; the published Diagonal
# BiLSTM has fewer parameters than ours.
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
    results, curves = {}, []
    for name, (choice, published) in MODELS.items():
        run = trained(f"four-{name}", source, choice, TRAINING, conditional=False)
        model, metrics = load(run), read_metrics(run)
        validations = [
            (m["step"], m["valid_bits_per_dim"] * math.log(2) * 784)
            for m in metrics
            if "valid_bits_per_dim" in m
        ]
        began = time.monotonic()
        bits = evaluate(model, test)
        results[name] = {
            **description(run),
            "seconds_of_training": metrics[-1]["seconds"],
            "test_images": len(test),
            "test_nats": bits * math.log(2) * 784,
            "test_bits_per_dim": bits,
            "seconds_of_evaluation": time.monotonic() - began,
            "published_nats": published,
            "validations": validations,
        }
        print(name, json.dumps(results[name]), flush=True)
        curves.append(
            Curve(
                name=type(model).__name__,
                x=[step for step, _ in validations],
                values=[nats for _, nats in validations],
                selected=min(range(len(validations)), key=lambda i: validations[i][1]),
            )
        )
    write("four_models", results)
    validation_curves(
        curves, RESULTS / "four_models.png", x="step of 32 images", y="validation, nats per image"
    )


if __name__ == "__main__":
    main()
