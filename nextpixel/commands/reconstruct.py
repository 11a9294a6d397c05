"""nextpixel reconstruct: what auto-encoders make of pictures."""

from pathlib import Path
from typing import Literal

__all__ = ["reconstruct"]


def reconstruct(
    model: str,
    /,
    *,
    beside: str | None = None,
    data: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    n: int = 8,
    draws: int = 4,
    out: Path = Path("reconstructions.png"),
    temperature: float = 1.0,
    seed: int = 0,
    scale: int = 1,
    device: str = "auto",
) -> None:
    """Encode pictures, and draw from p(x | code) several times each.

    A .png shows a row for each picture: the original, the reconstruction of the convolutional auto-encoder if there is
    one, and the draws.

    Parameters
    ----------
    model
        A run folder or a checkpoint of a pixel-cnn-autoencoder, or of a convolutional one.
    beside
        The same of a convolutional-autoencoder, to show its reconstructions beside.
    data
        Other pictures than the training data's, prepared in the same way.
    split
        Which part of the data; of other data without splits of their own, all are taken.
    n
        Number of pictures, the first ones.
    draws
        Draws of each picture.
    out
        A .png, or an .npy for the integers (n, draws, C, H, W).
    temperature
        1 draws from the model; less gives likelier pictures.
    seed
        The same seed gives the same pictures.
    scale
        Enlarge the pictures so many times.
    device
        auto, cpu, cuda, cuda:1 …
    """
    import numpy as np
    import torch

    from nextpixel import autoencoding
    from nextpixel.commands.opening import open_model, open_split, progress_bar
    from nextpixel.commands.output import check_out, write_pictures
    from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder

    check_out(out, (".png", ".npy"))
    network, metadata = open_model(model, device)
    other = open_model(beside, device)[0] if beside else None
    if not isinstance(network, PixelCNNAutoencoder | ConvolutionalAutoencoder):
        raise ValueError(f"{model} holds a {type(network).__name__}, which encodes nothing; give an auto-encoder")
    if other is not None and not isinstance(other, ConvolutionalAutoencoder):
        raise ValueError(f"--beside {beside} holds a {type(other).__name__}; give a convolutional auto-encoder")
    pictures, part, _ = open_split(metadata, data, split, labelled=False)
    n = min(n, len(part))
    if n < 1:
        raise ValueError(f"--n (={n}) must be at least 1")
    x = torch.from_numpy(part.batch(range(n)).astype(np.int64))
    columns = [x[:, None]]
    for encoder in (other, network):
        if isinstance(encoder, ConvolutionalAutoencoder):
            columns.append(encoder.reconstruct(x)[:, None].cpu())
    if isinstance(network, PixelCNNAutoencoder):
        generator = torch.Generator().manual_seed(seed)
        bar = progress_bar("Drawing")
        drawn = autoencoding.reconstruct(
            network, x, draws=draws, temperature=temperature, generator=generator, progress=bar
        )
        columns.append(drawn.cpu())
    if out.suffix == ".npy":
        write_pictures(out, columns[-1].numpy(), network.levels)
    else:
        rows = torch.cat(columns, dim=1)
        write_pictures(out, rows.flatten(0, 1).numpy(), network.levels, columns=rows.shape[1], scale=scale)
    print(f"{n} pictures of {pictures.source} and what their codes of {network.code_size} numbers hold: {out}")
