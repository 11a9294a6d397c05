"""The four binary MNIST models that come with nextpixel, compared image by image.

    python experiments/mnist_compared.py MNIST_BINARIZED.npz

Scores the same 10,000 test images with each and writes experiments/results/mnist_compared.json:
the mean and its standard error, the differences of pairs with theirs, which are much smaller, and
the size of the published Diagonal BiLSTM. The models are final; this chooses nothing.
"""

import argparse
import itertools

import torch
from common import write

from nextpixel import Preparation, load, load_data, score
from nextpixel.papers.recipe import cost
from nextpixel.papers.recipes import RECIPES

MODELS = ("mnist", "mnist-row-lstm", "mnist-pixel-cnn", "mnist-gated-pixel-cnn")
PUBLISHED = "mnist-diagonal-bilstm-7-layers"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="the static binarisation of MNIST")
    test = load_data(parser.parse_args().data, Preparation(ignore_labels=True)).test
    x = torch.from_numpy(test.images)
    nats = {name: -score(load(name), x).double() for name in MODELS}

    def mean(values: torch.Tensor) -> dict[str, float]:
        error = values.std() / len(values) ** 0.5
        return {"nats": float(values.mean()), "standard_error": float(error)}

    price = cost(RECIPES[PUBLISHED])
    write(
        "mnist_compared",
        {
            "images": len(test),
            "models": {name: mean(values) for name, values in nats.items()},
            "differences": {
                f"{a} less {b}": mean(nats[a] - nats[b])
                for a, b in itertools.combinations(MODELS, 2)
            },
            "published_shape": {
                "recipe": PUBLISHED,
                "parameters": price.parameters,
                "gigaflops_per_image": price.gigaflops_per_image,
            },
        },
    )


if __name__ == "__main__":
    main()
