"""One thread and fixed seeds for all tests."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# Tests say what is right, never how fast.
settings.register_profile("nextpixel", deadline=None)
settings.load_profile("nextpixel")


@pytest.fixture(autouse=True)
def _same_every_time() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
