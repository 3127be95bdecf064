"""Opens pages as a visitor does: over ``lib/app.py``, with parameters in the URL, in front of a given source."""

import functools
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from lib.sources.memory import MemorySource
from lib.ui.parts import errors
from tests.making import NOW
from tests.waiting import PATIENCE_S

APP = str(Path(__file__).parents[2] / "lib" / "app.py")


@pytest.fixture(autouse=True, scope="session")
def installed_packages_searched_once() -> Iterator[None]:
    """Each AppTest reads the metadata of every installed package for components: once takes as long as ten pages."""
    search = functools.cache(manifest_scanner.scan_component_manifests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", search)
        yield


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time that pages show: it stands still at ``NOW`` until a test appends another moment."""
    moments = [NOW]

    class Stopped(datetime):
        @classmethod
        def now(cls, _tz: object = None) -> datetime:  # type: ignore[override]
            return moments[-1]

    monkeypatch.setattr("lib.ui.parts.format.datetime", Stopped)
    return moments


@pytest.fixture(autouse=True)
def no_unexpected_error(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], None]]:
    """Fail the test in which a page said "Something unexpected went wrong": ``app.exception`` does not show it."""

    def check() -> None:
        records = [*caplog.get_records("setup"), *caplog.get_records("call")]
        assert [record.exc_text for record in records if record.name == errors.__name__] == []

    yield check
    check()


@pytest.fixture
def source(source: MemorySource) -> MemorySource:
    """An empty in-memory source that all pages of this test see, at the moment ``NOW``."""
    source.now = lambda: NOW
    return source


@pytest.fixture
def open_page() -> Callable[..., AppTest]:
    """``open_page("jobs", status="failed")`` runs the page and returns it."""

    def open_page(name: str, /, **params: str) -> AppTest:
        app = AppTest.from_file(APP, default_timeout=PATIENCE_S)
        for key, value in params.items():
            app.query_params[key] = value
        if name == "overview":
            return app.run()
        return app.run().switch_page(f"../pages/{name}.py").run()

    return open_page
