"""What the monitor page costs.

    uv run python tests/benchmarks/bench_monitor.py [--viewers 200] [--ticks 1800]

A dashboard over a running job with a log of 10,000 lines is started, and measured from a real browser: CPU and bytes
of a tick, the delay from a printed line to the screen, memory over an hour of ticks. Many viewers at once speak
Streamlit's protocol instead: fifty tabs would measure the browser. The server counts its own ticks and reads.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.viewers import watch_together  # noqa: E402
from tests.browser.conftest import CHROMIUM, CHROMIUM_ARGS  # noqa: E402
from tests.ports import lasting_port  # noqa: E402

IDLE_S = 10
HOME = "tests/benchmarks/monitor_home.py"
TARGETS = {
    "tick: server CPU (ms)": 15,
    "tick: bytes on the wire (kB)": 15,
    "line printed -> visible, median (s)": 1.3,
    "viewers: tick p95 (ms)": 1_000,
    "viewers: script CPU of a tick, median (ms)": 5,
    "viewers: click p95 (ms)": 500,
    "viewers: reads of the source per 2 s": 1,
    "an hour of ticks: memory growth (MB)": 5,
}


class Server:
    """A dashboard of its own, with the counters that its home keeps."""

    def __init__(self, folder: Path, poll_ms: int) -> None:
        self.port = lasting_port()
        command = [sys.executable, "-m", "streamlit", "run", HOME, "--server.port", str(self.port)]
        environment = {**os.environ, "LORA_DATA_DIR": str(folder), "BENCH_POLL_MS": str(poll_ms)}
        with (folder / f"server-{self.port}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.stats = psutil.Process(self.process.pid)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.counters()
                return
            time.sleep(0.2)
        raise SystemExit("the server did not start")

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def counters(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/counters", timeout=30) as answer:
            return dict(json.loads(answer.read()))

    def cpu_s(self) -> float:
        return float(sum(self.stats.cpu_times()[:2]))

    def memory_mb(self) -> float:
        return float(self.stats.memory_full_info().uss / 2**20)

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(20)


@contextlib.contextmanager
def server(folder: Path, poll_ms: int = 2_000) -> Iterator[Server]:
    started = Server(folder, poll_ms)
    try:
        yield started
    finally:
        started.close()


def open_monitor(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{url}/job?id=run", timeout=120_000)
    page.get_by_role("heading", name="Aria run").wait_for(timeout=120_000)
    page.locator(".st-key-log-lines").wait_for(timeout=120_000)
    page.wait_for_timeout(6_000)
    return page


def measure_tick(browser: Browser, folder: Path, hold_s: float) -> dict[str, float]:
    """One viewer who only looks; the server's whole CPU less what it takes without a viewer (the job runs in it)."""
    with server(folder) as running:
        idle_s = running.cpu_s()
        time.sleep(IDLE_S)
        idle_s = (running.cpu_s() - idle_s) / IDLE_S
        page = open_monitor(browser, running.url)
        cdp = page.context.new_cdp_session(page)
        cdp.send("Network.enable")
        frames: list[int] = []
        for event in ("Network.webSocketFrameReceived", "Network.webSocketFrameSent"):
            cdp.on(event, lambda frame: frames.append(payload_bytes(frame)))
        before, cpu_s = running.counters(), running.cpu_s()
        page.wait_for_timeout(hold_s * 1_000)
        after, cpu_s = running.counters(), running.cpu_s() - cpu_s
        ticks = after["ticks"] - before["ticks"]
        page.close()
    return {
        "tick: server CPU (ms)": (cpu_s - idle_s * hold_s) * 1_000 / ticks,
        "tick: idle server's CPU in 2 s, not counted (ms)": idle_s * 2_000,
        "tick: CPU of the script thread, median (ms)": statistics.median(after["tick_cpu_ms"][-ticks:]),
        "tick: bytes on the wire (kB)": sum(frames) / ticks / 1_000,
        "two seconds of watching: bytes (kB)": sum(frames) / hold_s * 2 / 1_000,
        "two seconds of watching: server CPU (ms)": (cpu_s / hold_s - idle_s) * 2_000,
        "tick: ticks measured": ticks,
    }


def payload_bytes(frame: dict[str, Any]) -> int:
    """CDP gives binary payloads in base64."""
    response = frame["response"]
    return len(response["payloadData"]) * 3 // 4 if response["opcode"] == 2 else len(response["payloadData"].encode())


def measure_delay(browser: Browser, folder: Path, hold_s: float) -> dict[str, float]:
    """Every line says when it was printed; the page notes when it first shows it."""
    with server(folder) as running:
        page = open_monitor(browser, running.url)
        page.evaluate(
            """() => { window.seen = {}; setInterval(() => {
                const text = document.querySelector('.st-key-log-lines').textContent;
                for (const [, at] of text.matchAll(/printed at ([\\d.]+)/g)) window.seen[at] ??= Date.now() / 1000;
            }, 20); }"""
        )
        page.wait_for_timeout(1_000)
        begun = time.time()
        page.wait_for_timeout(hold_s * 1_000)
        seen: dict[str, float] = page.evaluate("window.seen")
        page.close()
    delays = [shown - float(at) for at, shown in seen.items() if float(at) > begun]
    return {
        "line printed -> visible, median (s)": statistics.median(delays),
        "line printed -> visible, worst (s)": max(delays),
        "line printed -> visible, lines": len(delays),
    }


def measure_viewers(folder: Path, viewers: int, hold_s: float) -> dict[str, float]:
    """Many viewers of one job, each ticking at a moment of its own; the time is what a viewer waits.

    The clients run on the same cores as the server and take their share of them.
    """
    with server(folder) as running:
        clients = psutil.Process()
        before, cpu_s, client_s = running.counters(), running.cpu_s(), sum(clients.cpu_times()[:2])
        begun = time.monotonic()
        # In a thread of its own: Playwright's loop runs in this one.
        with ThreadPoolExecutor(1) as pool:
            watched = pool.submit(asyncio.run, watch_together(running.port, "run", viewers, hold_s)).result()
        took_s = time.monotonic() - begun
        after, cpu_s = running.counters(), running.cpu_s() - cpu_s
        client_s = sum(clients.cpu_times()[:2]) - client_s
    return {
        "viewers: how many": viewers,
        "viewers: ticks": len(watched.ticks_ms),
        "viewers: tick p50 (ms)": quantile(watched.ticks_ms, 0.5),
        "viewers: tick p95 (ms)": quantile(watched.ticks_ms, 0.95),
        "viewers: interval between ticks, median (s)": quantile(watched.intervals_ms, 0.5) / 1_000,
        "viewers: script CPU of a tick, median (ms)": statistics.median(after["tick_cpu_ms"]),
        "viewers: click p50 (ms)": quantile(watched.clicks_ms, 0.5),
        "viewers: click p95 (ms)": quantile(watched.clicks_ms, 0.95),
        "viewers: reads of the source per 2 s": (after["reads"] - before["reads"]) / took_s * 2,
        "viewers: server CPU (% of one core)": cpu_s / took_s * 100,
        "viewers: clients' CPU (% of one core)": client_s / took_s * 100,
    }


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def measure_growth(browser: Browser, folder: Path, ticks: int) -> dict[str, float]:
    """As many ticks as an hour has, at a shorter interval; the log grows by as many lines as it would in that hour."""
    with server(folder, poll_ms=200) as running:
        page = open_monitor(browser, running.url)
        start = running.counters()["ticks"]
        wait_for_ticks(page, running, start + 100)
        memory_mb = running.memory_mb()
        wait_for_ticks(page, running, start + 100 + ticks)
        grown_mb = running.memory_mb() - memory_mb
        done = running.counters()["ticks"] - start - 100
        page.close()
    return {"an hour of ticks: memory growth (MB)": grown_mb, "an hour of ticks: ticks": done}


def wait_for_ticks(page: Page, running: Server, wanted: int) -> None:
    deadline = time.monotonic() + 3_600
    while running.counters()["ticks"] < wanted:
        if time.monotonic() > deadline:
            raise SystemExit("the page stopped ticking")
        page.wait_for_timeout(1_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--ticks", type=int, default=1_800)
    parser.add_argument("--hold", type=float, default=40.0, help="seconds of each of the first three measures")
    parser.add_argument("--only", choices=("tick", "delay", "viewers", "growth"))
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        folder = Path(name)
        measures = {
            "tick": lambda: measure_tick(browser, folder, wanted.hold),
            "delay": lambda: measure_delay(browser, folder, wanted.hold),
            "viewers": lambda: measure_viewers(folder, wanted.viewers, wanted.hold),
            "growth": lambda: measure_growth(browser, folder, wanted.ticks),
        }
        for measure in [wanted.only] if wanted.only else measures:
            for label, figure in measures[measure]().items():
                target = f"   target {TARGETS[label]:g}" if label in TARGETS else ""
                print(f"{label:48s} {figure:10.2f}{target}", flush=True)
        browser.close()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
