"""All talk with a cluster, in one thread: the worker's rounds never wait for a slow head.

What is wanted is told to the desk (submit this, stop that); what Ray said last can be read at any time.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lib.embedded.ray.client import RayClient, RayJob, Submission
from lib.errors import DashboardError, InvalidRequest
from lib.jobs.cluster import Cluster

_log = logging.getLogger("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskLimits:
    """How often Ray is asked. The defaults are for people; tests shorten them.

    Attributes:
        start_s, run_s: Between two looks at a job that does not run yet, and at one that does.
        share: At most this part of the time goes into looking at jobs that run.
        cluster_s: Between two looks at the nodes while jobs wait.
        wanted_s: They count as waiting for so long after somebody asked for the nodes.
        pauses_s: After the first, second, third, … failure in a row.
        stop_again_s: A stop that has not ended the job is asked for again.
        look_again_s: Ray is made to look at a job at most so often: its answer may be megabytes.
        say_again_s: A repeated problem is logged at most so often.
    """

    start_s: float = 1.0
    run_s: float = 5.0
    share: float = 0.25
    cluster_s: float = 3.0
    wanted_s: float = 6.0
    pauses_s: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 20.0)
    stop_again_s: float = 30.0
    look_again_s: float = 20.0
    say_again_s: float = 600.0


DESK_LIMITS = DeskLimits()
# A runner that has told its end is over for Ray a moment later.
LOOKS_BEFORE_STOP = 10
NOT_READY, FORMER_RUNS = "It is on its way.", "What was lost before still runs."


@dataclass(slots=True, kw_only=True)
class Errand:
    """A job at the cluster. The desk's thread writes it, the worker reads it.

    Attributes:
        submission: What to start when Ray does not know the id, unless it once did.
        was_accepted: Whether Ray ever knew it.
        former: A job that must be over before this one is sent; empty for none.
        prepare: Called in the desk's thread before it is sent; gives more variables for it, None while it is not
            ready. An error of it is no error of the cluster.
        unready: Why it cannot be sent yet though the cluster answers; empty when it can.
        said: What was logged of that last.
        on_accepted: Called in the desk's thread once it does.
        job: What Ray said last; None before the first answer.
        running_since: Monotonic time at which it was first seen running.
        is_forgotten: Ray knew it and knows it no more.
        is_absent: Ray knew nothing of it after its stop was wanted, so it was not sent.
        refused: Why Ray would not take it.
        unsent: Why what it needs can never be sent to its node.
    """

    submission: Submission
    was_accepted: bool
    on_accepted: Callable[[], None]
    former: str = ""
    prepare: Callable[[], Mapping[str, str] | None] = dict
    unready: str = ""
    said: str = ""
    job: RayJob | None = None
    running_since: float | None = None
    is_forgotten: bool = False
    is_absent: bool = False
    refused: str = ""
    unsent: str = ""
    wants_stop: bool = False
    wants_look: bool = False
    stopped_at: float = -float("inf")
    looked_at: float = -float("inf")
    due_at: float = -float("inf")

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it at the cluster, as far as is known."""
        has_ended = self.job is not None and self.job.is_over
        return has_ended or self.is_forgotten or bool(self.refused or self.unsent)


@dataclass(slots=True)
class _Ending:
    """A job whose record is to go once it is over there."""

    due_at: float
    looks: int = 0


class RayDesk:
    """Does errands at a cluster. ``clock`` gives monotonic seconds."""

    def __init__(
        self,
        client: RayClient,
        package: tuple[str, bytes],
        *,
        limits: DeskLimits = DESK_LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._package, self._limits, self._clock = client, package, limits, clock
        self._errands: dict[str, Errand] = {}
        self._to_remove: dict[str, _Ending] = {}
        self._cluster: Cluster | None = None
        self._cluster_at = self._wanted_at = -float("inf")
        self._answered_at: float | None = None
        self._failures = 0
        self._problem = ""
        self._said, self._said_at = "", -float("inf")
        self._parts = [self._look_at_cluster, self._do_errands, self._remove_ended]
        self._paused_until = -float("inf")
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    @property
    def problem(self) -> str:
        """Why the cluster could not be asked the last time; empty when it answered."""
        return self._problem

    def silent_s(self) -> float:
        """Seconds since its last good answer; 0 while it answers."""
        if not self._problem or self._answered_at is None:
            return 0.0
        return self._clock() - self._answered_at

    def take(self, errand: Errand) -> None:
        """Look after a job from now on."""
        with self._guard:
            self._errands[errand.submission.id] = errand
        self._begin()

    def cluster(self, *, at_most_s: float) -> tuple[Cluster, float] | None:
        """What the cluster had, and the monotonic time of that answer; None while there is none so young."""
        self._wanted_at = self._clock()
        self._begin()
        if self._cluster is None or self._clock() - self._cluster_at > at_most_s:
            return None
        return self._cluster, self._cluster_at

    def remove(self, job_id: str) -> None:
        """Look after it no more, and remove its record at the cluster when there is time for it."""
        with self._guard:
            errand = self._errands.pop(job_id, None)
            looks = LOOKS_BEFORE_STOP - 1 if errand is not None and errand.wants_stop else 0
            self._to_remove[job_id] = _Ending(due_at=self._clock() + self._limits.start_s, looks=looks)
        self._wake.set()

    def close(self) -> None:
        """End the thread; nothing at the cluster is touched."""
        self._is_closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._client.close()

    def _begin(self) -> None:
        if self._thread is None:
            self._answered_at = self._clock()  # counts from the first question
            self._thread = threading.Thread(target=self._work, name="ray", daemon=True)
            self._thread.start()
        self._wake.set()

    def _work(self) -> None:
        while not self._is_closed:
            self._wake.wait(timeout=0.2)
            self._wake.clear()
            self.tick()

    def tick(self) -> None:
        """Do what is due. Without the thread, tests step it by hand."""
        if self._clock() < self._paused_until:
            return
        for part in list(self._parts):
            try:
                part()
                continue
            except DashboardError as error:
                self._failed(str(error))
            except Exception as error:  # the thread must go on
                _log.warning("the cluster: %s", error, exc_info=error)
                self._failed("The cluster could not be asked.")
            # The others have their turn before it: one question that fails holds up nothing else.
            self._parts.remove(part)
            self._parts.append(part)
            return

    def _do_errands(self) -> None:
        with self._guard:
            errands = list(self._errands.values())
        for errand in sorted(errands, key=lambda each: each.due_at):
            if self._is_closed:
                return
            if self._clock() >= errand.due_at or (errand.wants_stop and self._is_stop_due(errand)):
                self._do(errand, len(errands))

    def _remove_ended(self) -> None:
        """Remove records, but none of a job that has not quite ended: that would end it as failed."""
        for job_id, ending in list(self._to_remove.items()):
            if self._clock() < ending.due_at:
                continue
            ending.due_at = self._clock() + self._limits.stop_again_s  # if this one fails, the others have their turn
            job = self._client.job(job_id)
            if job is None or job.is_over:
                if job is not None:
                    self._client.forget(job_id)
                del self._to_remove[job_id]
                continue
            ending.looks += 1
            if ending.looks % LOOKS_BEFORE_STOP == 0:
                self._client.stop(job_id)  # what is over here must not go on there
            ending.due_at = self._clock() + self._limits.start_s

    def _failed(self, problem: str) -> None:
        if problem != self._said or self._clock() - self._said_at >= self._limits.say_again_s:
            self._said, self._said_at = problem, self._clock()
            _log.warning("%s", problem)
        pauses = self._limits.pauses_s
        self._paused_until = self._clock() + pauses[min(self._failures, len(pauses) - 1)]
        self._failures += 1
        self._problem = problem

    def _answered(self) -> None:
        self._answered_at, self._failures, self._problem = self._clock(), 0, ""

    def _look_at_cluster(self) -> None:
        is_wanted = self._clock() - self._wanted_at < self._limits.wanted_s
        if is_wanted and self._clock() - self._cluster_at >= self._limits.cluster_s:
            self._cluster, self._cluster_at = self._client.cluster(), self._clock()
            self._answered()

    def _is_stop_due(self, errand: Errand) -> bool:
        return not errand.is_over and self._clock() - errand.stopped_at >= self._limits.stop_again_s

    def _do(self, errand: Errand, count: int) -> None:
        if errand.is_over:
            errand.due_at = float("inf")
            return
        began, job_id = self._clock(), errand.submission.id
        errand.due_at = began  # if this one fails, the others have their turn before it
        if errand.wants_look and began - errand.looked_at >= self._limits.look_again_s:
            errand.wants_look, errand.looked_at = False, began
            self._client.look_again(job_id)
        job = self._client.job(job_id)
        if job is None and errand.was_accepted:
            errand.is_forgotten = True
        elif job is None and errand.wants_stop:
            errand.is_absent = True
        elif job is None and self._submit(errand):
            job = RayJob(id=job_id, status="PENDING")
        if job is not None:
            self._note(errand, job)
            if errand.wants_stop and self._is_stop_due(errand):
                errand.stopped_at = self._clock()
                self._client.stop(job_id)
        self._answered()
        took_s = self._clock() - began
        wait_s = max(self._limits.run_s, count * took_s / self._limits.share)
        errand.due_at = self._clock() + (wait_s if job and job.status == "RUNNING" else self._limits.start_s)

    def _submit(self, errand: Errand) -> bool:
        """Send it, and return whether that was done."""
        if not self._is_over(errand.former):
            errand.unready = FORMER_RUNS
            return False
        try:
            more = errand.prepare()
        except DashboardError as error:
            if str(error) != errand.said:
                _log.warning("%s: %s", errand.submission.id, error)
            errand.unready = errand.said = str(error)
            return False
        except (OSError, ValueError) as error:
            errand.unsent = f"What its node needs cannot be sent there: {error}."
            return False
        if more is None:
            errand.unready = NOT_READY
            return False
        errand.unready = ""
        try:
            self._client.send_package(*self._package)
            environ = {**errand.submission.environ, **more}
            self._client.submit(replace(errand.submission, package=self._package[0], environ=environ))
        except InvalidRequest as error:
            errand.refused = str(error)
        return not errand.refused

    def _is_over(self, job_id: str) -> bool:
        """Whether a job is over, or unknown; otherwise it is asked to end."""
        job = self._client.job(job_id) if job_id else None
        if job is None or job.is_over:
            return True
        self._client.stop(job_id)
        return False

    def _note(self, errand: Errand, job: RayJob) -> None:
        if not errand.was_accepted:
            errand.was_accepted = True
            errand.on_accepted()
        if job.status == "RUNNING" and errand.running_since is None:
            errand.running_since = self._clock()
        errand.job = job
