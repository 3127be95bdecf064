"""A dashboard as README starts it, and Debian's Chromium in front of it."""

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, expect

from tests.ports import lasting_port
from tests.reaper import kill_all, working_on
from tests.waiting import PATIENCE_MS, wait_for

ROOT = Path(__file__).parents[2]
# A third less work than the whole browser.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))), None)
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Without a graphics card each frame of Streamlit's animations is drawn by the processor that the tests need.
    "--force-prefers-reduced-motion",
]
# Streamlit fades what it is refreshing, the longer the busier the machine, and blends colours into one another.
_AS_IT_STANDS = """*, *::before, *::after { transition: none !important }
[data-stale], summary { opacity: 1 !important }"""
HOW_TO_GET_CHROMIUM = "no Chromium: `apt-get install chromium-headless-shell` brings it"

expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the browser tests, all slow; skip them with one line where there is no browser, except in CI."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)
            if CHROMIUM is None and os.environ.get("CI") != "true":
                item.add_marker(pytest.mark.skip(reason=HOW_TO_GET_CHROMIUM))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """Playwright's launch arguments: the system's Chromium."""
    if CHROMIUM is None:
        pytest.fail(HOW_TO_GET_CHROMIUM)
    return {"executable_path": CHROMIUM, "args": CHROMIUM_ARGS}


@pytest.fixture(scope="module")
def visitor(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[BrowserContext]:
    """One cache for the tests of a file: to fetch and compile Streamlit's scripts anew takes as long as most tests."""
    with browser.new_context(**browser_context_args) as context:
        yield context


@pytest.fixture
def context(visitor: BrowserContext) -> Iterator[BrowserContext]:
    """Somebody who has no page, cookie, storage or permission of another test."""
    yield visitor
    for page in visitor.pages:
        page.close()
    visitor.set_storage_state(StorageState(cookies=[], origins=[]))
    visitor.clear_permissions()


@pytest.fixture
def page(page: Page) -> Page:
    """A page with deadlines that hold on a slow machine."""
    page.set_default_timeout(PATIENCE_MS)
    page.set_default_navigation_timeout(PATIENCE_MS)
    return page


def axe_violations(page: Page) -> dict[str, list[str]]:
    """Rule -> the elements that break it, of the page as it stands: without the fading of what is being refreshed."""
    page.add_style_tag(content=_AS_IT_STANDS)
    found = Axe().run(page).response["violations"]
    return {each["id"]: [node["html"][:200] for node in each["nodes"]] for each in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A running server and the folder it works on."""

    url: str
    data_dir: Path
    log: Path
    process: "subprocess.Popen[bytes]"

    def unexpected_errors(self) -> list[str]:
        """What pages said "Something unexpected went wrong" about, with the lines that follow in the server's log."""
        _, *found = self.log.read_text("utf-8", "replace").split("Unexpected error on a page")
        return [text[:2_000] for text in found]


@pytest.fixture(scope="module")
def start_dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Dashboard]]:
    """Starts ``streamlit run`` on a data folder; ends it, its worker and its trainers with the file.

    Fails then if a page of any of them swallowed an error.

    ``script`` is Home.py, or one of the tests' own that puts another source in.
    """
    started: list[Dashboard] = []

    def start(
        data_dir: Path | None = None, *, script: str = "Home.py", port: int | None = None, **environ: str
    ) -> Dashboard:
        folder = data_dir or tmp_path_factory.mktemp("data") / "data"
        number = port or lasting_port()
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("LORA_", "S3_"))},
            "LORA_DATA_DIR": str(folder),
            **environ,
        }
        command = [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(number)]
        log_path = folder.parent / f"server-{number}.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        dashboard = Dashboard(url=f"http://localhost:{number}", data_dir=folder, log=log_path, process=process)
        started.append(dashboard)
        _wait_until_healthy(dashboard)
        return dashboard

    yield start
    for dashboard in started:
        _end(dashboard)
    assert [error for dashboard in started for error in dashboard.unexpected_errors()] == []


@pytest.fixture(scope="module")
def dashboard(start_dashboard: Callable[..., Dashboard]) -> Dashboard:
    """One fresh dashboard for the tests of a file."""
    return start_dashboard()


def _wait_until_healthy(dashboard: Dashboard) -> None:
    def is_healthy() -> bool:
        assert dashboard.process.poll() is None, "the server ended by itself"
        try:
            with urllib.request.urlopen(f"{dashboard.url}/healthz", timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    wait_for(is_healthy, "no answer from the server", poll_s=0.1)


def _end(dashboard: Dashboard) -> None:
    """The server's process group, and every process that works on its data folder."""
    if dashboard.process.poll() is None:
        os.killpg(dashboard.process.pid, signal.SIGTERM)
        try:
            dashboard.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(dashboard.process.pid, signal.SIGKILL)
            dashboard.process.wait()
    kill_all(lambda: working_on(dashboard.data_dir))
