"""A variational PixelCNN auto-encoder of binary MNIST beside its decoder alone, in nats.

    python experiments/variational.py MNIST_BINARIZED.npz [--updates 1200]

PixelVAE (Gulrajani et al., 2017) in small: the decoder sees few rows, so that the code has
something to say. Two models, equal but for the code: the decoder alone, and with a code of 32
numbers. Trained for equally many updates in runs/variational-…. The recipe was fixed before the
test images were scored. Writes experiments/results/variational.json, nats per
image of the test images: the exact likelihood or the lower bound of all, and on every tenth image
the importance-weighted bound, too. And docs/figures/variational.png: samples of each model, seed 0,
not chosen.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import description, trained, write
from plots import framed
from torch import Tensor

from nextpixel import TrainConfig, load, load_data, sample, score
from nextpixel.analysis.uncertainty import standard_error
from nextpixel.autoencoding import divergence, log_weights
from nextpixel.data.image_files import grid
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.settings.choice import ModelChoice

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "variational.png"
DECODER = {"features": 24, "layers": 3, "kernel_size": 3, "first_kernel_size": 3}
CODE = {"model": "pixel-cnn-autoencoder", "code_size": 32, "variational": True}
MODELS = {
    "the decoder alone": ModelChoice(network=DECODER),
    "with a code": ModelChoice(network=DECODER, **CODE),
}
CODES, EACH, SHOWN = 16, 10, 20


def bounds(model: PixelCNNAutoencoder, x: Tensor, codes: int) -> dict[str, Tensor]:
    """Nats of each image: the lower bound with so many codes, and the importance-weighted one."""
    generator = torch.Generator().manual_seed(0)
    weights = log_weights(model, x, samples=codes, generator=generator)
    return {
        "at most": -weights.mean(dim=0),
        "at most, by importance": math.log(codes) - weights.logsumexp(dim=0),
    }


def mean(nats: Tensor) -> dict[str, float]:
    return {"nats": float(nats.mean()), "standard_error": standard_error(nats.numpy())}


def figures(model: torch.nn.Module, x: Tensor, few: Tensor) -> tuple[dict[str, Any], Tensor]:
    """Figures of all images x and of few of them; nats of the few."""
    if not isinstance(model, PixelCNNAutoencoder):
        exact = -score(model, few)
        return {"exact": mean(-score(model, x)), "exact, every tenth": mean(exact)}, exact
    found = {"at most": mean(bounds(model, x, 1)["at most"]), "code": mean(divergence(model, x))}
    of_few = bounds(model, few, CODES)
    found |= {f"{name}, every tenth": mean(nats) for name, nats in of_few.items()}
    return found, of_few["at most, by importance"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--updates", type=int, default=1200)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    test = load_data(asked.data, {"ignore_labels": True}).test
    x = torch.from_numpy(np.asarray(test.images)).long()
    few = x[::EACH]
    results: dict[str, Any] = {
        "updates": asked.updates,
        "images": len(x),
        "importance_samples": CODES,
        "models": {},
    }
    nats, drawn = {}, []
    for name, choice in MODELS.items():
        run = trained(
            f"variational-{name.replace(',', '').replace(' ', '-')}-{asked.updates}",
            asked.data,
            choice,
            TrainConfig(steps=asked.updates, batch_size=32, evaluate_every=asked.updates),
            ignore_labels=True,
        )
        model = load(run)
        found, nats[name] = figures(model, x, few)
        less = nats[name] - next(iter(nats.values()))
        results["models"][name] = description(run) | found | {"less the decoder alone": mean(less)}
        print(name, found, flush=True)
        write("variational", results)
        generator = torch.Generator().manual_seed(0)
        code = None
        if isinstance(model, PixelCNNAutoencoder):
            code = torch.randn(SHOWN, model.code_size, generator=generator)
        drawn.append(sample(model, SHOWN, x.shape[2:], condition=code, generator=generator))
    sheet = grid(torch.cat(drawn).numpy(), columns=SHOWN, levels=2, scale=1)
    framed(sheet, FIGURE, rows=list(MODELS))


if __name__ == "__main__":
    main()
