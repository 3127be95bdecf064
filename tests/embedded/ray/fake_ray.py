"""A Ray cluster of a few lines, with what the real one was seen to do; and its recorded answers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.embedded.files.attempt_folder import AttemptFolder, Exit
from lib.embedded.ray.client import RayJob, Submission
from lib.errors import SourceUnavailable
from lib.jobs.cluster import Cluster, ClusterNode

RECORDED = Path(__file__).parents[2] / "recordings" / "ray"


def recorded(name: str) -> dict[str, Any]:
    """An exchange; of a series the last one."""
    found = json.loads((RECORDED / f"{name}.json").read_text())
    return {"response": {"status": 200, **found["polls"][-1]}} if "polls" in found else found


def recorded_job(name: str, job_id: str) -> RayJob:
    """A job as Ray told of it."""
    body = recorded(name)["response"]["body"]
    return RayJob(
        id=job_id,
        status=body["status"],
        error=body["error_type"] or "",
        message=body["message"],
        exit_code=body["driver_exit_code"],
    )


def node(name: str = "n1", **total: float) -> ClusterNode:
    return ClusterNode(id=name, name=name, total={"CPU": 4.0, "GPU": 4.0, "memory": 64e9, **total})


class FakeRay:
    """What ``RayClient`` talks to; it starts nothing.

    Attributes:
        jobs: What it knows.
        posted: Every submission that reached it, repeated ones too.
        is_down: Whether it answers at all.
        loses_answer: The next submission is noted, but its answer does not come.
        unseen: What became of jobs while the head was away; it tells so once somebody makes it look.
    """

    def __init__(self, *nodes: ClusterNode) -> None:
        self.nodes = nodes or (node(),)
        self.jobs: dict[str, RayJob] = {}
        self.posted: list[Submission] = []
        self.stopped: list[str] = []
        self.removed: list[str] = []
        self.packages: set[str] = set()
        self.unseen: dict[str, RayJob] = {}
        self.is_down = self.loses_answer = False

    def _answer(self) -> None:
        if self.is_down:
            raise SourceUnavailable("The Ray cluster at head:8265 does not answer (no connection).")

    def job(self, job_id: str) -> RayJob | None:
        self._answer()
        return self.jobs.get(job_id)

    def send_package(self, name: str, data: bytes) -> None:
        self._answer()
        self.packages.add(name)

    def submit(self, submission: Submission) -> None:
        self._answer()
        assert submission.package in self.packages
        self.posted.append(submission)
        self.jobs.setdefault(submission.id, RayJob(id=submission.id, status="PENDING"))
        if self.loses_answer:
            self.loses_answer = False
            raise SourceUnavailable("The Ray cluster at head:8265 does not answer (it took too long).")

    def stop(self, job_id: str) -> None:
        self._answer()
        self.stopped.append(job_id)

    def look_again(self, job_id: str) -> None:
        self._answer()
        if job_id in self.unseen:
            self.jobs[job_id] = self.unseen.pop(job_id)

    def forget(self, job_id: str) -> None:
        self._answer()
        self.removed.append(job_id)
        self.jobs.pop(job_id, None)

    def cluster(self) -> Cluster:
        self._answer()
        return Cluster(nodes=tuple(self.nodes))

    def close(self) -> None:
        """Nothing is open."""

    # What happens there.

    def run(self, job_id: str) -> None:
        """Let it run."""
        self.jobs[job_id] = replace(self.jobs[job_id], status="RUNNING")

    def end(self, job_id: str, name: str) -> None:
        """Let it end as a recorded one did."""
        self.jobs[job_id] = recorded_job(name, job_id)


def play_runner(folder: AttemptFolder, *, log: bytes = b"", exit_: Exit | None = None, host: str = "n1") -> None:
    """Write what a runner does."""
    (folder.path / "runner.json").write_text(json.dumps({"submission": "", "host": host}))
    (folder.path / "beat").write_text("1")
    folder.mark_started(supervisor=1)
    if log:
        folder.log.write_bytes(log)
    if exit_ is not None:
        folder.write_exit(exit_)
