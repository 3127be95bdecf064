"""Drills with real processes: kill -9 anything at any instant, and look whether a job was harmed that need not be."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.store.jobs import Store
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import JobQuery
from lib.settings import ROOT
from tests.embedded.worker.drill.processes import (
    POLL_S,
    all_killed_at_the_end,
    assert_sound,
    drill_request,
    kill,
    living,
    make_dataset,
    open_source,
    parents,
    scene,
    wait_until,
)

pytestmark = pytest.mark.slow

KILLS = 25
SEEDS = (3, 14)  # 50 kills in all
ACTIVE_JOBS = 5
MAX_PARALLEL = 4
# Nobody notices a dead process later than this, even on a busy machine.
STUCK_S = 60.0
# How often each kind of process is the victim.
VICTIMS = {"worker": 6, "supervisor": 6, "trainer": 6, "dashboard": 7}


@dataclass
class Dashboards:
    """Two dashboards on one data folder; a killed one is replaced and repeats its last submission."""

    data_dir: Path
    proof: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def told(self, prefix: str) -> list[str]:
        """The ids of the jobs a dashboard was told of; an id cut off by a kill does not count."""
        path = self.proof / f"{prefix}.told"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def all_told(self) -> list[str]:
        """The ids that all of them were told of; fails when one of them did not stay alive."""
        for prefix, process in self.running.items():
            assert process.poll() is None, (self.proof / f"{prefix}.err").read_text()
        return [job_id for prefix in self.running for job_id in self.told(prefix)]

    def start(self, prefix: str) -> None:
        """Start one that goes on where the former one may have been."""
        number = len(self.told(prefix))
        argv = [str(self.data_dir), str(self.proof), prefix, str(number), str(ACTIVE_JOBS), str(MAX_PARALLEL)]
        with (self.proof / f"{prefix}.told").open("ab") as told, (self.proof / f"{prefix}.err").open("ab") as errors:
            self.running[prefix] = subprocess.Popen(
                [sys.executable, "-m", "tests.embedded.worker.drill.dashboard", *argv],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=errors,
            )

    def kill(self, prefix: str) -> None:
        """Kill one and start its successor."""
        self.all_told()
        self.running[prefix].kill()
        self.running[prefix].wait()
        self.start(prefix)

    def end(self) -> None:
        """Kill all of them."""
        for process in self.running.values():
            process.kill()
            process.wait()


@dataclass
class Watch:
    """Looks again and again how long a job counts as running although no process of it lives.

    The time starts anew when a worker or a dashboard is killed: somebody must be left to notice.
    """

    data_dir: Path
    store: Store
    dead_since: dict[str, float] = field(default_factory=dict)

    def look(self) -> list[Job]:
        """The active jobs; fails when one of them is stuck."""
        jobs = self.store.list_jobs(JobQuery(statuses=frozenset({JobStatus.PENDING, JobStatus.RUNNING}), take=100)).jobs
        busy = " ".join(" ".join(argv) for _, _, argv in living(self.data_dir, "supervisor", "trainer"))
        dead = [job.id for job in jobs if job.status is JobStatus.RUNNING and job.id not in busy]
        now = time.monotonic()
        self.dead_since = {job_id: self.dead_since.get(job_id, now) for job_id in dead}
        for job_id, since in self.dead_since.items():
            assert now - since < STUCK_S, f"{job_id} is stuck in running\n{scene(self.data_dir)}"
        return list(jobs)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    make_dataset(folder)
    with all_killed_at_the_end(folder):
        yield folder


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    folder = tmp_path / "proof"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("seed", SEEDS)
def test_kill_anything_at_any_instant(seed: int, data_dir: Path, proof: Path) -> None:
    dice = random.Random(seed)
    dashboards = Dashboards(data_dir, proof)
    harmed: dict[str, set[str]] = {}
    with closing(Store(data_dir)) as store:
        watch = Watch(data_dir, store)
        try:
            for prefix in ("a", "b"):
                dashboards.start(prefix)
            wait_until(data_dir, lambda: living(data_dir, "trainer"), "no trainer started")
            victims = [role for role, count in VICTIMS.items() for _ in range(count)]
            assert len(victims) == KILLS
            while victims:
                kill_one(victims, dice, dashboards, watch, harmed)
            (proof / "stop").touch()
            wait_until(data_dir, lambda: not watch.look(), "jobs did not come to an end")
            told = dashboards.all_told()
        finally:
            dashboards.end()
        jobs = [store.get_job(job.id) for job in all_jobs(store)]
    assert set(told) <= {job.id for job in jobs}
    assert len(jobs) <= len(set(told)) + VICTIMS["dashboard"] + 2
    assert not list(proof.glob("*.twice"))
    for job in jobs:
        check_job(job, data_dir, proof, harmed.get(job.id, set()))
    assert_sound(data_dir)


def kill_one(
    victims: list[str], dice: random.Random, dashboards: Dashboards, watch: Watch, harmed: dict[str, set[str]]
) -> None:
    """Wait for a random while, then kill one of the listed kinds that lives, and take it from the list."""
    at = time.monotonic() + dice.uniform(0.0, 0.3)
    while time.monotonic() < at:
        watch.look()
        time.sleep(POLL_S)
    alive = living(watch.data_dir)
    possible = [each for each in victims if each in {role for role, _, _ in alive}]
    if not possible:
        return
    role = dice.choice(possible)
    victims.remove(role)
    if role in ("dashboard", "worker"):
        watch.dead_since.clear()
    if role == "dashboard":
        dashboards.kill(dice.choice(["a", "b"]))
        return
    _, victim, argv = dice.choice([each for each in alive if each[0] == role])
    if role != "worker":
        for job in all_jobs(watch.store):
            if any(job.id in part for part in argv):
                harmed.setdefault(job.id, set()).add(role)
    kill(victim)


def all_jobs(store: Store) -> list[Job]:
    """Every job there is."""
    jobs: list[Job] = []
    while page := store.list_jobs(JobQuery(skip=len(jobs), take=100)).jobs:
        jobs += page
    return jobs


def check_job(job: Job, data_dir: Path, proof: Path, harmed: set[str]) -> None:
    """A job ended as what was done to it explains; its log is whole; it was started once."""
    runs = (proof / f"{job.id}.runs").read_text().split() if (proof / f"{job.id}.runs").exists() else []
    is_done = (proof / f"{job.id}-{job.attempt}.done").exists()
    said = f"{job.id} {job.status} {job.failure} harmed={harmed} runs={runs}"
    assert job.status.is_terminal, said
    assert runs in ([], [str(job.attempt)]), said
    assert [attempt.status for attempt in job.attempts] == [job.status], said
    if not harmed:
        assert job.status is JobStatus.SUCCEEDED, said
    if job.status is JobStatus.SUCCEEDED:
        assert is_done, said
        assert sum(artifact.name.endswith(".safetensors") for artifact in job.artifacts) == 5, said
        assert job.progress.fraction == 1.0, said
    elif job.status is JobStatus.FAILED:
        assert job.failure, said
        # A supervisor that is killed at once never starts its trainer.
        assert "trainer" in harmed if job.failure.cause == "killed" else "supervisor" in harmed and not runs, said
    else:
        assert job.status is JobStatus.LOST, said
        assert "supervisor" in harmed, said
        assert not is_done, said
    if runs:
        log = AttemptFolder.of(data_dir, job.id, job.attempt).log.read_bytes()
        written = (proof / f"{job.id}-{job.attempt}.written").read_bytes()
        # The trainer writes to the log first, so a kill between the two leaves one line more there.
        assert log.startswith(written), said
        assert len(log) - len(written) < 200, said


def test_two_submitters_at_once_share_one_worker(data_dir: Path, proof: Path) -> None:
    dashboards = Dashboards(data_dir, proof)
    with closing(Store(data_dir)) as store:
        try:
            for prefix in ("a", "b"):
                dashboards.start(prefix)
            wait_until(data_dir, lambda: len(dashboards.all_told()) >= ACTIVE_JOBS, "no jobs came")
            (proof / "stop").touch()

            def has_ended() -> bool:
                # No worker is killed here, so the parent of a supervisor is the worker that claimed its job.
                assert len(parents(data_dir, "supervisor")) <= 1
                return not store.has_active_jobs()

            wait_until(data_dir, has_ended, "jobs did not come to an end")
            jobs = [store.get_job(job.id) for job in all_jobs(store)]
            told = dashboards.all_told()
        finally:
            dashboards.end()
    assert sorted(told) == sorted(job.id for job in jobs)
    assert not list(proof.glob("*.twice"))
    for job in jobs:
        check_job(job, data_dir, proof, set())
    wait_until(data_dir, lambda: not living(data_dir, "worker"), "the worker did not end when it was idle")
    assert_sound(data_dir)


def test_a_trainer_that_lost_worker_and_supervisor_can_be_cancelled(data_dir: Path, proof: Path) -> None:
    with closing(open_source(data_dir)) as source:
        job = source.create_job(drill_request(proof, "orphan", mode="wait", seconds=0.1))
        wait_until(data_dir, lambda: source.get_job(job.id).progress.step, "the training did not begin")
        for role in ("worker", "supervisor"):
            for _, process, _ in living(data_dir, role):
                kill(process)
        assert living(data_dir, "trainer")
        source.cancel_job(job.id)
        wait_until(data_dir, lambda: source.get_job(job.id).status.is_terminal, "the job was not cancelled")
        assert source.get_job(job.id).status is JobStatus.CANCELLED
        assert not living(data_dir, "trainer", "supervisor")
    assert_sound(data_dir)
