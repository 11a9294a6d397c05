"""Devices: which one to use, and how they differ in precision and random state."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

from nextpixel.errors import UsageError

__all__ = [
    "full_precision",
    "multiplies_bf16",
    "OwnThreads",
    "draw_noise",
    "pick_device",
    "seeded",
    "widest",
]


class _Shared:
    """A setting of the whole process that several threads may need at once.

    The first to need it remembers what it was, and the last to leave restores it.

    Args:
        read: the setting as it is.
        write: changes it.
    """

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], object]) -> None:
        self._read, self._write = read, write
        self._lock, self._users, self._before = threading.Lock(), 0, None

    @contextmanager
    def held(self, value: Any) -> Iterator[None]:
        """The setting at a value within a block."""
        with self._lock:
            if not self._users:
                self._before = self._read()
            self._users += 1
            self._write(value)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._write(self._before)


class OwnThreads:
    """A block whose number of threads is its own: what it sets ends with it.

    The same object entered again goes on with the number that it had. The number belongs to the
    calling thread, but a thread that first computes meanwhile takes it over as its own.
    """

    _lock = threading.Lock()
    _inside, _callers = 0, 0

    def __init__(self) -> None:
        self._own: int | None = None

    def __enter__(self) -> None:
        shared, found = OwnThreads, torch.get_num_threads()
        with shared._lock:
            if not shared._inside:
                shared._callers = found
            elif found == 1:  # taken over from another block
                found = shared._callers
            shared._inside += 1
        self._outer = found
        if self._own is not None:
            torch.set_num_threads(self._own)

    def __exit__(self, *_: object) -> None:
        self._own = torch.get_num_threads()
        with OwnThreads._lock:
            OwnThreads._inside -= 1
            torch.set_num_threads(self._outer)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Full precision within a block: no autocast, even if the caller is in one, and no TF32.

    Autocast belongs to the thread. Products of rounded factors are the process's choice, so other
    threads do without it, too, as long as the block lasts.
    """
    autocast = torch.is_autocast_enabled(device.type)
    precise = _PRECISIONS.get(device.type)
    with (
        torch.autocast(device.type, enabled=False) if autocast else nullcontext(),
        nullcontext() if precise is None else precise(),
    ):
        yield


def _precise(device: str) -> Callable[[], AbstractContextManager[None]]:
    """How products and convolutions on a device come to use all digits."""
    backends: tuple[Any, ...]
    exact = {"ieee"}
    if device == "cuda":
        backends = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    else:
        backends = torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        exact.add("none")

    def read() -> list[str]:
        return [backend.fp32_precision for backend in backends]

    def write(values: Sequence[str]) -> None:
        for backend, value in zip(backends, values, strict=True):
            backend.fp32_precision = value

    shared, full = _Shared(read, write), ["ieee"] * len(backends)
    # Reading takes a microsecond; most processes never ask for less than all digits.
    return lambda: nullcontext() if set(read()) <= exact else shared.held(full)


def _precise_before_2_9(device: str) -> Callable[[], AbstractContextManager[None]]:
    if device == "cpu":
        shared = _Shared(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision)
        return lambda: shared.held("highest")
    backends: tuple[Any, Any] = torch.backends.cudnn, torch.backends.cuda.matmul

    def write(values: Sequence[bool]) -> None:
        for backend, value in zip(backends, values, strict=True):
            backend.allow_tf32 = value

    shared = _Shared(lambda: [backend.allow_tf32 for backend in backends], write)
    return lambda: shared.held([False, False])


_PRECISIONS = {
    device: (_precise if hasattr(torch.backends, "fp32_precision") else _precise_before_2_9)(device)
    for device in ("cpu", "cuda")
}


_RANDOM = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch on all devices within a block; afterwards its random state is as before.

    All threads have one random state, so that such blocks wait for each other.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with _RANDOM:
        mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            try:
                yield
            finally:
                if mps is not None:
                    torch.mps.set_rng_state(mps)


def draw_noise(
    draw: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator | None
) -> Tensor:
    """What `torch.rand` or `torch.randn` draws, float32, where its generator is.

    Without a generator, torch's own on the CPU is drawn from, but not while it is `seeded`.
    """
    if generator is not None:
        return draw(shape, generator=generator, device=generator.device, dtype=torch.float32)
    with _RANDOM:
        return draw(shape, device="cpu", dtype=torch.float32)


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
    factor, seconds = torch.ones(256, 256, dtype=dtype, device="cpu"), []
    for _ in range(10):
        start = time.process_time()
        factor @ factor
        seconds.append(time.process_time() - start)
    return min(seconds)
