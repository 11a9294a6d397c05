"""Is a checkpoint a probability model of images, and what does it see?"""

from pathlib import Path

from nextpixel.analysis.causality import CausalityReport, check_causality
from nextpixel.analysis.receptive_fields import receptive_field_picture
from nextpixel.data.image_files import write_image
from nextpixel.data.image_output import check_output
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.orders import named_order
from nextpixel.settings.requests import check_at_least

__all__ = ["check_model"]


def check_model(
    model: str | Path | Trained,
    shape: tuple[int, int] = (4, 5),
    *,
    order: str | None = None,
    picture: str | Path | None = None,
    field: int = 15,
) -> CausalityReport:
    """Check a trained model for leaks, blind spots and normalisation.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model.
        shape: (H, W) of the images that are probed; see `nextpixel.check_causality`.
        order: in which the model goes through images; None takes the first.
        picture: a .png to draw the receptive field of a pixel, or None.
        field: the side of the image in that picture.

    Raises:
        CheckpointError: the model is missing, damaged, or has no likelihood to check.
    """
    check_at_least(1, field=field)
    if picture is not None:
        check_output(picture, (".png",))
    network = open_trained(model, device="cpu").distribution
    network.scales()  # raises for an auto-encoder without a likelihood
    one = named_order(order)
    report = check_causality(network, shape=shape, order=one)
    if picture is not None:
        write_image(picture, receptive_field_picture(network, (field, field), order=one))
    return report
