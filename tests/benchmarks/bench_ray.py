"""A cluster's speed: the worker's round with many jobs, and with a real cluster the way to the first line of a log.

uv run python -m tests.benchmarks.bench_ray [JOBS]
"""

import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

from lib.embedded.worker.worker import TICK_S
from lib.jobs.logs.tail import LogFollower
from tests.embedded.ray.fake_ray import node, play_runner
from tests.embedded.ray.real_cluster import RealCluster
from tests.embedded.ray.test_cluster import Site as RealSite
from tests.embedded.ray.test_ray_executor import Site
from tests.embedded.scripted import REFERENCE, TRAIN
from tests.reaper import Reaper
from tests.waiting import wait_for

ROUNDS = 100
NOTED = f"""
with (OUTPUT / "noted").open("a") as noted:
    print(time.time(), file=noted, flush=True)
    time.sleep(10)
    print(time.time(), file=noted, flush=True)
{TRAIN}
"""
LINE = b"\rsteps: %d%%|##| %d/100 [00:01<00:01, 1.00it/s, avr_loss=0.5]"


def measure_rounds(folder: Path, count: int) -> None:
    """All jobs run; each prints a step per round. The processor's time depends little on what else runs here."""
    with closing(Site(folder)) as site:
        site.ray.nodes = (node(CPU=float(count), GPU=float(count)),)
        jobs = [site.submit(f"job {number}") for number in range(count)]
        site.hire(write_every_s=1.0, start_for_s=0.25)
        longest_s = 0.0
        while len(site.ray.posted) < count:
            began = time.perf_counter()
            site.worker.tick()
            longest_s = max(longest_s, time.perf_counter() - began)
            site.desk.tick()
        print(f"{count} jobs: while they start a round takes at most {1000 * longest_s:.0f} ms")
        folders = [site.attempt(job) for job in jobs]
        for each, job in zip(folders, jobs, strict=True):
            site.ray.run(f"lora-{job.id}-a1")
            play_runner(each, log=b"running training\n")
        site.step(2)
        taken: list[tuple[float, float]] = []
        now = time.monotonic()
        with patch("time.monotonic", lambda: now):  # each round comes in time, however slow this machine is
            for number in range(ROUNDS):
                for each in folders:
                    with each.log.open("ab") as log:
                        log.write(LINE % (number, number))
                began, worked = time.perf_counter(), time.thread_time()
                site.worker.tick()
                taken.append((time.perf_counter() - began, time.thread_time() - worked))
                now += TICK_S
        for what, times in zip(("a round takes", "of the processor"), zip(*taken, strict=True), strict=True):
            spread = statistics.quantiles(times, n=20)
            print(f"{count} jobs: {what} {1000 * statistics.median(times):.0f} ms, p95 {1000 * spread[-1]:.0f} ms")


def measure_start(folder: Path) -> None:
    """From the submit to the first line of the log as a page reads it, beside what Ray takes itself."""
    cluster = RealCluster(folder / "ray")
    with closing(cluster), closing(RealSite(folder / "real", cluster, REFERENCE)) as site:
        cluster.start_head()
        cluster.start_node()
        print(f"head after {cluster.seconds['head']:.1f} s, node after {cluster.seconds['node']:.1f} s")
        for number in range(3):
            began = time.monotonic()
            job = site.script(f"job {number}", "print('ready', flush=True); time.sleep(3)")

            def read(offset: int, limit: int, job_id: str = job.id) -> tuple[bytes, int]:
                chunk = site.source.read_log(job_id, attempt=1, offset=offset, limit=limit)
                return chunk.data, chunk.size_bytes

            follower = LogFollower(read, keep_lines=10)
            wait_for(lambda: "ready" in str(follower.update()), "no line", poll_s=0.05)  # noqa: B023
            first_s = time.monotonic() - began
            begun = (site.folder / "jobs" / job.id / "1" / "runner.json").stat().st_mtime
            sent = (site.folder / "jobs" / job.id / "1" / "ray.json").stat().st_mtime
            print(f"submit to the first line: {first_s:.1f} s (Ray accepted to runner: {begun - sent:.1f} s)")
            site.ended(job)
        before = cluster.client.bytes_read
        cluster.client.job("nope")
        cluster.client.cluster()
        print(f"bytes of a look at the nodes: {cluster.client.bytes_read - before:,}; the log's go through the folder")


def measure_queue(folder: Path, count: int = 20, slots: int = 4) -> None:
    """More jobs than slots: none lost, none twice, in order, never more at once than there are slots."""
    cluster = RealCluster(folder / "ray")
    with closing(cluster), closing(RealSite(folder / "queue", cluster, REFERENCE)) as site:
        cluster.start_head()
        cluster.start_node(cpus=slots, gpus=slots)
        began = time.monotonic()
        jobs = [site.script(f"job {number}", NOTED) for number in range(count)]
        ended = [site.ended(job) for job in jobs]
        print(f"{count} jobs of 10 s on {slots} slots: all over after {time.monotonic() - began:.0f} s")
        spans = [(site.folder / "jobs" / job.id / "1" / "output" / "noted").read_text().split() for job in jobs]
        print(f"ends: {Counter(str(job.status) for job in ended)}, runs: {Counter(len(span) // 2 for span in spans)}")
        times = [tuple(map(float, span)) for span in spans]
        most = max(sum(other[0] <= each[0] < other[1] for other in times) for each in times)
        order = sorted(range(count), key=lambda number: times[number])
        print(f"at once at most {most}; began in the order {order}")


def main() -> None:
    reaper = Reaper()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        measure_rounds(Path(folder) / "data", int(sys.argv[1]) if len(sys.argv) > 1 else 200)
        measure_start(Path(folder) / "start")
        measure_queue(Path(folder) / "queue")
    reaper.close()


if __name__ == "__main__":
    main()
