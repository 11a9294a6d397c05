"""nextpixel check: is a checkpoint a probability model of images."""

from pathlib import Path

from nextpixel.cli.readers import Model, Whole, parse_size

__all__ = ["check"]


def check(
    model: Model,
    /,
    *,
    size: str = "4x5",
    order: str | None = None,
    picture: Path | None = None,
    field: Whole = 15,
) -> None:
    """Check a model for leaks, blind spots and normalisation.

    It reports what the model sees of the future, what it never sees of the past, and whether its
    probabilities sum to one. The exit code is 1 if it is not a probability model.

    Parameters
    ----------
    size
        A side, or HEIGHTxWIDTH, of the images that are probed. The cost grows with the square of
        the number of sub-pixels.
    order
        For a model trained with `--orders`: the order to check, by default `top-left`.
    picture
        A .png to draw the receptive field of one pixel: green is seen, grey is past but never seen,
        black is the pixel, red is a leak, white is the future. There is a panel for each colour
        that sees (down) and is seen (across).
    field
        The side of the image in that picture.
    """
    from nextpixel.inference.checking import check_model

    report = check_model(model, parse_size(size), order=order, picture=picture, field=field)
    print(report)
    if picture is not None:
        print(f"receptive field: {picture}")
    if not report.ok:
        raise SystemExit(1)
