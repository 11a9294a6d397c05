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
        name: str = "fp32_precision"
        full: str | bool = "ieee"
        if not all(hasattr(backend, name) for backend in backends):  # before torch 2.9
            backends, name, full = (torch.backends.cudnn, backends[1]), "allow_tf32", False
        before = [getattr(backend, name) for backend in backends]
        try:
            for backend in backends:
                setattr(backend, name, full)
            yield
        finally:
            for backend, precision in zip(backends, before, strict=True):
                setattr(backend, name, precision)


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
            device = _accelerator() or torch.device("cpu")
        else:
            device = torch.device(name)
        if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.empty(0, device=device).cpu()  # "meta" has no data to compute with
    except (RuntimeError, AssertionError, NotImplementedError):
        found = _accelerator()
        here = ["auto", "cpu"] + ([found.type] if found else [])
        raise UsageError(
            f"‹device={str(name)!r}› does not exist here; use {', '.join(here[:-1])} or {here[-1]}"
        ) from None
    return device


def _accelerator() -> torch.device | None:
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32.

    Processors are timed, for some hundredths of a second. With AMX they take a fraction of the time
    of float32, with AVX-512-BF16 alone half of it (AMD) or twice as much (Intel), and without
    instructions for bfloat16 ten times as much.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _seconds(torch.bfloat16) < _seconds(torch.float32)


@cache
def _seconds(dtype: torch.dtype) -> float:
    """Processor seconds of a product of matrices: the least of ten."""
    factor, seconds = torch.ones(256, 256, dtype=dtype), []
    for _ in range(10):
        start = time.process_time()
        factor @ factor
        seconds.append(time.process_time() - start)
    return min(seconds)
