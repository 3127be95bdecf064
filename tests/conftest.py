"""What all tests share: a clean environment, no network beyond this machine, and nothing left running."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import services
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.memory import MemorySource
from tests.reaper import Reaper, started_by
from tests.waiting import wait_for

RECORDINGS = Path(__file__).parent / "recordings"
_FOREIGN_SETTINGS = (
    "RAY_",
    "LORA_",
    "S3_",
    "INFLUENCERAI_",
    "AWS_",
    "SD_SCRIPTS",
    "MUSUBI_TUNER",
    "DIFFUSERS_",
    "AI_TOOLKIT",
)
_REAPER = pytest.StashKey[Reaper]()
# More workers would fight for memory: each may have a Chromium and a few servers.
MOST_WORKERS = 4


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite side by side, a file at a time; a part of it that is named runs in this process."""
    option = config.option
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    is_worker = hasattr(config, "workerinput")
    # None: xdist is there and was not told how many.
    if is_whole and not is_worker and not option.usepdb and getattr(option, "numprocesses", 0) is None:
        option.numprocesses = min(os.cpu_count() or 1, MOST_WORKERS)
        option.dist, option.loadscopereorder = "loadfile", False


def pytest_configure(config: pytest.Config) -> None:
    """From now on nothing that is started outlives this process."""
    config.stash[_REAPER] = Reaper()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Kill what is left over."""
    config.stash[_REAPER].close()


@pytest.hookimpl(trylast=True)  # after what marks a folder's tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first: with several workers no file is begun when the others are done already."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True, scope="session")
def nothing_left_running(pytestconfig: pytest.Config) -> Iterator[None]:
    """A process that outlives the tests is a defect of a test."""
    yield
    run = pytestconfig.stash[_REAPER].run
    # Workers of the dashboard stay for some seconds when their queue is empty.
    wait_for(lambda: not started_by(run), lambda: f"left running: {started_by(run)}", poll_s=0.1)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN_SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LORA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    services.access.cache_clear()


@pytest.fixture(autouse=True, scope="session")
def local_sockets_only() -> Iterator[None]:
    """A connection that leaves this machine is a defect of the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)  # type: ignore[arg-type]

    socket.socket.connect = guarded  # type: ignore[method-assign, assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture
def source() -> Iterator[MemorySource]:
    """An empty in-memory source that pages and routes see."""
    memory = MemorySource()
    services.connect(memory)
    yield memory
    services.connect(None)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedSource]:
    """An empty embedded source that pages and routes see."""
    opened = EmbeddedSource(tmp_path / "data")
    services.connect(opened)
    yield opened
    services.connect(None)
    opened.close()
