"""What does the code of a PixelCNN auto-encoder hold, and that of one for the squared error?

    python experiments/autoencoder.py PATCHES32.npz

The paper's experiment (Conditional Image Generation with PixelCNN Decoders, section 3.4), on 32×32
natural patches whose test patches come from other photographs: codes of 10 and of 100 numbers, the
same encoder for both decoders. Writes experiments/results/autoencoder.json, and autoencoder_10.png
and autoencoder_100.png: each row an original, the reconstruction by squared error, and draws from
p(x | code).
"""

import argparse

from common import RESULTS, description, evaluated, trained, worth, write
from plots import framed

from nextpixel import TrainConfig
from nextpixel.data.image_files import grid
from nextpixel.inference.reconstruction import reconstruct_images
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import ReconstructionRequest

PREPARATION = {"ignore_labels": True, "validation": 500}
DECODER = {
    "features": 30,
    "layers": 6,
    "kernel_size": 3,
    "first_kernel_size": 7,
    "head": "logistic",
}
PIXEL_CNN = TrainConfig(condition_dropout=0.1, minutes=6, batch_size=32)
CONVOLUTIONAL = TrainConfig(minutes=2, batch_size=32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    source = parser.parse_args().data
    results = {}
    for size in (10, 100):
        decoder = ModelChoice(model="pixel-cnn-autoencoder", code_size=size, network=DECODER)
        pixel_cnn = trained(f"autoencoder-{size}", source, decoder, PIXEL_CNN, **PREPARATION)
        other = ModelChoice(model="convolutional-autoencoder", code_size=size)
        convolutional = trained(
            f"convolutional-{size}", source, other, CONVOLUTIONAL, **PREPARATION
        )
        results[str(size)] = {
            "pixel_cnn": description(pixel_cnn) | {"test": evaluated(pixel_cnn)},
            "code_is_worth": worth(pixel_cnn, 1800, cluster="label"),
            "convolutional": description(convolutional) | {"test": evaluated(convolutional)},
        }
        print(size, results[str(size)], flush=True)
        request = ReconstructionRequest(beside=convolutional, n=10, draws=6)
        shown = reconstruct_images(pixel_cnn, request)
        sheet = grid(shown.grid, columns=8, levels=shown.levels, scale=2)
        columns = (("original", 1), ("squared", 1), ("draws given the code", 6))
        framed(sheet, RESULTS / f"autoencoder_{size}.png", columns=columns)
        write("autoencoder", results)


if __name__ == "__main__":
    main()
