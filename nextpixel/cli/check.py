"""nextpixel check: is a checkpoint a probability model of images."""

from pathlib import Path

from nextpixel.errors import UsageError

__all__ = ["check"]


def check(
    model: str, /, *, size: str = "4x5", picture: Path | None = None, field: int = 15
) -> None:
    """What a model leaks, what of the past it never sees, and whether its probabilities sum to one.

    Exit code 1 if it is not a probability model.

    Parameters
    ----------
    model
        A run folder or a checkpoint.
    size
        Side, or HEIGHTxWIDTH, of the images probed; the cost grows with the square of their number
        of sub-pixels.
    picture
        Where to draw the receptive field of one pixel (.png): green is seen, grey is past but never
        seen, black is the pixel, red is a leak, white is the future. One panel for each colour that
        sees (down) and is seen (across).
    field
        Side of the image in that picture.
    """
    from nextpixel.analysis.causality import check_causality
    from nextpixel.analysis.receptive_fields import receptive_field_picture
    from nextpixel.checkpoint import load
    from nextpixel.cli.options import parse_size
    from nextpixel.cli.output import check_out
    from nextpixel.data.image_files import write_image

    if field < 1:
        raise UsageError(f"‹field={field}› must be at least 1")
    if picture is not None:
        check_out(picture, (".png",))
    network = load(model)
    network.scales()  # raises for an auto-encoder without a likelihood, of which there is nothing to check
    report = check_causality(network, shape=parse_size(size))
    print(report)
    if picture is not None:
        write_image(picture, receptive_field_picture(network, (field, field)))
        print(f"receptive field: {picture}")
    if not report.ok:
        raise SystemExit(1)
