"""One thread and fixed seeds for all tests."""

import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# Tests say what is right, never how fast.
settings.register_profile("nextpixel", deadline=None)
settings.load_profile("nextpixel")

# A process in the background ignores some signals, and so would every process that a test starts.
for _name in ("SIGINT", "SIGHUP", "SIGTERM"):
    _signal = getattr(signal, _name, None)
    if _signal is not None and signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _name == "SIGINT" else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _same_every_time() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key that signs run folders is the tests' own, not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
