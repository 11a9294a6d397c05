"""What several recipes share: kinds of images, and choices that the papers leave open."""

from typing import Any

__all__ = ["BINARY", "CLIPPED_AND_VALIDATED", "IMAGENET", "NEW", "RGB"]

BINARY: dict[str, Any] = {"levels": 2, "channels": 1}
RGB = {"levels": 256, "channels": 3}
CLIPPED_AND_VALIDATED = (
    (
        "gradients clipped at a norm of 1 (of the loss in bits/dim), and the learning rate rising"
        " over 100 updates"
    ),
    (
        "the weights are those that are best on the validation split; where the data set has none,"
        " 10% of the training images are one"
    ),
)
# Its validation images are the set that the papers report on; nothing is held out besides.
IMAGENET: dict[str, Any] = {"load": {"ignore_labels": True, "test": 0}, "published_on": "valid"}
NEW = "the newer, easier down-sampling, on which the papers have no figure"
