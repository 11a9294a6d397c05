"""nextpixel complete: hidden parts of pictures, filled in several times."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from nextpixel.cli.options import BesideOptions
from nextpixel.errors import UsageError

__all__ = ["complete"]


def complete(
    model: str,
    *,
    data: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    n: int = 8,
    hide: Literal["bottom", "top", "left", "right", "centre"] = "bottom",
    mask: Path | None = None,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    draws: int = 4,
    out: Path = Path("completions.png"),
    temperature: float = 1.0,
    seed: int = 0,
    enlarge: int = 1,
    beside: Annotated[BesideOptions | None, Parameter(name="*")] = None,
    device: str = "auto",
) -> None:
    """Fill in hidden parts of pictures, several times each.

    A .png shows a row for each picture: the original, what the model was given, and the draws. If
    the hidden part is at the bottom, draws come from the exact conditional distribution; otherwise
    known pixels below or to the right of a hidden one are kept but do not inform it. A multi-scale
    model draws the hidden part of the small image first, not informed by the other known pixels.

    Parameters
    ----------
    model
        A run folder or a checkpoint.
    data
        Other pictures than the training data's: any source, also a single picture.
    split
        Which part of the data; of other data without splits of their own, all are taken.
    n
        Number of pictures, the first ones.
    hide
        Which half is hidden, or the centre quarter.
    mask
        Instead of --hide: a picture of the same size, black where pixels are hidden.
    class_
        For a class-conditional model and pictures without labels: their class, by name or number,
        or none.
    draws
        Completions of each picture.
    out
        A .png, or an .npy for the integers (n, draws, C, H, W).
    temperature
        1 draws from the model; less gives likelier completions.
    seed
        The same seed gives the same completions.
    enlarge
        Enlarge the pictures so many times.
    device
        auto, cpu, cuda, cuda:1 …
    """
    import torch

    from nextpixel import sampling
    from nextpixel.cli.opening import conditions_for, open_model, open_split
    from nextpixel.cli.output import check_out, write_pictures
    from nextpixel.cli.progress import progress_bar
    from nextpixel.conditions import ClassCondition, of_kind
    from nextpixel.data.image_files import read_image
    from nextpixel.training.batches import conditioned

    check_out(out, (".png", ".npy"))
    network, card = open_model(model, device)
    conditional = bool(network.conditions)
    source = card.source
    if (conditional and not network.given_by_data) or (source and source.embedding):
        raise ValueError(
            f"{model} is conditioned on what is made of the whole picture, its hidden part"
            " included; use reconstruct"
        )
    pictures, part, _ = open_split(
        card, data, split, labelled=conditional and class_ is None, beside=beside
    )
    n = min(n, len(part))
    for name, number in (("n", n), ("enlarge", enlarge), ("draws", draws)):
        if number < 1:
            raise UsageError(f"‹{name}={number}› must be at least 1")
    if any(size != part.sizes[0].tolist() for size in part.sizes[:n].tolist()):
        raise ValueError(
            f"the first {n} pictures of {pictures.source} differ in size; complete them one by one,"
            " or --n 1"
        )
    x = part.batch(range(n))
    if mask is None:
        known = ~_hidden(hide, x.shape[2], x.shape[3])
    else:
        known = read_image(mask, channels=1)[0] >= 128
        if known.shape != x.shape[2:]:
            raise ValueError(
                f"--mask {mask} is {_size(known.shape)}, but the pictures are {_size(x.shape[2:])}"
            )
    condition: tuple[torch.Tensor, ...] = ()
    if conditional:
        if class_ == "all":
            raise ValueError("--class all is for samples; give the one class of these pictures")
        if class_ is not None:
            condition = conditions_for(
                network, card, n, class_=class_, data=data, split=split, beside=beside
            )
        else:
            if of_kind(network.conditions, ClassCondition) and part.labels is None:
                raise ValueError(
                    f"the model is conditioned on classes, but {pictures.source} has none; give"
                    " --class"
                )
            condition = conditioned(network, part, np.arange(n))[1]
    drawn = sampling.complete(
        network,
        torch.from_numpy(x.astype(np.int64)),
        torch.from_numpy(known),
        draws=draws,
        condition=condition,
        temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
        progress=progress_bar("Completing"),
    )
    result = drawn.cpu().numpy()
    if out.suffix == ".npy":
        write_pictures(out, result, network.levels)
    else:
        shown = np.where(known, x, network.levels // 2)
        rows = np.concatenate([x[:, None], shown[:, None], result], axis=1)
        write_pictures(
            out, rows.reshape(-1, *x.shape[1:]), network.levels, columns=draws + 2, scale=enlarge
        )
    print(f"{draws} completions of {n} pictures of {_size(x.shape[2:])}: {out}")


def _hidden(part: str, height: int, width: int) -> NDArray[np.bool_]:
    hidden = np.zeros((height, width), bool)
    rows, columns = {
        "bottom": (slice(height // 2, None), slice(None)),
        "top": (slice(None, height // 2), slice(None)),
        "left": (slice(None), slice(None, width // 2)),
        "right": (slice(None), slice(width // 2, None)),
        "centre": (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)),
    }[part]
    hidden[rows, columns] = True
    return hidden


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}×{shape[1]}"
