"""nextpixel inspect: what a trained model expects, pixel by pixel, and how far it looks."""

from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

__all__ = ["inspect"]


def inspect(
    model: str,
    *,
    out: Path = Path("inspect"),
    data: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    image: int = 0,
    pixels: list[str] | None = None,
    images: int = 32,
    field_pixel: str | None = None,
    device: str = "auto",
) -> None:
    """Draw the distributions that a model predicts for some pixels of a picture, and its effective
    receptive field.

    Parameters
    ----------
    model
        A run folder or a checkpoint.
    out
        A folder for predictions.png and effective_field.png.
    data
        Another source of pictures, prepared as the training data were; by default the training
        data.
    split
        Which part of the data.
    image
        Which picture of it, from 0.
    pixels
        ROWxCOLUMN, several if repeated; by default six, from the one that the model is surest of to
        the least sure.
    images
        How many pictures to average the effective field over: the gradient of the law of one pixel.
    field_pixel
        ROWxCOLUMN of that pixel; by default a low one, the middle of the last row but one.
    device
        auto, cpu, cuda, cuda:1 …
    """
    import numpy as np
    import torch

    from nextpixel.analysis import plots
    from nextpixel.analysis.receptive_fields import effective_receptive_field
    from nextpixel.cli.opening import open_model, open_split
    from nextpixel.data.image_files import to_uint8
    from nextpixel.training.batches import conditioned

    network, card = open_model(model, device)
    pictures, part, what = open_split(card, data, split, labelled=bool(network.conditions))
    if not 0 <= image < len(part):
        raise ValueError(
            f"--image {image} is not there: {pictures.source}, {what}, has images 0 …"
            f" {len(part) - 1}"
        )
    if images < 1:
        raise ValueError(f"--images {images} must be at least 1")
    x, condition = conditioned(network, part, np.array([image]))
    with torch.no_grad():
        law = network(x, condition)
        pmf = (
            torch.stack([law.log_pmf(x, c)[0].exp() for c in range(network.channels)])
            .cpu()
            .double()
        )  # (C, L, H, W)
    entropy = torch.special.entr(pmf).sum(dim=(0, 1)) / np.log(2)
    chosen = [_pixel(text, tuple(entropy.shape)) for text in pixels or []] or _spread(
        entropy.numpy()
    )
    at = None if field_pixel is None else _pixel(field_pixel, tuple(entropy.shape), "--field-pixel")
    out.mkdir(parents=True, exist_ok=True)
    plots.predictions(
        _rgb(to_uint8(x[0].cpu().numpy(), network.levels)),
        chosen,
        np.stack([pmf[:, :, row, column].numpy() for row, column in chosen]),
        [x[0, :, row, column].tolist() for row, column in chosen],
        out / "predictions.png",
    )
    print(
        f"{pictures.source}, {what}, image {image}: predictions at {len(chosen)} pixels:"
        f" {out / 'predictions.png'}"
    )
    for row, column in chosen:
        print(f"  row {row}, column {column}: entropy {float(entropy[row, column]):.3f} bits")
    # The picture's own size, so that all of them fit together.
    same = np.flatnonzero((part.sizes == part.sizes[image]).all(axis=1))[:images]
    if network.categorical_values:
        print("the values of this model are names, which have no derivatives: no effective field")
        return
    x, condition = conditioned(network, part, same)
    field = effective_receptive_field(network, x, pixel=at, condition=condition)
    plots.effective_field(field.strength.numpy(), field.pixel, out / "effective_field.png")
    print(f"{field}: {out / 'effective_field.png'}")


def _pixel(text: str, shape: tuple[int, ...], option: str = "--pixels") -> tuple[int, int]:
    """A pixel of an image from ROWxCOLUMN."""
    parts = text.lower().replace("×", "x").split("x")
    if not (len(parts) == 2 and all(part.isdecimal() for part in parts)):
        raise ValueError(f"{option} {text} is no pixel; give its row and column, such as 14x3")
    row, column = int(parts[0]), int(parts[1])
    if row >= shape[0] or column >= shape[1]:
        raise ValueError(
            f"{option} {text} is outside the picture, which has {shape[0]} rows and {shape[1]}"
            " columns"
        )
    return row, column


def _spread(entropy: NDArray[Any]) -> list[tuple[int, int]]:
    """Six pixels of increasing entropy."""
    order = entropy.flatten().argsort()
    ranks = [round(k * (len(order) - 1) / 5) for k in range(6)]
    return [divmod(int(order[rank]), entropy.shape[1]) for rank in ranks]


def _rgb(picture: NDArray[Any]) -> NDArray[Any]:
    """Any number of channels as three: grey repeated, beyond three left out."""
    return picture[:3] if len(picture) >= 3 else picture[:1].repeat(3, axis=0)
