"""Devices: which one to use, and how they differ in precision and random state."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from nextpixel.errors import UsageError

__all__ = ["full_precision", "multiplies_bf16", "pick_device", "seeded", "widest"]


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Full precision within a block: no autocast, even if the caller is in one, and no TF32."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        backends: tuple[Any, Any] = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
        before = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, precision in zip(backends, before, strict=True):
                backend.fp32_precision = precision


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch on all devices within a block; afterwards its random state is as before."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)


def widest(device: torch.device) -> torch.dtype:
    """The widest floating type of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def pick_device(name: str | torch.device) -> torch.device:
    """The device of that name; "auto" takes an accelerator if there is one.

    Under torchrun each process gets the device of its local rank.

    Raises:
        UsageError: there is no such device.
    """
    try:
        if name == "auto":
            found = torch.accelerator.current_accelerator(check_available=True)
            device = found or torch.device("cpu")
        else:
            device = torch.device(name)
        if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.empty(0, device=device).cpu()  # "meta" has no data to compute with
    except (RuntimeError, AssertionError, NotImplementedError):
        found = torch.accelerator.current_accelerator(check_available=True)
        here = ["auto", "cpu"] + ([found.type] if found else [])
        raise UsageError(
            f"‹device={str(name)!r}› does not exist here; use {', '.join(here[:-1])} or {here[-1]}"
        ) from None
    return device


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32; emulated, it is ten times slower.

    Processors with AMX do. Those with AVX-512-BF16 alone differ: AMD's take half the time of
    float32, Intel's twice as much. So they are timed, for some hundredths of a second.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    can = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    if can.get("amx_bf16"):
        return True
    return bool(can.get("avx512_bf16")) and _product_seconds(torch.bfloat16) < _product_seconds(
        torch.float32
    )


@cache
def _product_seconds(dtype: torch.dtype) -> float:
    """Processor seconds of a product of matrices: the least of ten."""
    factor = torch.ones(512, 512, dtype=dtype)
    return min(_seconds(factor) for _ in range(10))


def _seconds(factor: torch.Tensor) -> float:
    start = time.process_time()
    factor @ factor
    return time.process_time() - start
