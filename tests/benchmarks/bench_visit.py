"""The first start ever, and a first visit over a slow line, from a real browser with an empty cache.

    uv run python -m tests.benchmarks.bench_visit [--runs 3]

"First start ever" makes all byte code anew (PYTHONPYCACHEPREFIX is an empty folder). The slow line is 10 Mbit/s with
50 ms, emulated by Chromium. Bytes are those on the wire; "unpacked" is what the same answers would take uncompressed.
"""

import argparse
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
from playwright.sync_api import Browser, sync_playwright

from tests.benchmarks.bench_list import fresh_page, seen, server, timed, wait_until_listening
from tests.browser.conftest import CHROMIUM, CHROMIUM_ARGS

PAGES = {"/": "Train your first LoRA", "/jobs": "No training jobs yet", "/new": "New Training Job"}
SLOW_LINE = {"offline": False, "latency": 50, "downloadThroughput": 10e6 / 8, "uploadThroughput": 10e6 / 8}
GOALS = {"share": 40, "slow_ms": 2_500}


def visit(browser: Browser, url: str, text: str, line: dict[str, object] | None = None) -> tuple[float, int, int, int]:
    """Milliseconds until the text is seen, requests, bytes on the wire, and bytes unpacked."""
    page = fresh_page(browser)
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    if line:
        network.send("Network.emulateNetworkConditions", line)
    sent: list[int] = []
    unpacked: list[int] = []
    network.on("Network.loadingFinished", lambda event: sent.append(int(event["encodedDataLength"])))
    network.on("Network.dataReceived", lambda event: unpacked.append(int(event["dataLength"])))
    span_ms = timed(lambda: page.goto(url, wait_until="commit"), lambda: seen(page, text))
    page.wait_for_timeout(2_000)
    page.context.close()
    return span_ms, len(sent), sum(sent), sum(unpacked)


def first_answers(url: str, begun: float) -> tuple[float, float, float]:
    """Seconds from the start until the port is open, anything is answered, and the dashboard itself is there."""
    wait_until_listening(url)
    listening_s = time.monotonic() - begun
    answered_s = 0.0
    while True:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=60):
                pass
        except urllib.error.HTTPError:
            answered_s = answered_s or time.monotonic() - begun
            time.sleep(0.05)
        else:
            ready_s = time.monotonic() - begun
            return listening_s, answered_s or ready_s, ready_s


def report_start(browser: Browser, folder: Path, label: str, **environ: str) -> None:
    with server("Home.py", folder, LORA_DATA_DIR=str(folder / label / "data"), **environ) as (url, _, begun):
        listening_s, answered_s, ready_s = first_answers(url, begun)
        page = fresh_page(browser)
        page.goto(url, wait_until="commit")
        seen(page, PAGES["/"])
        page_s = time.monotonic() - begun
        page.context.close()
    print(f"{label:18s}{listening_s:14.1f}{answered_s:14.1f}{ready_s:14.1f}{page_s:14.1f}")


def report_visits(browser: Browser, url: str, process: psutil.Process, runs: int) -> None:
    heads = ("requests", "kB", "unpacked", "share %", "ms", "slow line ms", "CPU ms")
    print(f"\n{'first visit':18s}" + "".join(f"{head:>14s}" for head in heads))
    for path, text in PAGES.items():
        cpu_s = sum(process.cpu_times()[:2])
        fast = [visit(browser, url + path, text) for _ in range(runs)]
        cpu_ms = (sum(process.cpu_times()[:2]) - cpu_s) / runs * 1_000
        slow = [visit(browser, url + path, text, SLOW_LINE) for _ in range(runs)]
        _, requests, sent, unpacked = fast[0]
        fast_ms, slow_ms = (statistics.median(each[0] for each in spans) for spans in (fast, slow))
        shown = (requests, sent / 1e3, unpacked / 1e3, 100 * sent / unpacked, fast_ms, slow_ms, cpu_ms)
        print(f"{path:18s}" + "".join(f"{figure:14.0f}" for figure in shown))
    print(f"{'goals':18s}" + "".join(f"{goal:>14}" for goal in ("", "", "", GOALS["share"], "", GOALS["slow_ms"])))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        print(f"{'start, in s':18s}{'port open':>14s}{'first answer':>14s}{'ready':>14s}{'first page':>14s}")
        report_start(browser, folder, "first start ever", PYTHONPYCACHEPREFIX=str(folder / "byte-code"))
        report_start(browser, folder, "a later start", PYTHONPYCACHEPREFIX=str(folder / "byte-code"))
        with server("Home.py", folder, LORA_DATA_DIR=str(folder / "data")) as (url, process, begun):
            first_answers(url, begun)
            report_visits(browser, url, process, runs)
        browser.close()


if __name__ == "__main__":
    main()
