"""What several orders gain: the pretrained Gated PixelCNN of binary MNIST, fine-tuned to more.

    python experiments/orders.py mnist_binarized.npz --orders 2 --updates 400

Prints, before and after, the nats per image of each order, their mean, and the mixture.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from common import spread

from nextpixel import TrainConfig, initial_state, train
from nextpixel.data.splits import subset
from nextpixel.scoring import mixed, order_scores
from nextpixel.training.finetune import start_from_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--model", default="nextpixel:mnist-gated-pixel-cnn")
    parser.add_argument("--orders", type=int, default=2)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--images", type=int, default=200, help="test images to score")
    asked = parser.parse_args()
    config = TrainConfig(
        steps=asked.updates, batch_size=16, learning_rate=1e-3, evaluate_every=10**9
    )
    start = start_from_checkpoint(asked.model, asked.data, {}, config, orders=asked.orders)
    data = replace(start.data, valid=subset(start.data.valid, np.arange(0)))
    test = start.data.test
    x = torch.from_numpy(test.batch(spread(asked.images, len(test)))).long()

    def report(after: int, model: torch.nn.Module) -> None:
        nats = -order_scores(model, x)
        members = " ".join(f"{value:.2f}" for value in nats.mean(dim=0).tolist())
        mixture = -float(mixed(-nats).mean())
        print(
            f"{after:6} updates: {members}; mean {nats.mean():.2f}, mixture {mixture:.2f}",
            flush=True,
        )

    state = initial_state(start.model, config)
    report(0, state.average)
    for step in train(state, data, config):
        if step.step in (asked.updates // 8, asked.updates // 2, asked.updates):
            report(step.step, state.average)


if __name__ == "__main__":
    main()
