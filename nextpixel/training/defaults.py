"""What a run chooses where nobody did: kind of grids, head, crops, and learning rate."""

from collections.abc import Mapping
from dataclasses import replace

from nextpixel.data.kinds import kind_of
from nextpixel.data.splits import ImageData
from nextpixel.errors import UsageError
from nextpixel.settings.choice import KINDS, NETWORKS, ModelChoice
from nextpixel.settings.training import TrainConfig, total_steps, usual_rate

__all__ = ["with_crop", "with_head", "with_kind", "with_rate"]

_LARGE = 2 * 64 * 64
_CROP = 64
_NARROW = 32


def with_kind(choice: ModelChoice, data: ImageData) -> tuple[ModelChoice, str]:
    """A choice with the defaults of the kind of grids, see `ModelChoice.kind`.

    Args:
        choice: What is asked for; its own values of the network take precedence.
        data: The images.

    Returns:
        The choice, and a note of what was chosen; "" if nothing was.

    Raises:
        UsageError: Such a kind was asked for, and a model that cannot have it.

    Example:
        >>> from nextpixel.data.load import load_data
        >>> choice, note = with_kind(ModelChoice(kind="codes"), load_data("digits"))
        >>> choice.network, note
        ({'value_features': 32}, '')
    """
    kind, why = kind_of(data) if choice.kind == "auto" else (choice.kind, "")
    defaults = KINDS[kind]
    ordinal = choice.network_class not in NETWORKS or choice.network.get("head") == "logistic"
    if ordinal and defaults and choice.kind != "auto":
        other = "head='logistic'" if choice.network_class in NETWORKS else f"model={choice.model!r}"
        raise UsageError(
            f"‹kind={choice.kind!r}› is for values without an order, and ‹{other}› takes them as"
            " brightness; leave out one"
        )
    if ordinal:
        defaults = {}
    chosen = replace(choice, kind=kind, network=defaults | dict(choice.network))
    if choice.kind != "auto" or not (defaults or data.categorical):
        return chosen, ""
    shown = ", ".join(f"‹{name}={value}›" for name, value in defaults.items())
    other = "photograph" if defaults else "tiles"
    with_ = f" with {shown}" if shown else ""
    meaning = "values are brightness" if defaults else "they are categories"
    return chosen, f"chose ‹kind={kind}›{with_}, because {why}; give ‹kind={other}› if {meaning}"


_BYTES = 256
_COLOURS = 3
_MANY = 1024


def with_head(choice: ModelChoice, data: ImageData) -> tuple[ModelChoice, str]:
    """A choice with the head that suits colour photographs and many levels, if none was asked for.

    Args:
        choice: The model, with the defaults of its kind.
        data: The images.

    Returns:
        The choice, and a note of what was chosen; "" if nothing was.
    """
    ordered = choice.kind == "photograph" and choice.model in NETWORKS
    asked = {"head", "linear_prediction", "value_features"} & choice.network.keys()
    many = data.levels > _MANY
    coloured = data.levels == _BYTES and data.channels >= _COLOURS
    if asked or not ordered or not (many or coloured):
        return choice, ""
    network = {"head": "logistic", "linear_prediction": True} | dict(choice.network)
    chosen = replace(choice, network=network)
    if many:
        return chosen, (
            "chose ‹head=logistic› with ‹linear_prediction›, because a softmax needs an"
            f" output for each of {data.levels:,} levels; ‹levels={_BYTES}› reduces the levels"
        )
    return chosen, (
        "chose ‹head=logistic› with ‹linear_prediction›, which learn colours in fewer updates;"
        " ‹head=softmax› can tell any values apart, and takes far longer"
    )


def with_crop(
    training: TrainConfig, data: ImageData, choice: ModelChoice, given: Mapping[str, object]
) -> tuple[TrainConfig, str]:
    """A configuration that trains on windows of images that are too large to train on whole.

    Args:
        training: The configuration; its own crop takes precedence.
        data: The images.
        choice: The model; only one that takes images of any size is trained on windows.
        given: The fields of the preparation that were asked for; a size asks for whole images.

    Returns:
        The configuration, and a note of what was chosen; "" if nothing was.
    """
    maps = data.train.maps
    if (
        training.crop is not None
        or given.get("size") is not None
        or data.shape is None
        or data.shape[0] * data.shape[1] <= _LARGE
        or min(data.shape) < _NARROW
        or choice.model not in NETWORKS
        or choice.network.get("position_waves")
        or (maps is not None and maps.shape[2:] != data.shape)
    ):
        return training, ""
    side = min(_CROP, *data.shape)
    size = f"{data.shape[0]}x{data.shape[1]}"
    return replace(training, crop=side), (
        f"images of {size} pixels are trained on in random windows, ‹crop={side}›; ‹size={size}›"
        " trains on whole images"
    )


def with_rate(training: TrainConfig, data: ImageData, updates: int | None) -> TrainConfig:
    """A configuration with the learning rate that suits its length, if it has none.

    Args:
        training: The configuration.
        data: The images.
        updates: About how many a run of so many minutes has; None if that is not known.
    """
    if training.learning_rate is not None:
        return training
    length = total_steps(training, len(data.train)) or updates
    return replace(training, learning_rate=usual_rate(training.optimizer, length))
