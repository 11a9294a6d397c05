"""Models on the Hugging Face Hub, through the mixin of huggingface-hub.

A repository holds a checkpoint (`model.safetensors`), its configuration (`config.json`, which
nextpixel only writes) and a model card for people (`README.md`), which is written from the card of
the checkpoint. Nothing in a repository is executed, and nothing but the checkpoint is read.
"""

import json
from pathlib import Path
from typing import Any

import huggingface_hub
from torch import nn

from nextpixel.checkpoint import named, open_checkpoint, save
from nextpixel.files.card import ModelCard, Training
from nextpixel.files.hub import HUB, WEIGHTS, downloaded
from nextpixel.files.replacing import replace_file
from nextpixel.inference.publishing import without_names
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.models.embedding import Embedding
from nextpixel.models.trainable import Trainable

__all__ = ["HubModel"]


class HubModel(
    huggingface_hub.ModelHubMixin,
    library_name="nextpixel",
    tags=["autoregressive", "image-generation", "pixelcnn"],
):
    """A model with `save_pretrained`, `push_to_hub` and `from_pretrained`.

    What is saved is published: private names are dropped from the card, as by
    `nextpixel.inference.publishing.publish`.

    Args:
        model: of a class that a checkpoint can name; wrappers are taken off.
        card: what to say about it.
        keep_classes, keep_words: as for `publish`.

    Attributes:
        model, card: as given, or as loaded.

    Raises:
        UsageError: a checkpoint cannot name the class.

    Example:
        >>> import tempfile
        >>> from nextpixel import PixelCNN, load
        >>> folder = tempfile.mkdtemp()
        >>> _ = HubModel(PixelCNN(levels=4, features=8, layers=2)).save_pretrained(folder)
        >>> HubModel.from_pretrained(folder).model.levels
        4
        >>> load(folder + "/model.safetensors").levels
        4
    """

    def __init__(
        self,
        model: nn.Module,
        card: ModelCard | None = None,
        *,
        keep_classes: bool = False,
        keep_words: bool = False,
    ) -> None:
        self.model, self.card = named(model), card or ModelCard()
        self._keep = {"keep_classes": keep_classes, "keep_words": keep_words}

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **model_kwargs: Any,
    ) -> "HubModel":
        """Loads a model from a folder of `save_pretrained`, or from the Hub.

        The mixin would read `config.json`, too, and make keywords of what a stranger wrote there.

        Raises:
            CheckpointError: as for `nextpixel.load`.
            TypeError: there are further keywords.
        """
        if model_kwargs:
            raise TypeError(f"from_pretrained takes no keyword {min(model_kwargs)!r}")
        if Path(pretrained_model_name_or_path).is_dir():
            path = Path(pretrained_model_name_or_path) / WEIGHTS
        else:
            path = downloaded(
                str(pretrained_model_name_or_path),
                force_download=force_download,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                revision=revision,
            )
        return cls(*open_checkpoint(path))

    def _save_pretrained(self, save_directory: Path) -> None:
        """What the mixin calls: the checkpoint, and its configuration for the Hub's counters."""
        clean, _ = without_names(self.card, **self._keep)
        save(self.model, save_directory / WEIGHTS, card=clean)
        stated = {"model_type": "nextpixel", "model": type(self.model).__name__}
        text = json.dumps(stated | {"config": self.model.config()}, indent=2)
        with replace_file(save_directory / "config.json") as path:
            path.write_text(text + "\n", encoding="utf-8")
        self.generate_model_card().save(save_directory / "README.md")

    def generate_model_card(self, *_: Any, **__: Any) -> huggingface_hub.ModelCard:
        """The README.md of the repository: what the card says, and how to use the model."""
        clean, _dropped = without_names(self.card, **self._keep)
        data: Any = self._hub_mixin_info.model_card_data
        text = f"---\n{data.to_yaml()}\n---\n\n{self._readme(clean)}"
        return huggingface_hub.ModelCard(text, ignore_metadata_errors=True)

    def _readme(self, card: ModelCard) -> str:
        model, facts = self.model, []
        if isinstance(model, Trainable):
            sizes = "any size" if card.shape is None else f"{card.shape[0]}×{card.shape[1]} pixels"
            facts.append(f"images: {sizes}, {model.channels} channels, {model.levels} levels")
            if model.conditions:
                given = ", ".join(part.describe() for part in model.conditions)
                facts.append(f"conditioned on {given}")
        facts.append(f"parameters: {sum(p.numel() for p in model.parameters()):,}")
        if card.classes and self._keep["keep_classes"]:
            facts.append(f"classes: {', '.join(card.classes)}")
        if isinstance(card.training, Training):
            facts.append(f"trained for {card.training.step:,} updates")
            if card.training.valid_bits_per_dim is not None:
                facts.append(f"validation: {card.training.valid_bits_per_dim:.4f} bits/dim")
        lines = "\n".join(f"- {' '.join(fact.split())}" for fact in facts)
        what, code = _use(model, card.shape or (32, 32))
        return f"""# A {type(model).__name__} of nextpixel

{what}

{lines}

```python
{code}
```
"""


def _use(model: nn.Module, size: tuple[int, int]) -> tuple[str, str]:
    """What such a model is, in a sentence, and how it is used; `images` are those of the reader."""
    place = f'"{HUB}OWNER/NAME"'
    if isinstance(model, Embedding):
        return (
            "An embedding of images: the vectors of images that show the same class are close.",
            "from nextpixel.checkpoint import load_embedding\n\n"
            f"model = load_embedding({place})\nvectors = model(images)",
        )
    if not isinstance(model, ImageModel):
        return (
            "An auto-encoder of images for the squared error. It is not a distribution of images.",
            "from nextpixel.checkpoint import load_trainable\n\n"
            f"model = load_trainable({place})\nsimilar = model.reconstruct(images)",
        )
    load = f"import nextpixel\n\nmodel = nextpixel.load({place})\n"
    if isinstance(model, PixelCNNAutoencoder):
        bound = " The likelihood of an image is bounded from below." * model.variational
        return (
            "An auto-encoder of images whose decoder is an exact autoregressive model given a code:"
            f" it draws images that share the code of another.{bound}",
            f"{load}similar = nextpixel.reconstruct(model, images, draws=4)",
        )
    what = "draws images, completes them, and gives their likelihood"
    if not model.conditions:
        return (
            f"An exact autoregressive model of images: it {what}.",
            f"{load}images = nextpixel.sample(model, 4, {size})",
        )
    return (
        f"An exact autoregressive model of images given a condition: it {what}.",
        f"{load}given = tuple(part.random(4, {size}) for part in model.conditions)  # any values\n"
        f"images = nextpixel.sample(model, 4, {size}, condition=given)",
    )
