"""A trained model: its weights, its card, and where it comes from.

>>> trained = open_trained("fashion-mnist", device="cpu")
>>> trained.card.classes[:2], trained.given
(('T-shirt/top', 'Trouser'), 'the class')
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nextpixel.arguments import path_of
from nextpixel.checkpoint import load_trainable, open_checkpoint
from nextpixel.devices import pick_device
from nextpixel.errors import UsageError
from nextpixel.files.card import ModelCard
from nextpixel.files.fields import CheckpointError
from nextpixel.models.core import ImageModel
from nextpixel.models.trainable import Trainable
from nextpixel.training.record import own_card

__all__ = ["Description", "Trained", "describe_checkpoint", "given_words", "open_trained"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained model, as every function of `nextpixel.inference` takes it.

    Attributes:
        name: the run folder, checkpoint or pretrained model, as it was given.
        model: the weights, in evaluation mode on their device.
        card: what the checkpoint says about itself. In the run of this user, `card.source` has the
            places of the data, and `card.own` is True.
    """

    name: str
    model: Trainable
    card: ModelCard

    @property
    def distribution(self) -> ImageModel:
        """The model, if it is a distribution of images; otherwise raises CheckpointError."""
        if not isinstance(self.model, ImageModel):
            raise CheckpointError(
                f"{self.name} holds a {type(self.model).__name__}, which has no likelihood and"
                " draws no images; give a distribution of images"
            )
        return self.model

    @property
    def given(self) -> str:
        """What its figures are conditional on: "the class and the vector"; "" for nothing."""
        return given_words(self.model)

    @property
    def digest(self) -> str:
        """The SHA-256 of its weights; files of version 0.1.0 do not say it."""
        if self.card.weights_sha256 is not None:
            return self.card.weights_sha256
        found = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            found.update(f"{name} {tuple(tensor.shape)}".encode())
            found.update(tensor.cpu().double().numpy().tobytes())
        return found.hexdigest()

    def check_guidance(self, guidance: float) -> None:
        """Raise UsageError if guidance needs unknown conditions, but the model has not seen any."""
        if guidance != 1 and not self.card.condition_dropout:
            raise UsageError(
                f"‹guidance={guidance:g}› needs a model that has seen unknown conditions in"
                " training; train one with ‹condition_dropout=0.1›"
            )


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a checkpoint is.

    Attributes:
        card: what it says about itself.
        parameters: the number of parameters of its model.
    """

    card: ModelCard
    parameters: int

    def to_json(self) -> dict[str, Any]:
        """The card, with the digest of the weights and the number of parameters."""
        own = {"weights_sha256": self.card.weights_sha256, "parameters": self.parameters}
        return self.card.to_json() | own


def open_trained(model: str | Path | Trained, *, device: str | torch.device = "auto") -> Trained:
    """Load a trained model with its card; one that is open already is returned unchanged.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model.
        device: "auto", "cpu", "cuda", "cuda:1" …

    Raises:
        CheckpointError: it is missing, damaged, or an embedding.
    """
    if isinstance(model, Trained):
        return model
    model = path_of("model", model, "functions such as nextpixel.score take a model itself")
    network = load_trainable(model, device=pick_device(device))
    return Trained(name=str(model), model=network, card=own_card(model))


def given_words(model: Trainable) -> str:
    """What the figures of a model are conditional on, in words; "" for nothing."""
    if model.conditions and not model.given_by_data:
        return "" if model.figure.kind == "bound" else "its code"
    return " and ".join(f"the {part.noun}" for part in model.conditions)


def describe_checkpoint(model: str | Path) -> Description:
    """Read a checkpoint of any kind, check its weights, and say what it is."""
    network, card = open_checkpoint(model)
    return Description(card=card, parameters=sum(p.numel() for p in network.parameters()))
