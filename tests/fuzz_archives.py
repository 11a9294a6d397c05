"""Damaged and forged archives, in a process of its own: `fuzz_archives.py CASES SEED`.

Half of them are damaged anywhere; in the others a block, a name, a note, the index, the header or
the model is, and all checksums are made again, as by somebody who means harm. Each archive is
listed, verified and restored, with a model from elsewhere or the one inside. A picture is restored
as it was, or there is one sentence, within its seconds. The process prints what came of the cases,
and the most memory that it took.
"""

import io
import json
import random
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_checkpoints import HUGE, NAMES, TooSlow, limited, most_memory, places
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nextpixel import GatedPixelCNN
from nextpixel.codec.archive import compress_files
from nextpixel.codec.container import CODED, MODEL, Header, Reader, Writer
from nextpixel.codec.entries import Entry
from nextpixel.codec.errors import CodecError
from nextpixel.codec.fields import Fields, varint
from nextpixel.codec.restore import decompress_files, list_archive, verify_archive
from nextpixel.models.core import ImageModel
from nextpixel.settings.codec import CompressConfig


@dataclass
class Whole:
    """An archive that is intact, in parts."""

    data: bytes
    reader: Reader
    blocks: list[tuple[int, bytes]]
    files: dict[str, bytes]
    model: ImageModel | None


def wholes(place: Path) -> list[Whole]:
    """The same pictures with a model from elsewhere, and with the model inside."""
    torch.manual_seed(0)
    model = GatedPixelCNN(levels=256, features=4, layers=1, kernel_size=3, head="logistic").eval()
    source, values = place / "in", np.random.default_rng(0)
    (source / "deep").mkdir(parents=True)
    info = PngInfo()
    info.add_text("Title", "noise")
    for name in ("1.png", "2.png", "3.png", "deep/4.bmp", "deep/text.png"):
        picture = Image.fromarray(values.integers(100, 130, (5, 6), dtype=np.uint8))
        picture.save(source / name, **({"pnginfo": info} if "text" in name else {}))
    (source / "photo.jpg").write_bytes(b"kept as it is")
    found = []
    for inside in (False, True):
        archive = place / f"{inside}.npx"
        compress_files(model, [source], archive, CompressConfig(include_model=inside, together=2))
        given = None if inside else model
        written = decompress_files(given, archive, place / f"{inside}")
        files = {
            path.relative_to(place / f"{inside}").as_posix(): path.read_bytes() for path in written
        }
        data = archive.read_bytes()
        reader = Reader(io.BytesIO(data))
        blocks = [reader.block(number) for number in range(len(reader.entries))]
        found.append(Whole(data, reader, blocks, files, given))
    return found


def damaged(moment: random.Random, data: bytes) -> bytes:
    """A few bytes are others, are missing, or are too many."""
    changed = bytearray(data)
    for _ in range(moment.randint(1, 3)):
        at = moment.randrange(len(changed) + 1)
        match moment.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << moment.randrange(8)
            case 1 if at < len(changed):
                changed[at] = moment.randrange(256)
            case 2:
                del changed[at : at + moment.choice((1, 2, 8, len(changed)))]
            case 3:
                changed[at:at] = moment.choice((b"\xff" * 8, b"\x80\x80\x80\x80\x01", b"\0", b"7"))
            case _:
                changed[at : at + 4] = b"\xff\xff\xff\x7f"
    return bytes(changed)


def edited(moment: random.Random, text: str) -> str:
    """JSON of which a part is another; other text is damaged."""
    try:
        value = json.loads(text)
        holder, key = moment.choice(places(value))
    except (ValueError, IndexError):
        return moment.choice([*NAMES, "[" * 5000, '{"before":[["IHDR",""]]}', '{"alpha":[1]}'])
    other: list[Any] = [*HUGE, *NAMES[:4], None, [], {}, [["tEXt", "AAAA"]], True, 0.5]
    holder[key] = moment.choice(other)
    return json.dumps(value)


def forged(moment: random.Random, whole: Whole) -> tuple[bytes, bool]:
    """With checksums that are right, and whether pictures must still be what they were."""
    which, exact = moment.randrange(len(whole.blocks)), True
    file, header = io.BytesIO(), whole.reader.header
    how = moment.choice(
        ("body", "body", "body", "name", "note", "kind", "model", "index", "header")
    )
    if how == "index":
        return _with_index(moment, whole.data), False
    if how == "header":
        header = _another(moment, header)
    writer = Writer(file, header)
    if how == "model":
        which = len(whole.blocks) - 1
    for number, (kind, body) in enumerate(whole.blocks):
        entries = list(whole.reader.entries[number])
        if number == which:
            if how in ("body", "model"):
                exact = kind in (CODED, MODEL)
                if kind == MODEL and moment.random() < 0.6:
                    body = moment.choice((_with_config, _with_shape))(moment, body)
                else:
                    body = damaged(moment, body) if body else body
            elif how == "kind":
                kind, exact = moment.choice((0, 1, 2, 3, 4, 5, 200)), False
            elif entries:
                place = moment.randrange(len(entries))
                name, note = entries[place].name, entries[place].note
                if how == "name":
                    name = moment.choice([*NAMES, "1.png", "photo.jpg/x", "DEEP/4.bmp", name + "/"])
                else:
                    note = edited(moment, note)
                entries[place], exact = Entry(name, note), False
        writer.add(kind, body, entries)
    writer.finish()
    return file.getvalue(), exact


def _with_index(moment: random.Random, data: bytes) -> bytes:
    """With an index that is damaged, and whose checksum is right."""
    start, end = struct.unpack("<Q4s", data[-12:])
    fields = Fields(data[start:-16])
    kind, body = fields.varint(), damaged(moment, fields.bytes(fields.varint()))
    block = varint(kind) + varint(len(body)) + body
    return data[:start] + block + struct.pack("<IQ4s", zlib.crc32(block), start, end)


def _another(moment: random.Random, header: Header) -> Header:
    """Of another model, or of other images."""
    number = moment.choice([value for value in HUGE if 0 <= value < 2**63])
    return moment.choice(
        (
            replace(header, fingerprint=damaged(moment, header.fingerprint).ljust(16, b"\0")),
            replace(header, channels=number),
            replace(header, levels=number),
            replace(header, model=moment.choice(["/dev/zero", "/", "nextpixel:mnist", *NAMES])),
        )
    )


def _with_shape(moment: random.Random, body: bytes) -> bytes:
    """The model with a first tensor of other dimensions or places."""
    fields = Fields(body)
    fields.text(), fields.varint(), fields.text()
    start = fields.at
    axes = fields.varint()
    sizes = [fields.varint() for _ in range(axes + 1)]
    numbers = [*(value for value in HUGE if 0 <= value < 2**63), 16, 17, 2**62]
    for _ in range(moment.randint(1, 3)):
        sizes[moment.randrange(axes + 1)] = moment.choice(numbers)
    return body[:start] + b"".join(map(varint, (axes, *sizes))) + body[fields.at :]


def _with_config(moment: random.Random, body: bytes) -> bytes:
    """The model with another configuration."""
    start = body.index(b"{")
    end = start + json.JSONDecoder().raw_decode(body[start:].decode("latin-1"))[1]
    text = edited(moment, body[start:end].decode()).encode()
    length, digits = len(text), bytearray()
    while length >= 128:
        digits.append(length % 128 + 128)
        length //= 128
    return bytes([*digits, length]) + text + body[end:]


def restored(archive: Path, whole: Whole, out: Path, exact: bool, came: Counter[str]) -> None:
    """Lists, verifies and restores an archive."""
    wrong = []
    for what, read in (
        ("listed", lambda: list_archive(archive)),
        ("verified", lambda: verify_archive(whole.model, archive)),
        ("restored", lambda: decompress_files(whole.model, archive, out)),
    ):
        try:
            read()
            came[what] += 1
        except (CodecError, OSError) as error:
            assert "\n" not in str(error), error
            came["refused"] += 1
    for path in sorted(out.rglob("*"), reverse=True):
        if path.is_file():
            name = path.relative_to(out).as_posix()
            if exact and path.read_bytes() != whole.files.get(name):
                wrong.append(name)
            path.unlink()
        else:
            path.rmdir()
    assert not wrong, wrong


def fuzz(count: int, seed: int) -> dict[str, float]:
    """How many archives were refused and read; raises at the first that was read wrongly."""
    moment, came = random.Random(seed), Counter[str]()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        every = wholes(place)
        archive = place / "case.npx"
        for number in range(count):
            whole = every[number % 2]
            data, exact = forged(moment, whole)
            if number % 4 < 2:
                data, exact = damaged(moment, whole.data), True
            archive.write_bytes(data)
            began = time.process_time()
            try:
                with limited():
                    restored(archive, whole, place / "out", exact, came)
            except (Exception, TooSlow) as error:
                kept = Path(tempfile.gettempdir()) / f"archive-{seed}-{number}.npx"
                kept.write_bytes(data)
                raise AssertionError(f"case {number} of seed {seed}, kept as {kept}") from error
            slowest = max(slowest, time.process_time() - began)
            came["cases"] += 1
            assert not (place / "in" / "case.npx").exists()
    return {**came, "megabytes": most_memory() // 2**20, "slowest_seconds": round(slowest, 2)}


if __name__ == "__main__":
    print(json.dumps(fuzz(int(sys.argv[1]), int(sys.argv[2]))))
