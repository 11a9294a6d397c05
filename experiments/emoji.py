"""What does it save to know the category of an emoji, and do drawn ones show it?

    python experiments/emoji.py EMOJI_TWEMOJI32.npz

A Gated PixelCNN of 32×32 emoji in ten categories, of 16 levels a colour, which also met unknown
categories in training. Writes experiments/results/emoji.json and .png, a row of samples of each
category.
"""

import argparse

import torch
from common import RESULTS, description, said, trained, write

from nextpixel import load, sample
from nextpixel.checkpoint import read_card
from nextpixel.data.image_files import grid, write_image

OPTIONS = (
    "--levels 16 --features 30 --layers 6 --kernel-size 3 --first-kernel-size 7 --dropout 0.1"
    " --condition-dropout 0.1 --validation 100 --minutes 15 --seed 0"
)
EACH = 12


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    source = parser.parse_args().data
    run = trained("emoji", source, OPTIONS)
    results = {"options": OPTIONS, **description(run), "test": said("evaluate", str(run))}
    results["category_is_worth"] = said("information", str(run), "--images", "201")
    results["categories"] = list(read_card(run).classes)
    categories = torch.arange(len(results["categories"])).repeat_interleave(EACH)
    x = sample(
        load(run),
        len(categories),
        (32, 32),
        condition=categories,
        generator=torch.Generator().manual_seed(0),
    )
    write_image(RESULTS / "emoji.png", grid(x.numpy(), columns=EACH, levels=16, scale=2))
    print(results)
    write("emoji", results)


if __name__ == "__main__":
    main()
