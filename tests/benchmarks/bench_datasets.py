"""A dataset of 5,000 images opens, and 1 GB is uploaded: page time and server memory. Run: python -m this module."""

import argparse
import http.client
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from PIL import Image

from lib import services
from lib.services import UPLOAD_HEADER
from lib.sources.embedded.source import EmbeddedSource

ROOT = Path(__file__).parents[2]
RUNS = 5


def noise_png(side_px: int, seed: int) -> bytes:
    """An image that does not compress."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=0)
    return content.getvalue()


def open_pages(folder: Path, count: int) -> None:
    """Time to run the page of a large dataset whose thumbnails exist."""
    from streamlit.testing.v1 import AppTest

    source = EmbeddedSource(folder)
    dataset = source.datasets.create("large")
    path = Path(dataset.path or "")
    for number in range(count):
        Image.new("RGB", (96, 96), (number % 256, number // 256, 99)).save(path / f"{number:05}.png")
        (path / f"{number:05}.txt").write_text(f"colour {number % 40}, flat", encoding="utf-8")
    started = time.perf_counter()
    ticks = 1
    while source.datasets.scan(dataset.id, budget_s=0.4) < 1:
        ticks += 1
    print(f"looking at {count:,} images: {time.perf_counter() - started:.1f} s in {ticks} ticks")
    services.connect(source)
    for params in ({"id": dataset.id}, {"id": dataset.id, "page": str(count // 48)}, {}):
        app = AppTest.from_file(str(ROOT / "lib" / "app.py"), default_timeout=60)
        for key, value in params.items():
            app.query_params[key] = value
        app.run().switch_page("../pages/datasets.py").run()
        times = []
        for _ in range(RUNS):
            started = time.perf_counter()
            app.run()
            times.append(time.perf_counter() - started)
        print(f"/datasets {params or ''}: {median(times) * 1000:.0f} ms (median of {RUNS})")
    source.close()


def upload(folder: Path, total_mb: int) -> None:
    """Peak memory of the server while a zip and many single files arrive."""
    images = [noise_png(2048, seed) for seed in range(4)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = folder.parent / "large.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as content:
        size = 0
        while size < total_mb << 20:
            number = size // len(images[0])
            content.writestr(f"{number:04}.png", images[number % 4])
            size += len(images[number % 4])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "Home.py", "--server.port", str(port)]
    environ = {**os.environ, "LORA_DATA_DIR": str(folder)}
    with (folder.parent / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
    try:
        wait_until_healthy(port)
        source = EmbeddedSource(folder)
        dataset_id = source.datasets.create("uploaded").id
        source.close()
        peaks: list[int] = []
        stop = threading.Event()
        watch = threading.Thread(target=watch_memory, args=(server.pid, peaks, stop))
        watch.start()
        before = psutil.Process(server.pid).memory_info().rss
        started = time.perf_counter()
        with archive.open("rb") as body:
            put(port, dataset_id, "large.zip", body, archive.stat().st_size)
        seconds = time.perf_counter() - started
        stop.set()
        watch.join()
        size_mb = archive.stat().st_size >> 20
        memory = f"server before {before >> 20} MB, peak {max(peaks) >> 20} MB"
        print(f"upload of a {size_mb:,} MB zip: {seconds:.1f} s, {memory}")
    finally:
        server.terminate()
        server.wait()


def put(port: int, dataset_id: str, name: str, body: io.BufferedReader, size_bytes: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    headers = {"Content-Length": str(size_bytes), "Sec-Fetch-Site": "same-origin", UPLOAD_HEADER: "1"}
    connection.request("PUT", f"/upload/{dataset_id}/{name}", body=body, headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def watch_memory(pid: int, peaks: list[int], stop: threading.Event) -> None:
    while not stop.wait(0.05):
        peaks.append(psutil.Process(pid).memory_info().rss)


def wait_until_healthy(port: int) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--upload-mb", type=int, default=1_024)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        open_pages(Path(folder, "pages", "data"), arguments.images)
        upload(Path(folder, "upload", "data"), arguments.upload_mb)


if __name__ == "__main__":
    main()
