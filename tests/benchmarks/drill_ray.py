"""Kills at random instants while a job runs on a real cluster.

uv run python -m tests.benchmarks.drill_ray [COUNT] [SEED]

In turn worker, runner, trainer, node and head are killed; node and head come back. A job must end, and not run
twice at once. Prints a line per kill, and how many jobs ended how.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil

from lib.jobs.job import Job
from tests.embedded.ray.real_cluster import RealCluster
from tests.embedded.ray.test_cluster import Site
from tests.embedded.scripted import REFERENCE, TRAIN
from tests.reaper import Reaper, living

LIMIT_S = 240.0
VICTIMS = ("worker", "runner", "trainer", "node", "head")
# Says when it runs, so that two at once would be seen.
LASTS = f"""
with (OUTPUT / "ran").open("a") as ran:
    print(f"begin {{os.getpid()}} {{time.time()}}", file=ran, flush=True)
for _ in range(80):
    time.sleep(0.1)
{TRAIN}
with (OUTPUT / "ran").open("a") as ran:
    print("end", file=ran, flush=True)
"""


def kill(victim: str, site: Site, job: Job) -> str:
    """Kill one part, and bring node and head back."""
    if victim == "worker":
        site.kill_worker()
    elif victim in ("runner", "trainer"):
        word = "runner.py" if victim == "runner" else "-c"
        for process in _processes(job, word):
            os.kill(process.pid, signal.SIGKILL)
    elif victim == "node":
        site.cluster.kill("node")
        site.cluster.start_node()
    else:
        site.cluster.kill("head")
        site.cluster.kill("node")  # without its head's memory it would end itself after a minute
        site.cluster.start_head()
        site.cluster.start_node()
    return victim


def _processes(job: Job, word: str) -> list[psutil.Process]:
    return living(lambda each: word in each.cmdline() and any(job.id in part for part in each.cmdline()))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    chance, ends, bad = random.Random(seed), Counter[str](), 0
    reaper = Reaper()
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        cluster = RealCluster(Path(folder) / "ray")
        with closing(cluster), closing(Site(Path(folder) / "data", cluster, REFERENCE)) as site:
            cluster.start_head()
            cluster.start_node()
            for number in range(count):
                job = site.script(f"job {number}", LASTS)
                after_s, victim = chance.uniform(0, 12), VICTIMS[number % len(VICTIMS)]
                time.sleep(after_s)
                began = time.monotonic()
                kill(victim, site, job)
                while not (now := site.source.get_job(job.id)).status.is_terminal:
                    if time.monotonic() - began > LIMIT_S:
                        break
                    time.sleep(0.2)
                ran = site.folder / "jobs" / job.id / "1" / "output" / "ran"
                begins = ran.read_text().count("begin") if ran.exists() else 0
                cause = now.failure.cause if now.failure else ""
                is_bad = begins > 1 or not now.status.is_terminal
                bad += is_bad
                ends[f"{victim}: {now.status} {cause}".rstrip()] += 1
                print(
                    f"{number + 1:3} {victim:8} after {after_s:4.1f} s: {now.status:10} {cause:14} begun {begins} x, "
                    f"ended {time.monotonic() - began:5.1f} s later{'  BAD' if is_bad else ''}",
                    flush=True,
                )
    reaper.close()
    for end, times in sorted(ends.items()):
        print(f"{times:3} {end}")
    print(f"{bad} of {count} stuck or run twice")


if __name__ == "__main__":
    main()
