"""How fast logs are rendered, followed, searched and parsed; pyte beside our own terminal.

Run: uv run python -m tests.benchmarks.bench_log [size of the big log in MB, 1000]
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyte

from lib.jobs.logs.progress import ProgressParser
from lib.jobs.logs.search import find_in_log
from lib.jobs.logs.tail import LogFollower
from lib.jobs.logs.terminal import Terminal
from tests.jobs.recordings import raw_log

MIB = 1 << 20
_BAR = "\rsteps:  21%|██        | {0}/900000 [00:03<00:11,  1.62it/s, avr_loss=0.{1:03}]"
_LINE = "2026-11-23 15:53:06 INFO     text of an ordinary log line number {0}, about a hundred bytes long   x.py:{1}\n"
_NESTED = "\n\r  {0}%|███       | 3/8 [00:00<00:00, 3.17it/s]\x1b[A"
_COLOURED = (
    "\x1b[2;36m2026-11-23\x1b[0m \x1b[34mINFO\x1b[0m  text {0} \x1b]8;id=1;file:///x.py\x1b\\x.py\x1b]8;;\x1b\\ {1}\n"
)


def blocks() -> dict[str, bytes]:
    """About 8 MB of each kind of log."""

    def many(pattern: str, count: int) -> str:
        return "".join(pattern.format(number, number % 1000) for number in range(count))

    mixed = "".join(many(_BAR, 800) + "\n" + many(_LINE, 5) for _ in range(120))
    texts = {
        "lines": many(_LINE, 80_000),
        "bars": many(_BAR, 100_000),
        "bars and lines": mixed,
        "nested bars": many(_LINE, 3) + many(_NESTED, 140_000) + "\n\n",
        "coloured lines": many(_COLOURED, 70_000),
        "short lines": many("x{1}\n", 1_000_000),
    }
    return {name: text.encode() for name, text in texts.items()} | {"recording": raw_log("sd-scripts-success") * 300}


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time, times: int = 3) -> float:
    """The best of three; CPU time unless told otherwise, so that a busy machine counts less."""
    spent = []
    for _ in range(times):
        start = clock()
        work()
        spent.append(clock() - start)
    return min(spent)


def feed_terminal(data: bytes) -> None:
    """Our terminal, in pieces of 1 MB."""
    terminal = Terminal()
    for start in range(0, len(data), MIB):
        terminal.feed(data[start : start + MIB])


def feed_parser(data: bytes) -> None:
    """The progress parser, in pieces of 64 KB."""
    parser = ProgressParser()
    for start in range(0, len(data), MIB >> 4):
        parser.feed(data[start : start + (MIB >> 4)], start / MIB)


def feed_pyte(data: bytes) -> None:
    """pyte with a screen that remembers."""
    pyte.ByteStream(pyte.HistoryScreen(240, 50, history=1000)).feed(data.replace(b"\n", b"\r\n"))


def read_file(file: int, offset: int, limit: int) -> tuple[bytes, int]:
    """The ``ReadAt`` of an open file."""
    return os.pread(file, limit, offset), os.fstat(file).st_size


def main(big_mb: int) -> None:
    """Print the tables."""
    kinds = blocks()
    print(f"{'MB/s':16}{'terminal':>10}{'pyte':>8}{'progress':>10}{'find':>8}")
    for name, data in kinds.items():
        size = len(data) / 1e6
        find = partial(find_in_log, lambda at, limit, data=data: (data[at : at + limit], len(data)), "no such text")
        pyte_rate = min(size, 0.2) / seconds(partial(feed_pyte, data[:200_000]))
        rates = [size / seconds(partial(feed_terminal, data)), pyte_rate, size / seconds(partial(feed_parser, data))]
        print(f"{name:16}{rates[0]:10.0f}{rates[1]:8.2f}{rates[2]:10.0f}{size / seconds(find):8.0f}")
    print(f"\n{'log of ' + str(big_mb) + ' MB':16}{'1,000 lines':>12}{'lines':>7}{'append':>10}{'find':>10}")
    for name, data in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            measure_big(name, data, Path(folder) / "log", big_mb)


def measure_big(name: str, data: bytes, path: Path, big_mb: int) -> None:
    """Follow and search one big file."""
    with path.open("wb") as file:
        while file.tell() < big_mb * 1_000_000:
            file.write(data)
    handle = os.open(path, os.O_RDONLY)
    read = partial(read_file, handle)
    first = seconds(lambda: LogFollower(read).update(), time.perf_counter, 5)
    follower = LogFollower(read)
    view = follower.update()
    with path.open("ab") as file:
        file.write(data[:2_000])
    append = seconds(follower.update, time.perf_counter, 1)
    rate = path.stat().st_size / 1e6 / seconds(lambda: find_in_log(read, "no such text"), times=1)
    os.close(handle)
    print(f"{name:16}{first * 1000:9.1f} ms{len(view.lines):7}{append * 1000:7.2f} ms{rate:5.0f} MB/s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
