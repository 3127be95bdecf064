"""The list and the start, from a real browser: against an empty Streamlit page measured in the same run.

    uv run python -m tests.benchmarks.bench_list [--jobs 100000] [--runs 7]

Prints medians in ms: start to first page; cold load and reload of an empty Streamlit page, the list, the overview and a
job; next page, sort and filter until their result is seen; and the server's memory.
"""

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from lib.sources.embedded.source import EmbeddedSource
from tests.benchmarks.bench_store import made_jobs
from tests.browser.conftest import CHROMIUM, CHROMIUM_ARGS, ROOT
from tests.embedded.known_jobs import put_jobs
from tests.ports import lasting_port

EMPTY_APP = 'import streamlit as st\nst.set_page_config(layout="wide")\nst.title("Ready")\n'
DEADLINE_MS = 60_000


@contextlib.contextmanager
def server(script: str, folder: Path, **environ: str) -> Iterator[tuple[str, psutil.Process, float]]:
    """A running Streamlit server: its address, its process, and when it was started (monotonic seconds)."""
    port = lasting_port()
    begun = time.monotonic()
    with (folder / f"server-{port}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(port)],
            cwd=ROOT if script == "Home.py" else folder,
            env={**os.environ, "STREAMLIT_SERVER_HEADLESS": "true", "STREAMLIT_SERVER_ADDRESS": "localhost", **environ},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield f"http://localhost:{port}", psutil.Process(process.pid), begun
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def fresh_page(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(DEADLINE_MS)
    return page


def seen(page: Page, text: str) -> None:
    """Until the text is laid out on the page; polled in the page, every frame."""
    page.wait_for_function("text => document.body && document.body.innerText.includes(text)", arg=text, polling="raf")


def timed(action: Callable[[], object], until: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    until()
    return (time.perf_counter() - begun) * 1000


def loads(browser: Browser, url: str, text: str, runs: int) -> tuple[float, float]:
    """Median cold load (empty cache) and reload, in ms."""
    cold, again = [], []
    for _ in range(runs):
        page = fresh_page(browser)
        cold.append(timed(lambda page=page: page.goto(url, wait_until="commit"), lambda page=page: seen(page, text)))
        page.wait_for_timeout(500)
        again.append(timed(lambda page=page: page.reload(wait_until="commit"), lambda page=page: seen(page, text)))
        page.context.close()
    return statistics.median(cold), statistics.median(again)


def steps(browser: Browser, url: str, count: int, runs: int) -> dict[str, float]:
    """Median ms from the click to the result: next page, another order, a filter."""
    times: dict[str, list[float]] = {"next page": [], "sort": [], "filter": []}
    for _ in range(runs):
        page = fresh_page(browser)
        page.goto(f"{url}/jobs")
        seen(page, f"Showing 1-20 of {count:,}")
        page.wait_for_timeout(1000)
        following = page.get_by_role("button", name="Next page").first
        times["next page"].append(timed(following.click, lambda page=page: seen(page, f"Showing 21-40 of {count:,}")))
        times["sort"].append(choose(page, "Sort by", "Name A-Z", f"Showing 1-20 of {count:,}"))
        page.wait_for_timeout(500)
        chip = page.get_by_role("button", name="Failed").first
        times["filter"].append(timed(chip.click, lambda page=page: seen(page, "Page 1 of ")))
        page.context.close()
    return {name: statistics.median(values) for name, values in times.items()}


def choose(page: Page, label: str, option: str, text: str) -> float:
    page.wait_for_timeout(500)
    page.get_by_role("combobox", name=label).click()
    return timed(page.get_by_role("option", name=option).click, lambda: seen(page, text))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "empty.py").write_text(EMPTY_APP)
        source = EmbeddedSource(folder / "data")
        put_jobs(source._store, made_jobs(arguments.jobs))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        report(browser, folder, arguments.jobs, arguments.runs)
        browser.close()


def report(browser: Browser, folder: Path, count: int, runs: int) -> None:
    with server("empty.py", folder) as (url, process, begun):
        page = fresh_page(browser)
        print(f"{'empty page: start to first page':40s}{first_page_ms(page, url, 'Ready', begun):8.0f} ms")
        empty_cold, empty_again = loads(browser, url, "Ready", runs)
        print(f"{'empty page: cold load, reload':40s}{empty_cold:8.0f} ms {empty_again:8.0f} ms")
        print(f"{'empty page: memory':40s}{process.memory_info().rss / 1e6:8.0f} MB")
    with server("Home.py", folder, LORA_DATA_DIR=str(folder / "data")) as (url, process, begun):
        page = fresh_page(browser)
        print(f"{'dashboard: start to first page':40s}{first_page_ms(page, url, 'Overview', begun):8.0f} ms")
        for path, text in (("/jobs", f"Showing 1-20 of {count:,}"), ("/", "Health")):
            cold, again = loads(browser, url + path, text, runs)
            ratio = f"{cold / empty_cold:.2f} × empty page, reload {again / empty_again:.2f} ×"
            print(f"{f'{path}: cold load, reload':40s}{cold:8.0f} ms {again:8.0f} ms   {ratio}")
        for name, value in steps(browser, url, count, runs).items():
            print(f"{f'/jobs: {name}':40s}{value:8.0f} ms")
        print(f"{'server memory':40s}{process.memory_info().rss / 1e6:8.0f} MB")


def wait_until_listening(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    deadline = time.monotonic() + DEADLINE_MS / 1000
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("localhost", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"nothing listens on {url}")


def first_page_ms(page: Page, url: str, text: str, begun: float) -> float:
    wait_until_listening(url)
    page.goto(url, wait_until="commit")
    seen(page, text)
    page.context.close()
    return (time.monotonic() - begun) * 1000


if __name__ == "__main__":
    main()
