"""Kills at random instants while jobs run on a real cluster, and are to go on by themselves.

uv run python -m tests.benchmarks.drill_ray [--stand-in] [ROUNDS] [SEED] [VICTIM ...]

A round trains one job over the shared folder and one over a store, and kills one part of both: in turn worker, runner,
trainer, node and head; the store goes away for a minute. Node, head and store come back. Each job must end in time, and
never run twice at once; only what was killed itself (runner, trainer) may fail. Prints a line per job, and a table.
With --stand-in only Ray itself is replaced, by a few lines that do what was recorded of it: for busy machines.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from lib.jobs.job import ArtifactKind, Job, JobStatus
from lib.settings import TrainingRules
from tests.artifacts.s3_server import S3Server, s3_server
from tests.embedded.ray.real_cluster import RealCluster
from tests.embedded.ray.stand_in import StandIn
from tests.embedded.ray.test_cluster import Site
from tests.reaper import Reaper, living
from tests.waiting import wait_for

LIMIT_S = 420.0  # for a busy machine: a job that Ray forgot counts as lost after 90 s, and then trains again
STORE_AWAY_S = 60.0
VICTIMS = ("worker", "runner", "trainer", "node", "head", "store")
MAY_FAIL = {"runner": "killed", "trainer": "killed"}


@dataclass
class Run:
    """A job that is drilled, and what was seen of it."""

    site: Site
    transport: str
    job: Job
    most_at_once: int = 0
    ended_s: float | None = None
    says: list[str] = field(default_factory=list)

    def look(self, began: float) -> bool:
        """Count its trainers; whether it has ended."""
        trainers = trainers_of(self.job)
        self.most_at_once = max(self.most_at_once, len(trainers))
        self.job = self.site.source.get_job(self.job.id)
        if self.job.status.is_terminal and self.ended_s is None:
            self.ended_s = time.monotonic() - began
        return self.job.status.is_terminal

    def is_past(self, share: float) -> bool:
        """Whether so much of it is done, or it has ended."""
        job = self.site.source.get_job(self.job.id)
        return job.status.is_terminal or (job.progress.fraction or 0.0) >= share

    def is_bad(self, victim: str) -> bool:
        """Whether it is stuck or lost, ran twice at once, or ended without its file."""
        failure = self.job.failure.cause if self.job.failure else ""
        if self.most_at_once > 1 or self.ended_s is None:
            return True
        if self.job.status is JobStatus.SUCCEEDED:
            finals = [each for each in self.job.artifacts if each.kind is ArtifactKind.LORA and each.epoch is None]
            return not finals or self.job.progress.step != self.job.progress.total_steps
        return failure != MAY_FAIL.get(victim)


def trainers_of(job: Job) -> list[psutil.Process]:
    return living(lambda each: "lib.tiny_trainer" in each.cmdline() and any(job.id in part for part in each.cmdline()))


def runners_of(job: Job) -> list[psutil.Process]:
    return living(lambda each: "runner.py" in each.cmdline() and any(job.id in part for part in each.cmdline()))


def kill_all_of(processes: list[psutil.Process]) -> None:
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)


def kill(
    victim: str, runs: list[Run], cluster: RealCluster | StandIn, store: S3Server, look: Callable[[], object]
) -> None:
    """Kill one part of all runs, and bring node, head and store back."""
    if victim == "worker":
        for run in runs:
            run.site.kill_worker()
    elif victim in ("runner", "trainer"):
        of = runners_of if victim == "runner" else trainers_of
        kill_all_of([process for run in runs for process in of(run.job)])
    elif victim == "node":
        cluster.kill("node")
        cluster.start_node(cpus=4)
    elif victim == "head":
        cluster.kill("head")
        cluster.kill("node")  # without its head's memory it would end itself after a minute
        cluster.start_head()
        cluster.start_node(cpus=4)
    else:
        store.stop()
        until = time.monotonic() + STORE_AWAY_S
        while time.monotonic() < until:
            look()
            time.sleep(1.0)
        store.start()


def line(number: int, victim: str, after_s: float, run: Run) -> str:
    job, begins = run.job, [attempt.start.step if attempt.start else 0 for attempt in run.job.attempts]
    cause = f" {job.failure.cause}" if job.failure else ""
    former = "".join(f" after {each.failure.cause}" for each in job.attempts[:-1] if each.failure)
    ended = f"{run.ended_s:5.1f} s" if run.ended_s is not None else "never"
    bad = "  BAD" if run.is_bad(victim) else ""
    return (
        f"{number:3} {victim:8} {run.transport:6} after {after_s:5.1f} s: {job.status}{cause}{former}, "
        f"attempts from steps {begins}, {run.most_at_once} at once, {ended}{bad}"
    )


def main() -> None:
    is_real = "--stand-in" not in sys.argv
    words = [word for word in sys.argv[1:] if word != "--stand-in"]
    rounds = int(words[0]) if words else 15
    seed = int(words[1]) if len(words) > 1 else int(time.time())
    victims = tuple(words[2:]) or VICTIMS
    chance, ends, bad, count = random.Random(seed), Counter[str](), 0, 0
    reaper = Reaper()
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="drill-") as name, ExitStack() as stack:
        folder = Path(name)
        store = stack.enter_context(s3_server(folder / "s3"))
        for key, value in vars_of(store).items():
            os.environ[key] = value
        cluster = stack.enter_context(closing((RealCluster if is_real else StandIn)(folder / "ray")))
        rules = TrainingRules(resume_after_restart=True)
        sites = {
            transport: stack.enter_context(closing(Site(folder / transport, cluster, transport=transport, rules=rules)))
            for transport in ("folder", "s3")
        }
        cluster.start_head()
        cluster.start_node(cpus=4)
        for number in range(1, rounds + 1):
            victim, share = victims[(number - 1) % len(victims)], chance.uniform(-0.2, 0.9)
            runs = [
                Run(
                    site,
                    transport,
                    site.submit(f"{transport} {number}", **TRAINED),
                )
                for transport, site in sites.items()
                if victim != "store" or transport == "s3"
            ]
            waited = time.monotonic()
            wait_for(lambda runs=runs: all(runners_of(run.job) for run in runs), "no runner", poll_s=0.5)  # type: ignore[misc]
            # Of the training, so that it still runs on a fast machine; before the first step where it is negative.
            wait_for(lambda runs=runs, share=share: any(run.is_past(share) for run in runs), "no progress", poll_s=0.1)  # type: ignore[misc]
            began = time.monotonic()
            look = lambda runs=runs, began=began: [run.look(began) for run in runs]  # noqa: E731
            look()
            kill(victim, runs, cluster, store, look)
            while not all(look()) and time.monotonic() - began < LIMIT_S:
                time.sleep(1.0)
            for run in runs:
                count, bad = count + 1, bad + run.is_bad(victim)
                cause = f" {run.job.failure.cause}" if run.job.failure else ""
                ends[f"{victim} {run.transport}: {run.job.status}{cause}, attempts {run.job.attempt}"] += 1
                print(line(number, victim, began - waited, run), flush=True)
                if run.is_bad(victim):
                    print((run.site.folder / "worker.log").read_text()[-1500:], flush=True)
                    if not run.job.status.is_terminal:
                        run.site.source.cancel_job(run.job.id)
    reaper.close()
    for end, times in sorted(ends.items()):
        print(f"{times:3} {end}")
    print(f"{bad} of {count} stuck, lost or run twice at once")


TRAINED = {"epochs": 10, "repeats": 3, "resolution": 128, "network_dim": 2, "network_alpha": 1}


def vars_of(server: S3Server) -> dict[str, str]:
    """The store as the worker's settings name it."""
    store = server.settings
    return {
        "S3_ENDPOINT": store.endpoint,
        "S3_KEY": store.key,
        "S3_SECRET": store.secret,
        "S3_BUCKET": store.bucket,
        "AWS_REGION": store.region,
    }


if __name__ == "__main__":
    main()
