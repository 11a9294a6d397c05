"""What does the code of a PixelCNN auto-encoder hold, beside that of one trained for the squared
error?

    python experiments/autoencoder.py PATCHES32.npz

The paper's experiment (Conditional Image Generation with PixelCNN Decoders, section 3.4), on 32×32
natural patches whose test patches come from other photographs: codes of 10 and of 100 numbers, the
same encoder for both decoders. Writes experiments/results/autoencoder.json, and autoencoder_10.png
and autoencoder_100.png: each row an original, the reconstruction by squared error, and draws from
p(x | code).
"""

import argparse
import subprocess
import sys

from common import RESULTS, description, said, trained, write

OPTIONS = "--ignore-labels --validation 500 --batch-size 32 --seed 0"
PIXEL_CNN = (
    "--model pixel-cnn-autoencoder --features 30 --layers 6 --kernel-size 3 --first-kernel-size 7"
    f" --head logistic --condition-dropout 0.1 --minutes 6 {OPTIONS}"
)
CONVOLUTIONAL = f"--model convolutional-autoencoder --minutes 2 {OPTIONS}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    source = parser.parse_args().data
    results = {}
    for size in (10, 100):
        pixel_cnn = trained(f"autoencoder-{size}", source, f"{PIXEL_CNN} --code-size {size}")
        convolutional = trained(
            f"convolutional-{size}", source, f"{CONVOLUTIONAL} --code-size {size}"
        )
        results[str(size)] = {
            "options": {"pixel_cnn": PIXEL_CNN, "convolutional": CONVOLUTIONAL},
            "pixel_cnn": description(pixel_cnn) | {"test": said("evaluate", str(pixel_cnn))},
            "code_is_worth": said("information", str(pixel_cnn), "--images", "1800"),
            "convolutional": (
                description(convolutional) | {"test": said("evaluate", str(convolutional))}
            ),
        }
        print(size, results[str(size)], flush=True)
        picture = RESULTS / f"autoencoder_{size}.png"
        shown = [
            "reconstruct",
            str(pixel_cnn),
            "--beside",
            str(convolutional),
            "--n",
            "10",
            "--draws",
            "6",
        ]
        subprocess.run(
            [sys.executable, "-m", "nextpixel", *shown, "--out", str(picture), "--scale", "2"],
            check=True,
        )
        write("autoencoder", results)


if __name__ == "__main__":
    main()
