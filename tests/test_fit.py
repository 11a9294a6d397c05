"""Archives that hold their model: self-contained, exact, and bounded whatever they claim."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nextpixel import GatedPixelCNN
from nextpixel.checkpoint import save
from nextpixel.cli.app import main
from nextpixel.codec.archive import Packed, compress_files
from nextpixel.codec.errors import CodecError
from nextpixel.codec.exact import bound_sums, exact, fingerprint
from nextpixel.codec.fields import text, varint
from nextpixel.codec.restore import decompress_files, model_inside, verify_archive
from nextpixel.codec.stored_model import coarse, pack_model, unpack_model
from nextpixel.codec.survey import Survey, survey
from nextpixel.errors import UsageError
from nextpixel.inference.archives import compress_pictures, decompress_pictures, verify_pictures
from nextpixel.inference.fitting import _as_shown, _sample
from nextpixel.models.core import ImageModel
from nextpixel.settings.codec import CompressConfig
from tests.cases import build, over

PLACE = Path("a.npx")


VARIED = ("gated-logistic-linear", "gated-vector", "row-lstm-rgb-classes", "autoencoder")


@over(VARIED)
def test_a_stored_model_is_the_same_model(name: str) -> None:
    built = build(name)
    if name == "gated-vector":  # of units that have no integers in common
        built.encoder.standardise(torch.randn(9, 4) * torch.tensor([1e-3, 0.3, 1.0, 1e9]))  # type: ignore[operator, union-attr]
    model = exact(built)
    body = pack_model(model)
    again = unpack_model(body, PLACE)
    assert fingerprint(exact(again)) == fingerprint(model)
    weights = sum(p.numel() for p in model.parameters())
    assert len(body) < 2 * weights + 60 * len(model.state_dict()) + 2000


def test_weights_cost_what_they_say() -> None:
    """Within a twentieth of the entropy of their distribution, tables and signs included."""
    torch.manual_seed(0)
    model = GatedPixelCNN(levels=4, features=24, layers=3, kernel_size=5)
    sizes = [len(pack_model(exact(coarse(model, places)))) for places in (12, 9, 6)]
    values = torch.cat([p.flatten() for p in exact(coarse(model, 9)).parameters()])
    _, counts = (values * 2**9).round().unique(return_counts=True)
    share = counts / counts.sum()
    entropy = float(-(share * share.log2()).sum()) * len(values) / 8
    assert 0.95 < sizes[1] / entropy < 1.05
    assert sizes[0] > sizes[1] + 0.35 * len(values) and sizes[1] > sizes[2] + 0.3 * len(values)


def test_what_masks_hide_is_not_stored() -> None:
    model = build("gated-rgb")
    x = torch.randint(0, model.levels, (1, 3, 4, 4))
    kept = coarse(model, 12)
    assert float((exact(model)(x).log_prob(x) - exact(kept)(x).log_prob(x)).abs().max()) == 0
    hidden = [(m.weight.detach() != 0) & (m._mask() == 0) for m in _masked(kept)]
    assert hidden and not any(part.any() for part in hidden)


def _masked(model: torch.nn.Module) -> list[Any]:
    return [m for m in model.modules() if getattr(m, "masked", False)]


def _claims(body: bytes, old: bytes, new: bytes) -> bytes:
    assert old in body
    return body.replace(old, new, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: _claims(body, b'"GatedPixelCNN"', b'"os.system    "'),
        lambda body: _claims(body, b'"GatedPixelCNN"', b'"Embedding"    '),
        lambda body: _claims(body, b'"layers": 1', b'"layers": 9'),
        lambda body: _claims(body, b'"levels": 4', b'"levels": 5'),
        lambda body: _claims(body, b'"features": 4', b'"features": []'),
        lambda body: _claims(body, b"blocks.0", b"blocks.7"),
        lambda body: b"\x02[]" + body[2:],
        lambda _: text("{}") + varint(1) + text("a") + varint(300_000) + varint(2**62) * 300_000,
    ],
)
@pytest.mark.timeout(10)
def test_a_forged_model_is_damage(change: Callable[[bytes], bytes]) -> None:
    body = pack_model(exact(GatedPixelCNN(levels=4, features=4, layers=1, kernel_size=3)))
    unpack_model(body, PLACE)
    with pytest.raises(CodecError, match="model in the compressed data is damaged|data is damaged"):
        unpack_model(change(body), PLACE)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Noisy slopes of grey, two sizes."""
    random = np.random.default_rng(0)
    for k in range(6):
        height, width = (32, 40) if k % 2 else (36, 28)
        slope = np.add.outer(np.arange(height), np.arange(width) * k) + random.integers(
            0, 120, (height, width)
        )
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray((slope % 256).astype(np.uint8)).save(tmp_path / "in" / f"{k}.png")
    return tmp_path / "in"


def test_an_archive_with_its_model_needs_no_other(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GatedPixelCNN(levels=256, features=4, layers=1, kernel_size=3, head="logistic").eval()
    archive = tmp_path / "a.npx"
    (pictures / "x.jpg").write_bytes(b"no picture")
    packed = compress_files(model, [pictures], archive, CompressConfig(include_model=True))
    assert packed.pictures and 500 < packed.model_bytes < archive.stat().st_size
    inside = model_inside(archive)
    assert inside is not None and verify_archive(None, archive) == 7
    for path in decompress_files(None, archive, tmp_path / "out"):
        if path.suffix == ".png":
            with Image.open(path) as a, Image.open(pictures / path.name) as b:
                assert a.tobytes() == b.tobytes()
    data = bytearray(archive.read_bytes())
    data[data.index(b'"GatedPixelCNN"') + 3] ^= 1
    archive.write_bytes(data)
    with pytest.raises(CodecError, match=r"0\.png and \d+ others cannot be restored"):
        decompress_files(None, archive, tmp_path / "rest")
    assert [path.name for path in (tmp_path / "rest").iterdir()] == ["x.jpg"]
    archive.unlink()
    compress_files(model, [pictures], archive)
    with pytest.raises(CodecError, match="does not hold its model"):
        decompress_files(None, archive, tmp_path / "none")


def test_an_archive_of_files_alone_needs_no_model(tmp_path: Path) -> None:
    model = GatedPixelCNN(levels=256, features=4, layers=1, kernel_size=3)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jpg").write_bytes(b"no picture")
    for name, inside in (("", True), ("gone", False)):
        archive = tmp_path / f"{inside}.npx"
        config = CompressConfig(include_model=inside)
        packed = compress_files(model, [tmp_path / "in"], archive, config, name=name)
        assert packed.model_bytes == 0 and verify_pictures(archive) == 1
        (path,) = decompress_pictures(archive, tmp_path / f"{inside}")
        assert path.read_bytes() == b"no picture"


def test_a_survey_tells_colours_and_levels(tmp_path: Path) -> None:
    grey = np.array([[0, 85], [170, 255]], dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "four.png")
    Image.fromarray(grey > 0).save(tmp_path / "two.png")
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tmp_path / "colour.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    found = survey(sorted(tmp_path.iterdir()))
    assert (found.channels, found.levels, found.sub_pixels) == (1, 4, 8)
    assert [x.tolist() for x in found.pictures] == [[[[0, 1], [2, 3]]], [[[0, 3], [3, 3]]]]
    for few, said in (
        (1, r"bad\.png is no picture that"),
        (2, "none of 2 files is a picture that"),
    ):
        with pytest.raises(CodecError, match=said):
            survey([tmp_path / "bad.png"] * few)


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextpixel.inference.fitting._LEAST_BYTES", 1000)
    monkeypatch.setattr("nextpixel.inference.fitting._SIZES", ((4, 1),))


def test_compress_fits_a_model_and_stores_it(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick(monkeypatch)
    archive = str(tmp_path / "a.npx")
    main(["compress", str(pictures), "-o", archive, "--fit", "0.005"])
    said = capsys.readouterr().out
    assert "updates; makes the archive" in said
    assert "and the model" in said and "no pretrained model takes such pictures" in said
    main(["decompress", archive, "-o", str(tmp_path / "out")])
    main(["archive", "verify", archive])
    main(["archive", "list", archive])
    assert "with its model" in capsys.readouterr().out
    for path in pictures.iterdir():
        with Image.open(path) as a, Image.open(tmp_path / "out" / path.name) as b:
            assert a.tobytes() == b.tobytes()


def test_a_model_that_does_not_pay_is_dropped(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    torch.manual_seed(0)
    other = GatedPixelCNN(levels=256, features=4, layers=1, kernel_size=3, head="logistic")
    save(other, tmp_path / "m.safetensors")
    before = {name: value.clone() for name, value in other.state_dict().items()}
    packed = compress_pictures(
        tmp_path / "m.safetensors", [pictures], tmp_path / "a.npx", fit=0.0001
    )
    (name, size), own = list(packed.estimates.items())[1], packed.estimates["fit"]
    assert name.endswith("m.safetensors") and (packed.model_bytes > 0) == (own < size)
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_a_model_of_256_levels_is_compared_by_what_files_show() -> None:
    x = np.array([[[0, 1], [1, 0]]], dtype=np.uint8)
    found = Survey(channels=1, levels=2, pictures=(x,), sub_pixels=4)
    shown = _as_shown(_sample(found.pictures), found, 256)
    assert shown.images[0].tolist() == [[[0, 255], [255, 0]]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_training(
    number: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)

    def after_two(_: Any, steps: Iterator[Any]) -> Iterator[Any]:
        for step in steps:
            if step.step == 2:
                os.kill(os.getpid(), number)
            assert step.step <= 3
            yield step

    archive = tmp_path / "a.npx"
    keywords: dict[str, Any] = {"fit": 1, "training": after_two}
    if number == signal.SIGINT:
        compress_pictures(None, [pictures], archive, **keywords)
        assert verify_archive(None, archive) == 6
        return
    with pytest.raises(KeyboardInterrupt, match="nothing is written"):
        compress_pictures(None, [pictures], archive, **keywords)
    assert not archive.exists()


@over(("gated-logistic-linear", "row-lstm-rgb-classes", "diagonal-classes-and-map"))
def test_weights_are_scaled_down_to_the_bound_and_not_otherwise(name: str) -> None:
    model = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    bound_sums(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    for parameter in model.parameters():
        parameter.data.mul_(3000)
    with pytest.raises(UsageError, match="exact sums are guaranteed up to 512"):
        exact(model)
    bound_sums(model)
    exact(model)


def test_no_minute_of_training_is_lost(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether weights grow beyond the bound of exact sums, or are no numbers any more."""
    quick(monkeypatch)
    archive = tmp_path / "a.npx"

    def grown(plan: Any, steps: Iterator[Any]) -> Iterator[Any]:
        for step in steps:
            if step.step == 2:
                plan.model.head_out.weight.data.mul_(1e6)
            if step.step == 4:
                plan.model.head_out.weight.data.fill_(torch.nan)
            yield step

    packed = compress_pictures(None, [pictures], archive, fit=1, training=grown)
    assert packed.ended.startswith("step 5: the loss is nan")
    assert packed.model_bytes and verify_archive(None, archive) == 6


def test_a_model_is_trained_on_with_the_pictures_that_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RGB pictures of few values, among more grey ones, from a model of RGB and 256 levels."""
    quick(monkeypatch)
    monkeypatch.setattr("nextpixel.inference.fitting._LEAST_BYTES", 1)
    values = np.random.default_rng(0).integers(0, 2, (2, 12, 12, 3), dtype=np.uint8) * 255
    for k, x in enumerate(values):
        Image.fromarray(x).save(tmp_path / f"{k}.png")
    Image.fromarray(np.zeros((99, 99), np.uint8)).save(tmp_path / "grey.png")
    model = GatedPixelCNN(channels=3, features=3, layers=1, kernel_size=3, head="logistic")
    save(model, tmp_path / "m.safetensors")
    given = tmp_path / "m.safetensors"
    packed = compress_pictures(given, [tmp_path], tmp_path / "a.npx", fit=0.0001)
    assert packed.pictures == 2 and list(packed.kept.values()) == [["grey.png"]]
    with pytest.raises(CodecError, match="of the model's 3 channels and 256 levels"):
        compress_pictures(given, [tmp_path / "grey.png"], tmp_path / "b.npx", fit=1)


def test_what_cannot_be_fitted_is_refused_before_it_trains(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.npx"
    for keywords, said in (
        ({"fit": 1}, "pays from about"),
        ({"fit": 0}, "must be a number of minutes"),
        ({"fit": 1, "config": CompressConfig(class_="a")}, "without classes"),
    ):
        with pytest.raises(CodecError if "pays" in said else ValueError, match=said):
            compress_pictures(None, [pictures], out, **keywords)  # type: ignore[arg-type]
    assert not out.exists()


def test_the_pretrained_model_for_such_pictures_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[ImageModel] = []

    def called(model: ImageModel, *_: Any, **__: Any) -> Packed:
        got.append(model)
        return Packed()

    monkeypatch.setattr("nextpixel.inference.archives.compress_files", called)
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    Image.fromarray(grey > 50).save(tmp_path / "two.png")
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / "colour.png")
    Image.fromarray(np.stack([grey > 50] * 3, axis=2) * np.uint8(255)).save(tmp_path / "few.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    for name, model in (("two", (1, 2)), ("colour", (3, 256)), ("few", (3, 256))):
        compress_pictures(None, [tmp_path / f"{name}.png"], tmp_path / "a.npx")
        assert (got[-1].channels, got[-1].levels) == model
    for k in range(3):  # mostly grey: those that a model takes are coded
        Image.fromarray(np.kron(grey, np.ones((9, 9), np.uint8))).save(tmp_path / f"grey{k}.png")
    compress_pictures(None, [tmp_path], tmp_path / "a.npx")
    assert (got[-1].channels, got[-1].levels) == (3, 256)
    for name in ("colour", "few"):
        (tmp_path / f"{name}.png").unlink()
    compress_pictures(None, [tmp_path], tmp_path / "a.npx")
    assert (got[-1].channels, got[-1].levels) == (1, 2)
    with pytest.raises(CodecError, match="no pretrained model takes pictures of channels=1"):
        compress_pictures(None, [tmp_path / "grey.png"], tmp_path / "a.npx")


def test_a_model_that_knows_places_is_not_fitted_to_windows(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick(monkeypatch)
    model = GatedPixelCNN(levels=256, features=4, layers=1, kernel_size=3, position_waves=1)
    save(model, tmp_path / "m.safetensors")
    options = ["--fit", "0.005", "--model", str(tmp_path / "m.safetensors")]
    with pytest.raises(SystemExit) as ended:
        main(["compress", str(pictures), "-o", str(tmp_path / "a.npx"), *options])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "the model knows where in an image a pixel is" in said
    assert "give another --model, or leave it out" in said and "crop" not in said
