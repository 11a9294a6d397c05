"""nextpixel sample: pictures drawn from a trained model."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from nextpixel.errors import UsageError

__all__ = ["sample"]


def sample(
    model: str,
    *,
    out: Path = Path("samples.png"),
    n: int = 64,
    size: str | None = None,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    caption: str | None = None,
    vectors: Path | None = None,
    data: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    maps: Path | None = None,
    text_encoder: str | None = None,
    embedding: Path | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    seed: int = 0,
    columns: int | None = None,
    enlarge: int = 1,
    batch_size: int = 256,
    device: str = "auto",
) -> None:
    """Draw pictures from a trained model.

    Parameters
    ----------
    model
        A run folder or a checkpoint.
    out
        A .png for all pictures in a grid, an .npy for the integers (n, C, H, W), or a folder for
        one file each.
    n
        Number of pictures; with `--class all`, of each class.
    size
        One side, or HEIGHTxWIDTH; by default that of the training images.
    class_
        For a class-conditional model: a class by name or number, all, or none (unknown). By default
        all, a row each.
    caption
        For a model of captions: what the pictures should show.
    vectors
        For a model of vectors: an .npy file of one (size) or several (n, size).
    data
        What is not given above is taken from the pictures of this source, of the training data by
        default … A variational auto-encoder draws codes from its prior unless this is given.
    split
        … and of this part of it.
    maps
        A map for each picture of --data, for a model of maps: an .npy file in their order, or a
        folder of pictures.
    text_encoder
        MODULE:FUNCTION that made vectors of the captions in training, if it was not the bag of
        words.
    embedding
        For a model trained with --embedding: where that checkpoint is now, if it was moved.
    temperature
        1 draws from the model; less gives likelier pictures, 0 the likeliest value of every
        sub-pixel.
    guidance
        How much a condition counts: 1 draws from the model, more exaggerates it, 0 leaves it out.
        Other values than 1 are for models trained with --condition-dropout, and take twice the
        time.
    seed
        The same seed gives the same pictures.
    columns
        Pictures per row of the grid.
    enlarge
        Enlarge the pictures of a grid so many times.
    batch_size
        Pictures drawn at once.
    device
        auto, cpu, cuda, cuda:1 …
    """
    import torch

    from nextpixel import sampling
    from nextpixel.cli.opening import check_guidance, conditions_for, open_model
    from nextpixel.cli.options import BesideOptions, parse_size
    from nextpixel.cli.output import check_out, check_rows, write_pictures
    from nextpixel.cli.progress import progress_bar
    from nextpixel.conditions import ClassCondition, of_kind

    for name, number in (("n", n), ("enlarge", enlarge), ("columns", columns or 1)):
        if number < 1:
            raise UsageError(f"‹{name}={number}› must be at least 1")
    check_out(out, (".png", ".npy", ""))
    network, card = open_model(model, device)
    shape = parse_size(size) if size else card.shape
    if shape is None:
        raise ValueError(
            "the model was trained on pictures of several sizes; give --size, such as 32 or 48x64"
        )
    check_guidance(guidance, card)
    classes = [part.classes for part in of_kind(network.conditions, ClassCondition).values()]
    if classes and len(network.conditions) == 1 and class_ in (None, "all"):
        # A row of each class.
        if class_ is None:
            check_rows(classes[0], n)
        per_class = max(1, n // classes[0]) if class_ is None else n
        n, columns, class_ = per_class * classes[0], columns or per_class, "all"
    condition = conditions_for(
        network,
        card,
        n,
        class_=class_,
        caption=caption,
        vectors=vectors,
        data=data,
        split=split,
        beside=BesideOptions(maps=maps, text_encoder=text_encoder, embedding=embedding),
        seed=seed,
    )
    x = sampling.sample(
        network,
        n,
        (shape[0], shape[1]),
        condition=condition,
        temperature=temperature,
        guidance=guidance,
        generator=torch.Generator().manual_seed(seed),
        batch_size=batch_size,
        progress=progress_bar("Drawing"),
    )
    write_pictures(out, x.cpu().numpy(), network.levels, columns=columns, scale=enlarge)
    print(f"{n} pictures of {shape[0]}×{shape[1]}: {out}")
