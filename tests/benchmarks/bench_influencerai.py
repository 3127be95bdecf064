"""How the InfluencerAI source scales: ``uv run python -m tests.benchmarks.bench_influencerai [JOBS]``.

Prints how soon small deployments are complete (goal: 1,000 jobs within 2 s), the walk over many jobs, the time of
a list once warm, memory, and what reaches the API with 50 viewers.
The API runs in a process of its own, so that its memory and its work are not counted.
"""

import gc
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import psutil

from lib.jobs.job import JobStatus
from lib.jobs.query import JobQuery, SortBy
from lib.settings import InfluencerSettings
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.source import InfluencerSource
from tests.sources.influencerai.api_server import EMAIL, PASSWORD, START, ApiServer, iso

VIEWERS = 50
WATCH_S = 20.0
TICK_S = 2.0
RESULT_BYTES = 2_000
WORDS = "aria portrait cinematic anime product landscape night studio".split()


def serve(jobs: int, control: Connection) -> None:
    """The API in its own process: says its address, then how many requests came since the last question."""
    api = ApiServer()
    for number in range(jobs):
        ended = iso(START)
        api.add_job(
            status="succeeded",
            payload={
                "trainingName": f"{WORDS[number % 8]} {number}",
                "datasetId": f"ds{number % 40}",
                "configId": "c1",
            },
            result={"progress": {"stage": "completed", "percent": 100, "logs": ["x" * 100] * (RESULT_BYTES // 100)}},
            startedAt=ended,
            finishedAt=ended,
        )
    running = api.add_job("running")
    logs = [f"steps:  {n}%|#| {n}/100 [00:{n:02d}<01:00, 1.0s/it, avr_loss=0.{n:02d}]" for n in range(20)]
    api.patch(running["id"], "running", {"progress": {"stage": "running", "percent": 20, "logs": logs}})
    api.start()
    control.send(api.url)
    while (pattern := control.recv()) is not None:
        control.send(api.count(pattern))
        api.requests.clear()
        api.bodies.clear()
    api.stop()


def main(jobs: int) -> None:
    for small in (139, 1_000):
        with_source(small, measure_walk)
    with_source(jobs, measure_all)


def with_source(jobs: int, measure: Callable[[InfluencerSource, Connection], None]) -> None:
    """Measure the source in front of an API with so many jobs."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(jobs, theirs))
    server.start()
    settings = InfluencerSettings(api_url=ours.recv(), email=EMAIL, password=PASSWORD)
    source = InfluencerSource(InfluencerClient(settings), files=None)
    try:
        measure(source, ours)
    finally:
        source.close()
        ours.send(None)
        server.join()


def measure_all(source: InfluencerSource, control: Connection) -> None:
    measure_walk(source, control)
    measure_lists(source)
    measure_viewers(source, control)


def measure_walk(source: InfluencerSource, control: Connection) -> None:
    gc.collect()
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    first = source.list_jobs(JobQuery())
    shown_s = time.perf_counter() - began
    peak = 0
    while source.list_jobs(JobQuery()).incomplete:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.02)
    total, walked_s = source.list_jobs(JobQuery()).total, time.perf_counter() - began
    control.send("GET /jobs")
    print(f"first page after {shown_s * 1000:.0f} ms ({first.total} jobs known)")
    print(f"walk over {total:,} jobs: {walked_s:.1f} s, {control.recv()} requests")
    print(f"memory: {(process.memory_info().rss - before) / 1e6:.0f} MB more, at most {(peak - before) / 1e6:.0f} MB")


def measure_lists(source: InfluencerSource) -> None:
    queries = {
        "newest first": JobQuery(),
        "page 250": JobQuery(skip=4980),
        "by name": JobQuery(sort_by=SortBy.NAME, descending=False),
        "by duration": JobQuery(sort_by=SortBy.DURATION),
        "search": JobQuery(search="cinematic 7"),
        "failed only": JobQuery(statuses=frozenset({JobStatus.FAILED})),
    }
    print("list, server time:")
    for name, query in queries.items():
        source._rows._orders.clear()
        cold = timed(lambda query=query: source.list_jobs(query))  # type: ignore[misc]
        warm = statistics.median(timed(lambda query=query: source.list_jobs(query)) for _ in range(20))  # type: ignore[misc]
        print(f"  {name:<13} {cold:6.1f} ms, the same again {warm:5.1f} ms")
    print(f"  {'counts':<13} {statistics.median(timed(source.count_by_status) for _ in range(20)):6.1f} ms")


def measure_viewers(source: InfluencerSource, control: Connection) -> None:
    for name, pattern, look in (
        (f"{VIEWERS} viewers of the list", "GET", lambda: source.list_jobs(JobQuery())),
        (f"{VIEWERS} viewers of one job", "GET /jobs/running", lambda: source.get_job("running")),
    ):
        control.send(pattern)
        control.recv()
        times: list[float] = []
        threads = [threading.Thread(target=watch, args=(look, times, number)) for number in range(VIEWERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        control.send(pattern)
        per_interval = control.recv() * TICK_S / WATCH_S
        times.sort()
        print(
            f"{name}: {len(times)} looks, {per_interval:.2f} upstream calls per {TICK_S:g} s, "
            f"p50 {times[len(times) // 2]:.1f} ms, p95 {times[len(times) * 95 // 100]:.1f} ms"
        )


def watch(look, times: list[float], number: int) -> None:  # type: ignore[no-untyped-def]
    """A viewer who looks every tick, out of step with the others."""
    end = time.monotonic() + WATCH_S
    time.sleep(TICK_S * number / VIEWERS)
    while time.monotonic() < end:
        times.append(timed(look))
        time.sleep(TICK_S)


def timed(call) -> float:  # type: ignore[no-untyped-def]
    """Milliseconds of a call."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
