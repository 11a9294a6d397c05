"""Do samples carry their class, and what is a class worth?

    python experiments/class_conditional.py FASHION.npz

A Gated PixelCNN of Fashion-MNIST by class, which also met unknown classes in training. A small
convolutional classifier, trained apart on the real training images, says which class it sees in
samples of every class, without and with guidance. Writes experiments/results/class_conditional.json
and .png, a row of samples of each class.
"""

import argparse

import numpy as np
import torch
from common import RESULTS, description, evaluated, trained, worth, write
from plots import framed
from torch import Tensor, nn

from nextpixel import Preparation, TrainConfig, load, load_data, sample
from nextpixel.data.image_files import grid
from nextpixel.settings.choice import ModelChoice

MODEL = ModelChoice(network={"features": 30, "layers": 6, "kernel_size": 3, "first_kernel_size": 7})
TRAINING = TrainConfig(condition_dropout=0.1, minutes=16)
PREPARATION = {"levels": 16, "validation": 2000}
EACH = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    source = parser.parse_args().data
    run = trained("fashion-class", source, MODEL, TRAINING, **PREPARATION)
    results = {**description(run), "test": evaluated(run), "class_is_worth": worth(run, 2000)}
    data = load_data(source, Preparation(**PREPARATION))
    classifier = trained_classifier(data.train)
    results["classifier_on_real_test_images"] = accuracy(
        classifier, tensor(data.test), torch.tensor(data.test.labels)
    )
    model = load(run)
    classes = torch.arange(len(data.classes)).repeat_interleave(EACH)
    for guidance in (1.0, 1.5, 3.0):
        generator = torch.Generator().manual_seed(0)
        x = sample(
            model, len(classes), (28, 28), condition=classes, guidance=guidance, generator=generator
        )
        results[f"classifier_on_samples_guidance_{guidance:g}"] = accuracy(classifier, x, classes)
        if guidance == 1:
            shown = x.view(len(data.classes), EACH, 1, 28, 28)[:, :12].flatten(0, 1)
            sheet = grid(shown.numpy(), columns=12, levels=16, scale=2)
            framed(sheet, RESULTS / "class_conditional.png", rows=data.classes)
    print(results)
    write("class_conditional", results)


def tensor(split) -> Tensor:
    return torch.from_numpy(np.asarray(split.images).astype(np.int64))


def trained_classifier(split, epochs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
    ]
    network = nn.Sequential(
        *layers, nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 49, 10)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    x, labels = tensor(split), torch.from_numpy(split.labels)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(128):
            loss = nn.functional.cross_entropy(network(x[rows] / 7.5 - 1), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, x: Tensor, labels: Tensor) -> float:
    seen = torch.cat([network(part / 7.5 - 1).argmax(dim=1) for part in x.split(500)])
    return float((seen == labels).float().mean())


if __name__ == "__main__":
    main()
