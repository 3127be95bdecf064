"""What the pages about LoRA files cost: the first paint of /inspect beside an empty page, and /compare of eight jobs.

    uv run python -m tests.benchmarks.bench_lora_pages

The first paint is the time until the heading is there, in Chromium with a warm cache, in turn with the same page
without a file, and with a page of plain Streamlit that has nothing but a title. The comparison is measured cold,
without a browser: the script's CPU time, and the size of the chart as it is sent.
"""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright
from streamlit.testing.v1 import AppTest

from lib import services
from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.store.jobs import Store
from lib.jobs.job import LossPoint
from lib.sources.embedded.source import EmbeddedSource
from tests.benchmarks.bench_lora import row
from tests.benchmarks.bench_store import made_jobs
from tests.browser.conftest import CHROMIUM, CHROMIUM_ARGS
from tests.embedded.known_jobs import put_jobs
from tests.ports import lasting_port

ROOT = Path(__file__).parents[2]
LOADS, JOBS, POINTS = 7, 8, 50_000


@contextmanager
def served(script: str, folder: Path) -> Iterator[str]:
    """A server of this script; its address."""
    port = lasting_port()
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(port)]
    environment = {**os.environ, "LORA_DATA_DIR": str(folder / "data")}
    with (folder / f"server-{port}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(f"http://localhost:{port}/_stcore/health")
        yield f"http://localhost:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def _wait_for(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


def first_paint_s(page: Page, url: str) -> float:
    """Seconds until the heading of a page is there."""
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("h1", timeout=90_000)
    return time.perf_counter() - begun


def bench_first_paint(folder: Path) -> None:
    """/inspect of a recorded LoRA, and an empty page."""
    empty = folder / "empty.py"
    empty.write_text('import streamlit as st\n\nst.title("Nothing")\n')
    home = "tests/browser/monitor_home.py"
    with served(str(empty), folder) as nothing, served(home, folder) as dashboard, sync_playwright() as play:
        urllib.request.urlopen(f"{dashboard}/steer?do=refill", timeout=60).close()
        browser = play.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        urls = {
            "a title alone": nothing,
            "empty": f"{dashboard}/inspect",
            "/inspect": f"{dashboard}/inspect?job=done&artifact=1/aria.safetensors",
        }
        times: dict[str, list[float]] = {name: [] for name in urls}
        for load in range(LOADS + 1):
            for name, url in urls.items():
                seconds = first_paint_s(page, url)
                if load:
                    times[name].append(seconds)
        browser.close()
    found = {name: median(each) for name, each in times.items()}
    for name, seconds in found.items():
        row(f"first paint, {name}", f"{seconds * 1000:.0f} ms, {seconds / found['empty']:.2f} × an empty page")


def bench_compare(folder: Path) -> None:
    """Eight jobs with many points each, read from the disk for the first time."""
    data_dir = folder / "compared"
    store = Store(data_dir)
    jobs = [replace(job, settings={"epochs": 10, "seed": at}) for at, job in enumerate(made_jobs(JOBS))]
    put_jobs(store, jobs)
    store.close()
    for at, job in enumerate(jobs):
        attempt = AttemptFolder.of(data_dir, job.id, 1)
        attempt.make()
        attempt.append_losses(
            [
                LossPoint(step=step, loss=0.1 + at / 50 + step % 97 / 900, at=1.8e9 + step)
                for step in range(1, POINTS + 1)
            ]
        )
    source = EmbeddedSource(data_dir)
    gc.collect()
    gc.freeze()  # as Home.py does
    times, size = [], 0
    for _ in range(3):
        services.connect(source)
        app = AppTest.from_file(str(ROOT / "lib" / "app.py"), default_timeout=60)
        app.query_params["ids"] = ",".join(job.id for job in jobs)
        app.run()
        begun = time.process_time()
        app.switch_page("../pages/compare.py").run()
        times.append(time.process_time() - begun)
        assert not app.exception
        size = app.get("vega_lite_chart")[0].proto.ByteSize()
    source.close()
    row(f"/compare, {JOBS} jobs of {POINTS:,} points", f"cold {min(times):.2f} s CPU; chart {size / 1000:.0f} kB")


def main() -> None:
    """Print both."""
    with tempfile.TemporaryDirectory() as name:
        bench_compare(Path(name))
        bench_first_paint(Path(name))


if __name__ == "__main__":
    main()
