"""Conditions: one, several or none at every border, their values, and what is refused."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from borders import small_passes
from cases import CASES, build, conditions, images, over
from test_bad_input import unchecked_types
from torch import Tensor

from nextpixel import (
    ClassCondition,
    GatedPixelCNN,
    MapCondition,
    VectorCondition,
    bits_per_dim,
    complete,
    sample,
    score,
)
from nextpixel.analysis.causality import dependencies
from nextpixel.analysis.condition_worth import class_log_probabilities
from nextpixel.conditions.kinds import Condition, of_kind
from nextpixel.conditions.notation import as_conditions, conditions_to_json
from nextpixel.conditions.values import (
    Values,
    as_values,
    broadcast,
    forget,
    index,
    random_values,
    unknown,
)
from nextpixel.errors import UsageError
from nextpixel.inference.interpolation import interpolate
from nextpixel.layers.conditioning import ConditionBias, ConditionEncoder
from nextpixel.models.core import ImageModel
from nextpixel.scoring import log_prob_map
from nextpixel.walk import walk

CPU = torch.device("cpu")
KINDS: dict[str, Condition] = {
    "classes": ClassCondition(3),
    "vectors": VectorCondition(2),
    "ordinal maps": MapCondition(2, scale=2, levels=4, features=4),
    "categorical maps": MapCondition(1, scale=1, levels=3, features=4, categorical=True),
    "real maps": MapCondition(1, scale=3, levels=None, features=4),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
conditional_case = over(names=[name for name in CASES if CASES[name]().conditions])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sensitive(name: str) -> ImageModel:
    """A case whose conditions decide draws."""
    model = build(name)
    for layer in model.modules():
        if isinstance(layer, ConditionBias):
            for weights in (layer.of_vector, layer.of_maps):
                if weights is not None:
                    torch.nn.init.normal_(weights.weight, std=5.0)
    return model


def alone(values: Values, image: int) -> Values:
    return index(values, slice(image, image + 1))


# Borders: None, one or several


@over(names=[name for name in CASES if len(CASES[name]().conditions) < 2])
def test_one_value_and_a_tuple_of_one_are_the_same(name: str) -> None:
    """At every public function; and None is the tuple of none."""
    model, shape = build(name), (1, 3)
    x, values = images(model, 2, shape), conditions(model, 2, shape)
    given = values[0] if values else None
    known = torch.tensor([True, False, True])

    def results(condition: Tensor | Values | None) -> list[Tensor]:
        found = [
            model(x, condition).log_prob(x),
            score(model, x, condition),
            torch.tensor(bits_per_dim(model, x, condition)),
            log_prob_map(model, x, condition),
            sample(model, 2, shape, condition=condition, generator=generator()),
            complete(model, x, known, draws=2, condition=condition, generator=generator()),
        ]
        return found + [log_pmf for _, log_pmf in walk(model, x, condition)]

    for one, several in zip(results(given), results(values), strict=True):
        assert torch.equal(one, several)


def test_every_vector_is_standardised_by_its_own_entries() -> None:
    """Mean 0 and variance 1, of few vectors of any scale; known ones are marked."""
    kinds = (VectorCondition(2), ClassCondition(3), VectorCondition(3))
    first, last = torch.randn(4, 2) * 7 + 3, torch.randn(4, 3) * 0.1 - 50
    last[:, 1] = 5.0
    encoder = ConditionEncoder(kinds, 0).double()
    encoder.standardise(torch.cat([first, last], dim=1))
    encoded = encoder((first, torch.tensor([0, 2, 1, 0]), last), 3, 3).vector
    assert encoded is not None
    own, marks = encoded[:, [0, 1, 6, 8]], encoded[:, [2, 9]]
    torch.testing.assert_close(own.mean(dim=0), torch.zeros(4).double(), atol=1e-4, rtol=0)
    variance = own.var(dim=0, correction=0)
    torch.testing.assert_close(variance, torch.ones(4).double(), atol=1e-3, rtol=0)
    assert (marks == 1).all() and not encoded[:, 7].any()


@conditional_case
def test_a_single_value_is_that_of_every_image(name: str) -> None:
    """With its axis of one image or without, of one condition or of several."""
    model = build(name)
    x, values = images(model, 3, (4, 5)), conditions(model, 1, (4, 5))
    repeated = tuple(value.expand(3, *value.shape[1:]) for value in values)
    wanted = score(model, x, repeated)
    assert torch.equal(score(model, x, values), wanted)
    assert torch.equal(score(model, x, index(values, 0)), wanted)


@pytest.mark.parametrize("name", ["gated-classes", "gated-vector", "gated-map"])
def test_what_looks_at_one_image_takes_a_value_or_a_tuple_of_one(name: str) -> None:
    model, shape = build(name), (3, 4)
    (value,) = conditions(model, 1, shape)
    assert torch.equal(
        dependencies(model, shape, condition=value),
        dependencies(model, shape, condition=(value,)),
    )
    x = images(model, 1, shape)
    if of_kind(model.conditions, ClassCondition):
        found = [class_log_probabilities(model, x, condition=h) for h in (None, value, (value,))]
        assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    if of_kind(model.conditions, VectorCondition):
        ends = value[0], -value[0]
        rows = [
            interpolate(model, first, last, shape, steps=3, generator=generator())
            for first, last in [ends, tuple((end,) for end in ends)]
        ]
        assert torch.equal(rows[0], rows[1])


@every_kind
def test_constructors_take_one_kind_a_tuple_of_one_or_its_json_form(kind: Condition) -> None:
    for given in (kind, (kind,), [kind], kind.to_json(), [kind.to_json()]):
        model = GatedPixelCNN(levels=4, features=4, layers=1, condition=given)
        assert model.conditions == (kind,)
        assert model.config()["condition"] == kind.to_json()


def test_the_tuple_of_none_is_unconditional() -> None:
    for given in (None, (), []):
        model = GatedPixelCNN(levels=4, features=4, layers=1, condition=given)
        assert model.conditions == () and model.encoder is None
        assert model.config()["condition"] is None
    assert as_values(None) == ()


# Batches of different conditions


@conditional_case
def test_each_image_is_drawn_with_its_own_condition(name: str) -> None:
    """A batch equals its images alone, with the same noise, also where it is walked in parts."""
    model, shape = sensitive(name), (2, 3)
    values, together, one_by_one = conditions(model, 3, shape), generator(), generator()
    guidance = 2.0 if "conditions" in name else 1.0
    drawn = sample(
        model,
        3,
        shape,
        condition=values,
        guidance=guidance,
        generator=together,
        batch_size=2,
    )
    for k in range(3):
        by_itself = sample(
            model,
            1,
            shape,
            condition=alone(values, k),
            guidance=guidance,
            generator=one_by_one,
        )
        assert torch.equal(drawn[k], by_itself[0]), k


@conditional_case
def test_each_image_is_completed_with_its_own_condition(name: str) -> None:
    """Also several times, in batches that end between the draws of one image."""
    model, shape = sensitive(name), (2, 3)
    x, values = images(model, 3, shape), conditions(model, 3, shape)
    known = torch.tensor([[True], [False]])
    together, one_by_one = generator(), generator()
    drawn = complete(model, x, known, draws=3, condition=values, generator=together, batch_size=2)
    for k in range(3):
        by_itself = complete(
            model, x[k : k + 1], known, draws=3, condition=alone(values, k), generator=one_by_one
        )
        assert torch.equal(drawn[k], by_itself[0]), k


@conditional_case
def test_each_image_is_scored_with_its_own_condition(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a pass holds one image only, and for a condition that all images share."""
    model, shape = build(name), (3, 2)
    x, values = images(model, 4, shape), conditions(model, 4, shape)
    single = torch.cat([score(model, x[k : k + 1], alone(values, k)) for k in range(4)])
    torch.testing.assert_close(score(model, x, values), single, rtol=1e-12, atol=1e-12)
    shared = score(model, x, alone(values, 1))
    repeated = index(values, torch.ones(4, dtype=torch.int64))
    torch.testing.assert_close(shared, score(model, x, repeated), rtol=1e-12, atol=1e-12)
    with small_passes(shape[0], monkeypatch):
        torch.testing.assert_close(score(model, x, values), single, rtol=1e-12, atol=1e-12)


# Kinds


@every_kind
def test_a_kind_survives_json(kind: Condition) -> None:
    both = ClassCondition(7), kind
    for kinds in ((), (kind,), both, (*both, VectorCondition(1))):
        assert as_conditions(json.loads(json.dumps(conditions_to_json(kinds)))) == kinds


def test_the_json_form_is_that_of_the_first_checkpoints() -> None:
    assert conditions_to_json(()) is None
    assert conditions_to_json((ClassCondition(10),)) == {"classes": 10}
    assert conditions_to_json((VectorCondition(4), MapCondition(3, scale=4))) == [
        {"size": 4},
        {"maps": 3, "scale": 4, "levels": 256, "features": 32, "categorical": False},
    ]
    later = MapCondition(3, context=True)
    assert as_conditions(conditions_to_json((later,))) == (later,)


@every_kind
def test_values_of_a_kind_are_what_it_takes(kind: Condition) -> None:
    """Random and unknown values pass the checks; only the unknown ones are told apart."""
    size = 5, 4
    for values, known in (
        (random_values((kind,), 6, size, generator()), True),
        (unknown((kind,), 6, size), False),
    ):
        assert torch.equal(kind.known(values[0]), torch.full((6,), known))
        (checked,) = broadcast((kind,), values, 6, size, CPU)
        torch.testing.assert_close(checked, values[0], equal_nan=True)
    (value,) = random_values((kind,), 6, size, generator())
    if kind.count is not None:
        assert value.min() == 0 and value.max() == kind.count - 1
    some = torch.tensor([True, False] * 3)
    (mixed,) = forget((value,), some)
    assert torch.equal(kind.known(mixed), ~some)
    assert torch.equal(mixed[~some], value[~some])


@every_kind
def test_features_are_finite_where_values_are_known_and_as_wide_as_announced(
    kind: Condition,
) -> None:
    model = GatedPixelCNN(levels=4, features=4, layers=1, condition=kind)
    assert model.encoder is not None
    encoded = model.encoder(random_values((kind,), 2, (5, 4), generator()), 5, 4)
    found = encoded.maps if kind.per_pixel else encoded.vector
    assert found.shape == (2, kind.width, *((5, 4) if kind.per_pixel else ()))
    assert found.isfinite().all()
    nothing = model.encoder(unknown((kind,), 2, (5, 4)), 5, 4)
    assert not (nothing.maps if kind.per_pixel else nothing.vector).any()


def test_literal_features() -> None:
    double = torch.float64
    assert ClassCondition(3).features_of(torch.tensor([2, 0]), double).tolist() == [
        [0, 0, 1],
        [1, 0, 0],
    ]
    assert VectorCondition(2).features_of(torch.tensor([[3.0, 4.0]]), double).tolist() == [
        [3, 4, 1]
    ]
    ramp = torch.tensor([0, 1, 2]).view(1, 1, 1, 3)
    ordinal = MapCondition(1, levels=3).features_of(ramp, double)
    assert ordinal.flatten().tolist() == [-1, 0, 1]
    one_hot = MapCondition(1, levels=3, categorical=True).features_of(ramp, double)
    assert one_hot[0, :, 0].tolist() == torch.eye(3).tolist()


def test_descriptions() -> None:
    assert [kind.describe() for kind in (ClassCondition(1), *KINDS.values())] == [
        "1 class",
        "3 classes",
        "vectors of 2",
        "maps of 2 channels, 4 levels, scale 2",
        "maps of 1 channel, 3 levels, scale 1",
        "maps of 1 channel, reals, scale 3",
    ]


def test_which_values_of_data_a_condition_accepts() -> None:
    """Those of the same shape and range; how a network treats them is its own affair."""
    classes, vectors, maps = ClassCondition(3), VectorCondition(3), MapCondition(1, levels=4)
    for kind in (classes, vectors, maps):
        assert [kind.accepts(other, (8, 8)) for other in (classes, vectors, maps, None)] == [
            other is kind for other in (classes, vectors, maps, None)
        ]
    assert not classes.accepts(ClassCondition(4), (8, 8))
    assert not vectors.accepts(VectorCondition(4), (8, 8))
    assert maps.accepts(MapCondition(1, levels=4, features=5, categorical=True), (8, 8))
    for other in (
        MapCondition(2, levels=4),
        MapCondition(1, levels=5),
        MapCondition(1, levels=None),
        MapCondition(1, levels=4, scale=4),
    ):
        assert not maps.accepts(other, (8, 8))


def test_conditions_seen_from_a_larger_image() -> None:
    assert ClassCondition(3).seen_from(2) == ClassCondition(3)
    assert VectorCondition(3).seen_from(2) == VectorCondition(3)
    assert MapCondition(1, scale=3, levels=4).seen_from(2) == MapCondition(1, scale=6, levels=4)


# What is refused, each in one sentence

NAN, INF = float("nan"), float("inf")
X = torch.zeros(2, 1, 6, 4, dtype=torch.int64)
REFUSED: dict[str, tuple[str, object, type[Exception], str]] = {
    "two values": ("classes", (torch.zeros(2).long(),) * 2, UsageError, "2 tensors.*takes 1"),
    "an empty tuple": ("classes", (), UsageError, "give condition=the classes 0 … 2"),
    "nothing": ("vectors", None, UsageError, "conditioned on vectors: give condition="),
    "a list": ("classes", [0, 3], UsageError, "class 3; this model knows the classes 0 … 2"),
    "a number in a tuple": ("classes", (3,), UsageError, "class 3"),
    "a text": ("classes", "cat", TypeError, "type str; give a tensor or an array of numbers"),
    "ragged lists": ("vectors", [[0.0], [0.0, 1.0]], UsageError, "lists of several lengths"),
    "an array": ("vectors", np.zeros((2, 3)), UsageError, r"shape \(2, 3\)"),
    "three classes for two images": ("classes", torch.zeros(3).long(), UsageError, r"\(3,\)"),
    "a column of classes": ("classes", torch.zeros(2, 1).long(), UsageError, r"shape \(2, 1\)"),
    "real classes": ("classes", torch.zeros(2), UsageError, "float32; expected the classes"),
    "booleans as classes": ("classes", torch.zeros(2).bool(), UsageError, "type torch.bool"),
    "a class too high": ("classes", torch.tensor([0, 3]), UsageError, "class 3.*0 … 2"),
    "a class too low": ("classes", torch.tensor([0, -2]), UsageError, "class -2.*-1 for unknown"),
    "short vectors": ("vectors", torch.zeros(2, 1), UsageError, r"shape \(2, 1\)"),
    "integer vectors": ("vectors", torch.zeros(2, 2).long(), UsageError, "int64; expected vectors"),
    "an infinite vector": (
        "vectors",
        torch.tensor([[0.0, 0.0], [0.0, INF]]),
        UsageError,
        "vector of image 1 is not finite; give numbers, or NaN throughout",
    ),
    "a partly unknown vector": (
        "vectors",
        torch.tensor([[NAN, 0.0], [NAN, NAN]]),
        UsageError,
        "vector of image 0 is not finite",
    ),
    "a map of another size": (
        "ordinal maps",
        torch.zeros(2, 2, 6, 4).long(),
        UsageError,
        r"shape \(2, 2, 6, 4\).*values 0 … 3 as an integer tensor of shape \(2, 2, 3, 2\)",
    ),
    "a map of other channels": (
        "ordinal maps",
        torch.zeros(2, 1, 3, 2).long(),
        UsageError,
        "shape",
    ),
    "a real map": ("ordinal maps", torch.zeros(2, 2, 3, 2), UsageError, "float32; expected images"),
    "a boolean map": ("ordinal maps", torch.zeros(2, 2, 3, 2).bool(), UsageError, "torch.bool"),
    "a map beyond its levels": (
        "ordinal maps",
        torch.full((2, 2, 3, 2), 4),
        UsageError,
        "value 4; this model knows the values 0 … 3, and -1 throughout for unknown",
    ),
    "a segment beyond the levels": (
        "categorical maps",
        torch.full((2, 1, 6, 4), 3),
        UsageError,
        "value 3.*0 … 2",
    ),
    "a partly unknown map": (
        "ordinal maps",
        torch.tensor([-1, 0, 0, 0, 0, 0]).view(1, 1, 3, 2).expand(2, 2, 3, 2),
        UsageError,
        "value -1.*-1 throughout",
    ),
    "an integer map of reals": ("real maps", torch.zeros(2, 1, 2, 2).long(), UsageError, "float"),
    "an infinite map": (
        "real maps",
        torch.full((2, 1, 2, 2), -INF),
        UsageError,
        "map of image 0 is not finite",
    ),
    "a partly unknown real map": (
        "real maps",
        torch.tensor([0.0, NAN, 0.0, 0.0]).view(1, 1, 2, 2),
        UsageError,
        "map of image 0 is not finite",
    ),
}
BORDERS: dict[str, Callable[[ImageModel, object], object]] = {
    "score": lambda model, h: score(model, X, h),
    "sample": lambda model, h: sample(model, 2, (6, 4), condition=h),
    "complete": lambda model, h: complete(model, X, torch.ones(6, 4).bool(), condition=h),
    "log_prob_map": lambda model, h: log_prob_map(model, X, h),
}


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("name", REFUSED)
def test_values_that_do_not_fit_are_refused_in_a_sentence(name: str, border: str) -> None:
    kind, given, error, message = REFUSED[name]
    model = GatedPixelCNN(levels=4, features=4, layers=1, condition=KINDS[kind])
    with unchecked_types(), pytest.raises(error, match=message) as caught:
        BORDERS[border](model, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("border", BORDERS)
def test_an_unconditional_model_refuses_conditions(border: str) -> None:
    model = GatedPixelCNN(levels=4, features=4, layers=1)
    with pytest.raises(UsageError, match="unconditional; leave condition=None"):
        BORDERS[border](model, torch.zeros(2).long())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ClassCondition(0), UsageError, "classes= must be at least 1, not 0"),
        (lambda: ClassCondition(10**12), UsageError, "must be at most 1,048,576"),
        (lambda: ClassCondition("3"), UsageError, "classes= must be an integer, not '3'"),
        (lambda: ClassCondition(True), UsageError, "must be an integer"),
        (lambda: VectorCondition(2.5), UsageError, "size= must be an integer, not 2.5"),
        (lambda: VectorCondition(-1), UsageError, "at least 1"),
        (lambda: MapCondition(1, scale=999_999_999), UsageError, "scale= must be at most 256"),
        (lambda: MapCondition(1, levels=1), UsageError, "levels= must be at least 2"),
        (lambda: MapCondition(1, features=0), UsageError, "features= must be at least 1"),
        (lambda: MapCondition(1, categorical="no"), UsageError, "must be True or False"),
        (lambda: MapCondition(1, context=1), UsageError, "context= must be True or False"),
        (lambda: MapCondition(1, levels=None, categorical=True), UsageError, "levels is None"),
        (lambda: as_conditions({"classes": None}), UsageError, "must be an integer"),
        (lambda: as_conditions({"size": [4]}), UsageError, "must be an integer"),
        (lambda: as_conditions({"size": 4, "more": 1}), UsageError, "must be of the form"),
        (lambda: as_conditions({}), UsageError, "must be of the form"),
        (lambda: as_conditions("classes"), TypeError, "must be None, a condition such as"),
        (lambda: as_conditions(3), TypeError, "must be None, a condition such as"),
        (lambda: as_conditions([ClassCondition(3), None]), TypeError, "must be None, a condition"),
        (lambda: as_conditions([[ClassCondition(3)]]), TypeError, "must be None, a condition"),
    ],
)
def test_kinds_that_cannot_be_are_refused_in_a_sentence(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with unchecked_types(), pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_ends_of_an_interpolation_that_do_not_fit() -> None:
    both = ClassCondition(3), VectorCondition(2)
    model = GatedPixelCNN(levels=4, features=4, layers=1, condition=both)
    h = torch.tensor(1), torch.zeros(2)
    with pytest.raises(UsageError, match=r"last has 1 tensors.*2 conditions.*in last="):
        interpolate(model, h, h[1], (3, 3))
    with pytest.raises(UsageError, match="not conditioned on any"):
        classes = GatedPixelCNN(levels=4, features=4, layers=1, condition=ClassCondition(3))
        interpolate(classes, h[0], h[0], (3, 3))
