"""What all tests share: a clean environment, no network beyond this machine, fresh caches."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import services
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.memory import MemorySource

RECORDINGS = Path(__file__).parent / "recordings"
_FOREIGN_SETTINGS = ("LORA_", "S3_", "INFLUENCERAI_", "AWS_", "SD_SCRIPTS")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests last: they take longest, and Playwright keeps an event loop running in this thread from then on."""
    browser = Path(__file__).parent / "browser"
    items.sort(key=lambda item: browser in item.path.parents)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN_SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LORA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


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
