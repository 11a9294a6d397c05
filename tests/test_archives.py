"""Archives of pictures: nothing is lost unsaid, and nothing is written where it does not belong."""

import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nextpixel import GatedPixelCNN
from nextpixel.checkpoint import save
from nextpixel.cli.app import main
from nextpixel.codec.archive import Packed, compress_files
from nextpixel.codec.chunks import png_parts
from nextpixel.codec.compress import Coder, compress, decompress, unpack_values
from nextpixel.codec.container import FILE, Header, Reader, Writer
from nextpixel.codec.entries import Entry, check_name, pack_entries, unpack_entries
from nextpixel.codec.errors import CodecError
from nextpixel.codec.fields import Fields, text, varint
from nextpixel.codec.pictures import read_picture
from nextpixel.codec.restore import decompress_files, list_archive, verify_archive
from nextpixel.codec.stored_model import unpack_model
from nextpixel.conditions.kinds import ClassCondition
from nextpixel.errors import UsageError
from nextpixel.inference.archives import decompress_pictures, verify_pictures
from nextpixel.models.core import ImageModel
from nextpixel.settings.codec import CompressConfig, DecompressConfig


@pytest.fixture(scope="module")
def model() -> ImageModel:
    torch.manual_seed(0)
    return GatedPixelCNN(levels=256, features=4, layers=1, kernel_size=3).eval()


def picture(path: Path, size: tuple[int, int] = (10, 9), **keywords: object) -> Path:
    """A file of grey noise."""
    values = np.random.default_rng(len(path.name)).integers(0, 256, size, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **keywords)  # type: ignore[arg-type]
    return path


def folder_of(place: Path) -> Path:
    info = PngInfo()
    info.add_text("Title", "noise")
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    info.add(b"sRGB", b"\0")
    exif = Image.Exif()
    exif[0x010E] = "noise"
    picture(place / "1.png")
    picture(place / "2.png")
    picture(place / "deep" / "3.bmp")
    picture(place / "deep" / "4.pgm")
    picture(place / "text.png", pnginfo=info, dpi=(72, 72))
    picture(place / "exif.png", exif=exif, icc_profile=b"profile")
    picture(place / "lossy.jpg")
    Image.new("RGBA", (5, 4), (1, 2, 3, 4)).save(place / "alpha.png")
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(place / "deep.png")
    Image.new("P", (4, 4)).save(place / "palette.png")
    (place / "notes.txt").write_text("no picture")
    return place


KEPT = {"alpha.png", "deep.png", "lossy.jpg", "palette.png"}


def test_files_are_restored_with_pixels_and_metadata(model: ImageModel, tmp_path: Path) -> None:
    source, archive = folder_of(tmp_path / "in"), tmp_path / "a.npx"
    done: list[tuple[int, int]] = []
    sizes: list[int] = []

    def told(count: int, total: int, so_far: Packed) -> None:
        done.append((count, total))
        sizes.append(so_far.archive_bytes)

    packed = compress_files(model, [source], archive, progress=told)
    assert sizes == sorted(sizes) and 0 < sizes[-1] < packed.archive_bytes
    assert done[9][0] < 10 and done[-1] == (10, 10)  # coded, not only read
    kept = {name for names in packed.kept.values() for name in names}
    assert kept == KEPT and packed.left_out == [str(source / "notes.txt")]
    assert packed.archive_bytes == archive.stat().st_size
    written = decompress_files(model, archive, tmp_path / "out")
    assert len(written) == packed.pictures + len(KEPT) == 10
    for path in written:
        original = source / path.relative_to(tmp_path / "out")
        with Image.open(original) as a, Image.open(path) as b:
            assert (a.format, a.mode, a.size, a.info) == (b.format, b.mode, b.size, b.info)
            assert a.tobytes() == b.tobytes()
        if original.name in KEPT:
            assert path.read_bytes() == original.read_bytes()
    assert verify_archive(model, archive) == 10
    listed = {entry.name: entry for entry in list_archive(archive)}
    assert listed["deep/3.bmp"].size == (10, 9) and listed["lossy.jpg"].size is None


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG file with one more chunk after its header."""
    chunk = kind + body
    checked = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + checked + data[33:]


def png(header: bytes, rows: bytes) -> bytes:
    """A PNG file of these rows."""
    parts = b"IHDR" + header, b"IDAT" + zlib.compress(rows), b"IEND"
    checked = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(checked)


def unusual_files(colour: bytes) -> dict[str, bytes]:
    """Files of which Pillow passes over a part; `colour` is a PNG file of RGB."""
    ppm = b"P6\n2 2\n255\n" + bytes(range(12))
    deep = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    return {
        "16.png": png(deep, (b"\0" + bytes(range(12))) * 2),
        "critical.png": with_chunk(colour, b"CgBI", b"swapped colours"),
        "tail.png": colour + b"more",
        "cut.png": colour[:-6],
        "comment.ppm": ppm.replace(b"P6", b"P6\n# mine"),
        "two.ppm": ppm * 2,
        "dark.ppm": ppm.replace(b"255", b"100"),
        "photo.heic": b"no format that Pillow reads",
    }


CHUNKS = {
    "hdr": [(b"cICP", bytes([9, 16, 0, 1]))],
    "private": [(b"prVt", b"said by a camera")],
    "twice": [(b"tEXt", b"Comment\0one"), (b"tEXt", b"Comment\0two")],
    "language": [(b"iTXt", b"Title\0\0\0de\0Titel\0Bild")],
    "keyword": [(b"tEXt", b"gamma\0one"), (b"zTXt", b"Long\0\0" + zlib.compress(b"a" * 99, 1))],
    "shown": [(b"bKGD", bytes(6)), (b"tRNS", bytes(6)), (b"sBIT", b"\5\6\5"), (b"hIST", b"\0")],
    "time": [(b"tIME", b"\7\xea\1\2\3\4\5"), (b"pHYs", bytes(9)), (b"gAMA", bytes(4))],
    "profile": [(b"iCCP", b"mine\0\0" + zlib.compress(b"profile" * 9)), (b"eXIf", b"MM\0*")],
}


def test_what_pillow_passes_over_is_not_lost(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GatedPixelCNN(channels=3, levels=256, features=6, layers=1, kernel_size=3).eval()
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (9, 8, 4), dtype=np.uint8)
    Image.fromarray(noise[:, :, :3]).save(tmp_path / "in" / "plain.png")
    colour = (tmp_path / "in" / "plain.png").read_bytes()
    for name, chunks in CHUNKS.items():
        data = colour
        for kind, body in chunks:
            data = with_chunk(data, kind, body)
        (tmp_path / "in" / f"{name}.png").write_bytes(data)
    late = with_chunk(colour, b"tIME", bytes(7))[33:52]
    (tmp_path / "in" / "after.png").write_bytes(colour[:-12] + late + colour[-12:])
    noise[:, :, 3] = 200
    Image.fromarray(noise).save(tmp_path / "in" / "opaque.png")
    coded = {path.name for path in (tmp_path / "in").iterdir()}
    kept = unusual_files(colour)
    noise[0, 0, 3] = 0
    Image.fromarray(noise).save(tmp_path / "in" / "varied.png")
    kept["varied.png"] = (tmp_path / "in" / "varied.png").read_bytes()
    for name, data in kept.items():
        (tmp_path / "in" / name).write_bytes(data)
    packed = compress_files(model, [tmp_path / "in"], tmp_path / "a.npx")
    assert {name for names in packed.kept.values() for name in names} == set(kept)
    decompress_files(model, tmp_path / "a.npx", tmp_path / "out")
    for name, data in kept.items():
        assert (tmp_path / "out" / name).read_bytes() == data
    for name in coded:
        before, after = (tmp_path / place / name for place in ("in", "out"))
        assert png_parts(after.read_bytes()) == png_parts(before.read_bytes())
        with Image.open(before) as a, Image.open(after) as b:
            assert (a.mode, a.size, a.info, a.tobytes()) == (b.mode, b.size, b.info, b.tobytes())


def test_chunks_that_speak_of_a_depth_are_not_put_into_another(
    model: ImageModel, tmp_path: Path
) -> None:
    narrow = png(struct.pack(">IIBBBBB", 4, 24, 4, 0, 0, 0, 0), b"\0\x0f\xa5" * 24)
    for name, data, coded in (
        ("plain", narrow, True),
        ("text", with_chunk(narrow, b"tEXt", b"Comment\0one"), True),
        ("background", with_chunk(narrow, b"bKGD", b"\0\5"), False),
    ):
        (tmp_path / name).write_bytes(data)
        assert (read_picture(tmp_path / name, 1, 256).values is not None) == coded


def test_a_picture_is_restored_without_the_others(model: ImageModel, tmp_path: Path) -> None:
    source = tmp_path / "in"
    for number in range(6):
        picture(source / f"{number}.png")
    archive = tmp_path / "a.npx"
    compress_files(model, [source], archive, CompressConfig(together=2))
    only = DecompressConfig(only=("3.png",))
    (path,) = decompress_files(model, archive, tmp_path / "one", only)
    assert path.name == "3.png"
    with pytest.raises(CodecError, match="no picture 9.png"):
        decompress_files(model, archive, tmp_path / "none", DecompressConfig(only=("9.png",)))
    assert not (tmp_path / "none").exists()
    data = bytearray(archive.read_bytes())
    data[65] ^= 1  # in the first block
    archive.write_bytes(data)
    with pytest.raises(CodecError, match=r"0\.png and 1 others cannot be restored"):
        decompress_files(model, archive, tmp_path / "rest")
    assert sorted(p.name for p in (tmp_path / "rest").iterdir()) == [
        f"{k}.png" for k in (2, 3, 4, 5)
    ]


def test_blocks_that_change_places_are_damage(tmp_path: Path) -> None:
    def archive(*bodies: bytes) -> bytes:
        writer = Writer(file := io.BytesIO(), Header(bytes(16), 1, 2))
        for body in bodies:
            writer.add(FILE, body, [Entry(body.decode())])
        writer.finish()
        return file.getvalue()

    data, block = archive(b"a", b"b", b"c"), len(b"\3\1a") + 4
    start = data.index(b"\3\1a")
    first, second = data[start : start + block], data[start + block : start + 2 * block]
    swapped = Reader(io.BytesIO(data.replace(first + second, second + first)))
    assert swapped.block(2) == (FILE, b"c")
    for number in range(2):
        with pytest.raises(CodecError, match="damaged"):
            swapped.block(number)
    old, at = data[:start], struct.unpack("<Q", data[-12:-4])[0]
    for part in (first, second, data[start + 2 * block : at], b"\0" + data[at + 1 : -12]):
        old += part[:-4] + struct.pack("<I", zlib.crc32(part[:-4]))
    assert Reader(io.BytesIO(old + data[-12:])).block(1) == (FILE, b"b")
    for body in (b"a", b"b"):  # alone, a block is what it was before there were numbers
        assert first[:2] + body + struct.pack("<I", zlib.crc32(first[:2] + body)) in archive(body)


def test_nothing_is_replaced_unasked(model: ImageModel, tmp_path: Path) -> None:
    one, archive = picture(tmp_path / "1.png"), tmp_path / "a.npx"
    compress_files(model, [one], archive)
    before = archive.read_bytes()
    with pytest.raises(CodecError, match="exists"):
        compress_files(model, [one], archive)
    with pytest.raises(CodecError, match="1.png exists; give another folder"):
        decompress_files(model, archive, tmp_path)
    picture(tmp_path / "other" / "1.png")
    with pytest.raises(CodecError, match="same name"):
        compress_files(model, [one, tmp_path / "other"], tmp_path / "b.npx")
    picture(tmp_path / "folder" / "1.png" / "2.png")
    with pytest.raises(CodecError, match=r"1\.png is a picture and a folder"):
        compress_files(model, [one, tmp_path / "folder"], tmp_path / "b.npx")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(CodecError, match=r"bad\.png cannot be read as a picture \(unknown"):
        compress_files(model, [one, tmp_path / "bad.png"], archive, CompressConfig(overwrite=True))
    assert archive.read_bytes() == before and not (tmp_path / "b.npx").exists()
    compress_files(model, [one], archive, CompressConfig(overwrite=True))
    assert archive.read_bytes() == before  # the same bytes again


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "/a.png",
        "a/../b.png",
        "C:/a.png",
        "a\\b.png",
        "a//b",
        "nul.png",
        "a\nb",
        "",
        "b.",
    ],
)
def test_unsafe_names_are_refused(model: ImageModel, tmp_path: Path, name: str) -> None:
    with pytest.raises(CodecError, match="not safe"):
        check_name(name)
    if not name:
        return
    archive = tmp_path / "in" / "a.npx"
    archive.parent.mkdir()
    with archive.open("wb") as file:
        writer = Writer(file, Coder(model).header())
        writer.add(FILE, b"data", [Entry(name)])
        writer.finish()
    with pytest.raises(CodecError, match="not safe"):
        decompress_files(model, archive, tmp_path / "in" / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.npx"]


def test_names_that_count_up_are_short() -> None:
    names = [*(f"d/{k:04}.png" for k in range(8, 1200)), "x.png", "d/09.png", "d/10.png", "", ""]
    entries = [Entry(name) for name in names]
    data = pack_entries(entries)
    assert len(data) < 60
    assert unpack_entries(Fields(data), len(entries), 100) == entries


def test_levels_are_those_that_files_show(tmp_path: Path) -> None:
    shown = np.array([[0, 85, 170, 255]], dtype=np.uint8)
    Image.fromarray(shown).save(tmp_path / "four.png")
    values = read_picture(tmp_path / "four.png", 1, 4).values
    assert values is not None and values.tolist() == [[[0, 1, 2, 3]]]
    assert read_picture(tmp_path / "four.png", 1, 2).values is None
    Image.fromarray(shown > 100).save(tmp_path / "two.png")
    values = read_picture(tmp_path / "two.png", 1, 2).values
    assert values is not None and values.tolist() == [[[0, 0, 1, 1]]]


def test_the_commands(
    model: ImageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, archive = tmp_path / "m.safetensors", tmp_path / "a.npx"
    save(model, checkpoint)
    source = folder_of(tmp_path / "in")
    main(["compress", str(source), "--model", str(checkpoint), "-o", str(archive)])
    said = capsys.readouterr().out
    assert "10 pictures, " in said and "bits/dim" in said and "as PNG" in said
    assert "left out, not pictures:" in said and "the format is JPEG: lossy.jpg" in said
    main(["decompress", str(archive), "-o", str(tmp_path / "out")])
    main(["archive", "verify", str(archive)])
    main(["archive", "list", str(archive), "--json"])
    *_, line = capsys.readouterr().out.splitlines()
    assert len(json.loads(line)["pictures"]) == 10
    for arguments in (
        ["compress", str(source), "--model", str(checkpoint), "-o", str(archive)],
        ["decompress", str(archive), "-o", str(tmp_path / "x"), "--model", "mnist"],
        ["archive", "list", str(checkpoint)],
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_memory_is_bounded_whatever_a_header_claims(model: ImageModel) -> None:
    coder, claims = Coder(model), io.BytesIO()
    writer = Writer(claims, coder.header())
    for kind in (1, 2):
        body = b"\x01" + b"\xff\xff\xff\x7f" * 2 + bytes(20)  # one image of 2^28 by 2^28
        with pytest.raises(CodecError):
            coder.decode(kind, body, 1)
    for body in (b"\0" + b"\xff\xff\xff\x7f" * 2, b"\x01\0\x05", b"\xff\xff\xff\x1f\x01\x01"):
        with pytest.raises(CodecError):  # no image of 2^28 by 2^28, one of 0 by 5, 2^26 of 1 by 1
            coder.decode(1, body + b"\x05\x01\0" + bytes(8) + b"\x80" + bytes(7), min(body[0], 1))
    writer.finish()
    with pytest.raises(CodecError):  # a name each, and 64 a byte
        unpack_entries(Fields(b"\x80\x80\x80\x02\x011\0"), 1 << 22, 1 << 16)
    run = varint(1 << 18) + text("1") + text("n" * 9000)  # the note of all, two gigabytes
    with pytest.raises(CodecError):
        unpack_entries(Fields(run), 1 << 18, 1 << 16)


@pytest.mark.timeout(10)
def test_a_name_of_many_numbers_is_counted_up_as_soon_as_others() -> None:
    run = varint(1 << 14) + text("1" * 1000) + text("")
    assert len(unpack_entries(Fields(run), 1 << 14, 1 << 16)) == 1 << 14


def forged(coder: Coder, *files: tuple[list[str], str]) -> bytes:
    """An archive of small pictures, a block for each list of names and note."""
    archive = io.BytesIO()
    writer = Writer(archive, coder.header())
    for names, note in files:
        kind, body = (FILE, b"data") if note == "file" else (2, b"\1\1\1" + zlib.compress(b"\0"))
        writer.add(kind, body, [Entry(name, note) for name in names])
    writer.finish()
    return archive.getvalue()


@pytest.mark.parametrize(
    "files",
    [
        [(["a", "b"], "file")],
        [(["a"], ""), (["a/b"], "")],
        [(["\u00e9"], ""), (["e\u0301"], "")],
        [(["a"], '{"dpi":[1]}')],
        [(["a"], '{"alpha":1e400}')],
        [(["a"], "[" * 5000)],
        [(["é" * 200], "")],
        [(["conin$"], "")],
        [(["com1 .png"], "")],
        [([f"{k}/" + "a/" * 200 + "b" for k in range(9)], "")],
    ],
)
def test_forged_archives_are_refused(
    model: ImageModel, tmp_path: Path, files: list[tuple[list[str], str]]
) -> None:
    (tmp_path / "a.npx").write_bytes(forged(Coder(model), *files))
    with pytest.raises(CodecError):
        decompress_files(model, tmp_path / "a.npx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(CodecError):
        verify_archive(model, tmp_path / "a.npx")


@pytest.mark.parametrize(
    ("command", "typed", "wanted"),
    [
        ("compress", ["--together", "3"], CompressConfig(together=3)),
        ("compress", ["--class", "4"], CompressConfig(class_="4")),
        ("compress", ["--overwrite"], CompressConfig(overwrite=True)),
        ("compress", ["--include-model"], CompressConfig(include_model=True)),
        ("decompress", ["--only", "a.png", "--only", "b"], DecompressConfig(only=("a.png", "b"))),
        ("decompress", ["--overwrite"], DecompressConfig(overwrite=True)),
    ],
)
def test_an_option_reaches_the_library(
    command: str, typed: list[str], wanted: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[object] = []

    def called(*arguments: object, **_: object) -> None:
        got.extend(arguments)
        raise SystemExit(7)

    monkeypatch.setattr(f"nextpixel.inference.archives.{command}_pictures", called)
    given = ["--model", "mnist"] if command == "compress" else []
    with pytest.raises(SystemExit):
        main([command, "a", "-o", "b", *given, *typed])
    assert wanted in got


@pytest.mark.parametrize("name", ["hf:somebody/model", "//machine/share/m", "\\\\machine\\share"])
def test_an_archive_cannot_have_a_model_fetched(
    model: ImageModel, tmp_path: Path, name: str
) -> None:
    with (tmp_path / "a.npx").open("wb") as file:
        Writer(file, Coder(model).header(name)).finish()
    for read in (verify_pictures, lambda path: decompress_pictures(path, tmp_path / "out")):
        with pytest.raises(CodecError, match="nothing is fetched because a file says so"):
            read(tmp_path / "a.npx")  # type: ignore[operator]


def test_a_model_may_be_named_by_nobody(model: ImageModel, tmp_path: Path) -> None:
    with (tmp_path / "a.npx").open("wb") as file:
        writer = Writer(file, Coder(model).header("~nobody-of-this-name/m"))
        writer.add(2, b"\1\1\1" + zlib.compress(b"\0"), [Entry("a")])
        writer.finish()
    with pytest.raises(UsageError, match="home folder of a user who does not exist"):
        verify_pictures(tmp_path / "a.npx")


def test_a_block_that_would_fill_the_memory_is_refused() -> None:
    """A model of a few kilobytes whose maps of large pictures take a terabyte."""
    model = GatedPixelCNN(levels=2, features=1, layers=1, kernel_size=3, position_waves=64)
    coder = Coder(model)
    body = b"".join(map(varint, (1, 6000, 6000, 2, 1, 0))) + bytes(4) + b"\0\0\0\x80" + bytes(4)
    with pytest.raises(CodecError, match="would take more than 4 GiB, or"):
        coder.decode(1, body, 1)


def test_values_that_do_not_fit_into_two_bytes_are_refused() -> None:
    model = GatedPixelCNN(levels=65537, features=2, layers=1, kernel_size=3, head="logistic")
    with pytest.raises(UsageError, match="levels=65537"):
        compress(model, torch.full((1, 1, 2, 2), 65536))


def test_no_folder_is_made_behind_a_link_of_another_user(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "in" / "deep" / "1.png")
    compress_files(model, [tmp_path / "in"], tmp_path / "a.npx")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "theirs")
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    if user == 0:  # links of the system's own user are followed
        os.lchown(tmp_path / "out", 12345, 12345)
    with pytest.raises(UsageError, match="a link that another user made"):
        decompress_files(model, tmp_path / "a.npx", tmp_path / "out")
    assert not list((tmp_path / "theirs").iterdir())


def test_a_tensor_of_too_many_rows_is_damage() -> None:
    """Without elements, and more of them than numpy can count."""
    shape = b"".join(map(varint, (3, 0, 2**62, 2**62)))
    body = text('{"model":"GatedPixelCNN","config":{}}') + b"\1" + text("w") + shape + b"\x11\0"
    with pytest.raises(CodecError, match="the model in the compressed data is damaged"):
        unpack_model(body, Path("a.npx"))


def test_metadata_and_kept_files_take_no_memory_of_their_own(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextpixel.codec.archive._MOST_PENDING", 5000)
    written: list[int] = []
    for k in range(8):  # each takes 2 kB, and 64 make a block
        info = PngInfo()
        info.add(b"prVt", bytes(1000))
        picture(tmp_path / "in" / f"{k}.png", (10, 90), pnginfo=info)
    (tmp_path / "in" / "z.tif").write_bytes(bytes(9000))
    archive = tmp_path / "a.npx"
    compress_files(
        model, [tmp_path / "in"], archive, progress=lambda done, *_: written.append(done)
    )
    assert written[:4] == [0, 2, 2, 4]
    with archive.open("rb") as file:
        reader = Reader(file)
        every = [reader.block(number) for number in range(len(reader.entries))]
        monkeypatch.setattr("nextpixel.codec.container._PART", 7)
        for number, (kind, body) in enumerate(every):
            assert reader.block(number, most=5) == (kind, body[:5])
    data = bytearray(archive.read_bytes())
    data[data.index(bytes(9000)) + 8999] = 1
    archive.write_bytes(data)
    with pytest.raises(CodecError, match="damaged"):
        list_archive(archive)


def test_a_picture_whose_texts_pillow_refuses_is_kept(model: ImageModel, tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Workflow", "x" * 2_000_000, zip=True)
    source = picture(tmp_path / "1.png", pnginfo=info)
    compress_files(model, [source], tmp_path / "a.npx")
    (found,) = decompress_files(model, tmp_path / "a.npx", tmp_path / "out")
    assert found.read_bytes() == source.read_bytes()
    source.write_bytes(source.read_bytes()[:-20])
    with pytest.raises(CodecError, match="cannot be read as a picture"):
        compress_files(model, [source], tmp_path / "b.npx")


def test_a_picture_of_many_pixels_is_kept_without_a_warning(
    model: ImageModel, tmp_path: Path
) -> None:
    large = png(struct.pack(">IIBBBBB", 12_000, 9_000, 8, 0, 0, 0, 0), b"")
    (tmp_path / "1.png").write_bytes(large)
    assert compress_files(model, [tmp_path / "1.png"], tmp_path / "a.npx").kept


def test_images_are_restored_from_an_archive_with_its_model(
    model: ImageModel, tmp_path: Path
) -> None:
    source = picture(tmp_path / "1.png")
    compress_files(model, [source], tmp_path / "a.npx", CompressConfig(include_model=True))
    x = decompress(model, (tmp_path / "a.npx").read_bytes())
    assert np.array_equal(x[0, 0].numpy(), np.asarray(Image.open(source)))


def test_a_forged_class_is_damage() -> None:
    model = GatedPixelCNN(
        levels=4, features=4, layers=1, kernel_size=3, condition=ClassCondition(3)
    )
    for value in (b"\x80\x63", b"\x80\xfe", b"\x84\0\0\0\x3f"):  # 99, -2 and 0.5
        with pytest.raises(CodecError, match="is damaged: condition"):
            unpack_values(value, model.conditions, 2, (3, 3))
