"""This process and the others of torchrun: rank, group, common decisions, stopping."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist
from torch import nn

from nextpixel.errors import STOPS

__all__ = [
    "any_process",
    "is_alone",
    "is_first_process",
    "process_group",
    "rank_and_processes",
    "stop_requests",
    "wait_for_all",
]


def rank_and_processes() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    return (
        (dist.get_rank(), dist.get_world_size())
        if dist.is_available() and dist.is_initialized()
        else (0, 1)
    )


def is_first_process() -> bool:
    """Whether this is the first process of torchrun, or the only one; known before they join."""
    return os.environ.get("RANK", "0") == "0"


def is_alone() -> bool:
    """Whether torchrun has started no other processes; known before they join."""
    return os.environ.get("WORLD_SIZE", "1") == "1"


@contextmanager
def process_group(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Joins the other processes of torchrun, if any.

    A model on CUDA moves to the device of the local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local)
        model.to(f"cuda:{local}")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
        # Without it gloo aborts in some exits.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def any_process(wish: int, device: torch.device) -> int:
    """The highest wish of any process, so that all act together, after the same step."""
    if rank_and_processes()[1] == 1:
        return wish
    wishes = torch.tensor(int(wish), device=device)
    dist.all_reduce(wishes, dist.ReduceOp.MAX)
    return int(wishes)


def wait_for_all() -> None:
    """Returns when all processes have called it."""
    if rank_and_processes()[1] > 1:
        dist.barrier()


@contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Turns signals into a request to stop: the yielded function gives the signal, 0 for none.

    They are SIGINT (Ctrl-C), SIGTERM, SIGHUP (a closed terminal) and SIGUSR1 (a scheduler's warning
    before the time limit). One that is ignored stays so, as under nohup. A second signal does what
    it would do without this block, which is to stop at once. torchrun passes on what the process
    has received already: so the same signal within a second counts once, except for Ctrl-C.
    """
    requested, when = 0, 0.0

    def request(number: int, _frame: FrameType | None) -> None:
        nonlocal requested, when
        if not requested:
            requested, when = number, time.monotonic()
            if signal.SIGINT in before:
                signal.signal(signal.SIGINT, before[signal.SIGINT])
        elif number != requested or time.monotonic() - when > 1:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    # Only the main thread may handle signals.
    numbers = STOPS if threading.current_thread() is threading.main_thread() else ()
    before = {
        number: signal.signal(number, request)
        for number in numbers
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
