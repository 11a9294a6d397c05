"""What does it save to know the category of an emoji, and do drawn ones show it?

    python experiments/emoji.py EMOJI_TWEMOJI32.npz

A Gated PixelCNN of 32×32 emoji in ten categories, of 16 levels a colour, which also met unknown
categories in training. Writes experiments/results/emoji.json and .png, a row of samples of each
category.
"""

import argparse

import torch
from common import RESULTS, description, evaluated, trained, worth, write
from plots import framed

from nextpixel import TrainConfig, load, sample
from nextpixel.checkpoint import read_card
from nextpixel.data.image_files import grid
from nextpixel.settings.choice import ModelChoice

MODEL = ModelChoice(
    network={
        "features": 30,
        "layers": 6,
        "kernel_size": 3,
        "first_kernel_size": 7,
        "dropout": 0.1,
    }
)
TRAINING = TrainConfig(condition_dropout=0.1, minutes=15)
EACH = 12


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    source = parser.parse_args().data
    run = trained("emoji", source, MODEL, TRAINING, levels=16, validation=100)
    results = {**description(run), "test": evaluated(run), "category_is_worth": worth(run, 201)}
    results["categories"] = list(read_card(run).classes)
    categories = torch.arange(len(results["categories"])).repeat_interleave(EACH)
    x = sample(
        load(run),
        len(categories),
        (32, 32),
        condition=categories,
        generator=torch.Generator().manual_seed(0),
    )
    sheet = grid(x.numpy(), columns=EACH, levels=16, scale=2)
    framed(sheet, RESULTS / "emoji.png", rows=results["categories"])
    print(results)
    write("emoji", results)


if __name__ == "__main__":
    main()
