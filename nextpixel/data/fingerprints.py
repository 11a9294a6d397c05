"""Fingerprints of images: what an image is, whatever its name, its place and its preparation.

A fingerprint is a hash of eight bytes of the stored integers and their shape, before anything is
resized or quantised. It does not depend on how a file packs them: grey saved as RGB, opacity that
hides nothing, and small integers of a wide type or of floats give the same fingerprint. Of a
million images two different ones share a fingerprint with a probability below 1e-7.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fingerprints", "fingerprint", "fingerprints", "mixed"]

Fingerprints = NDArray[np.uint64]

_BLOCK_BYTES = 2**24


def fingerprint(x: NDArray[Any], *, alpha: bool = False) -> int:
    """The fingerprint of an image (C, H, W); `alpha` if the last of four channels is opacity."""
    if alpha and len(x) == 4 and x[3].min() == 255:
        x = x[:3]
    if len(x) == 3 and (x[0] == x[1]).all() and (x[1] == x[2]).all():
        x = x[:1]
    if x.dtype.kind == "f":
        x = x.astype(np.float64)
        whole = bool((np.abs(x) < 2**53).all() and (x == np.floor(x)).all())
        x = x.astype(np.int64 if whole else "<f8", copy=False)
    if x.dtype.kind != "f" and x.dtype.itemsize > 1:
        low, high = x.min(), x.max()
        x = x.astype(np.uint8 if low >= 0 and high < 256 else "<i8", copy=False)
    digest = hashlib.blake2b(repr(x.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(x).data)
    return int.from_bytes(digest.digest(), "little")


def fingerprints(images: Any) -> Fingerprints:
    """The fingerprints of images (N, C, H, W), which may be a memory map."""
    found = np.empty(len(images), np.uint64)
    step = max(1, _BLOCK_BYTES // max(1, images[0].size * images.itemsize)) if len(images) else 1
    for begin in range(0, len(images), step):
        block = np.asarray(images[begin : begin + step])
        found[begin : begin + step] = [fingerprint(x) for x in block]
    return found


def mixed(values: Fingerprints) -> Fingerprints:
    """The finaliser of splitmix64, which is the same in every version of numpy."""
    z = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
