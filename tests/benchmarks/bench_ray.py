"""A cluster's speed: the worker's round with many jobs, and with a real cluster the way to the first line of a log.

uv run python -m tests.benchmarks.bench_ray [JOBS]
"""

import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from lib.jobs.logs.tail import LogFollower
from tests.embedded.ray.fake_ray import node, play_runner
from tests.embedded.ray.real_cluster import RealCluster
from tests.embedded.ray.test_cluster import Site as RealSite
from tests.embedded.ray.test_ray_executor import Site
from tests.embedded.scripted import REFERENCE
from tests.reaper import Reaper
from tests.waiting import wait_for

ROUNDS = 100
LINE = b"\rsteps: %d%%|##| %d/100 [00:01<00:01, 1.00it/s, avr_loss=0.5]"


def measure_rounds(folder: Path, count: int) -> None:
    """All jobs run; each prints a step per round."""
    with closing(Site(folder)) as site:
        site.ray.nodes = (node(CPU=float(count), GPU=float(count)),)
        jobs = [site.submit(f"job {number}") for number in range(count)]
        site.hire(write_every_s=1.0)
        site.step(4)
        folders = [site.attempt(job) for job in jobs]
        for each, job in zip(folders, jobs, strict=True):
            site.ray.run(f"lora-{job.id}-a1")
            play_runner(each, log=b"running training\n")
        site.step(2)
        times = []
        for number in range(ROUNDS):
            for each in folders:
                with each.log.open("ab") as log:
                    log.write(LINE % (number, number))
            began = time.perf_counter()
            site.worker.tick()
            times.append(time.perf_counter() - began)
            time.sleep(max(0.0, 0.2 - times[-1]))
        spread = statistics.quantiles(times, n=20)
        print(f"{count} jobs: a round takes {1000 * statistics.median(times):.0f} ms, p95 {1000 * spread[-1]:.0f} ms")


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


def main() -> None:
    reaper = Reaper()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        measure_rounds(Path(folder) / "data", int(sys.argv[1]) if len(sys.argv) > 1 else 200)
        measure_start(Path(folder))
    reaper.close()


if __name__ == "__main__":
    main()
