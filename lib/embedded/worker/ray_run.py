"""An attempt on a Ray cluster, as its folder and Ray tell of it."""

import contextlib
import errno
import json
import logging
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib.embedded.files.attempt_folder import AttemptFolder, Exit
from lib.embedded.files.availability import FolderUnavailable, read_file, stat_file
from lib.embedded.files.json_file import json_object
from lib.embedded.ray import runner
from lib.embedded.ray.client import RayJob, Submission
from lib.embedded.ray.desk import FORMER_RUNS, NOT_READY, Errand, RayDesk
from lib.embedded.store.runs import Claim
from lib.embedded.worker.executor import Run
from lib.embedded.worker.ray_submission import RAY_LIMITS, RayLimits, SubmissionRecord, submission_id
from lib.jobs.failures.causes import Cause

if TYPE_CHECKING:
    from lib.embedded.ray.store_transport import StoreTransport

_log = logging.getLogger("worker")
WAITING, STARTING, AWAY = "waiting for the cluster", "starting on the cluster", "cluster_away"
SENDING, STORE_WAITING, STORE_AWAY = "sending the dataset to the store", "waiting for the store", "store_away"
ENDING = "waiting for the end of the former attempt"
_NO_ROOM, _NO_ENVIRONMENT = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT", "RUNTIME_ENV_SETUP_FAILURE"
_MEMORY = "running low on memory"
# What Ray lost before it began may be the node's fault each time; waiting for room is nobody's.
MOST_LOST, MOST_SUBMISSIONS = 3, 1_000_000
# So many former submissions are told to stop, should they run after all.
MOST_KEPT = 9
_LOGGED_CHARACTERS, _HOST_CHARACTERS = 500, 100
_SHELL_CANNOT = (126, 127)  # what a shell ends with that cannot run what it was told to
_KILLED_BELOW_SHELL = 137
_BARRED = {"submission": "", "host": ""}  # in the place of a runner's record


class RayRun(Run):
    """An attempt from its submission to its end. Every look at the cluster is the desk's.

    Args:
        errands: Mark of an attempt -> what the desk does for it; shared by all runs of the executor.
    """

    def __init__(
        self,
        claim: Claim,
        folder: AttemptFolder,
        desk: RayDesk,
        errands: dict[str, Errand],
        *,
        limits: RayLimits = RAY_LIMITS,
        transport: "StoreTransport | None" = None,
    ) -> None:
        self._transport = transport
        self._claim, self._folder, self._desk, self._limits = claim, folder, desk, limits
        self._errands = errands
        self._beat: float | None = None
        self._beat_at = time.monotonic()
        self._over_at: float | None = None
        self._missing_at: float | None = None
        self._alive_at = claim.started_at
        self._node = ""
        record = SubmissionRecord.read(folder, claim)
        self._follow_store(record)
        if claim.mark not in errands:
            self._send(record)

    @property
    def _errand(self) -> Errand:
        return self._errands[self._claim.mark]

    def _send(self, record: SubmissionRecord) -> None:
        """Let the desk submit what was written down, or adopt what Ray has of it."""
        wait_s = record.stop_grace_s + self._limits.stop_margin_s
        words = ("python3", "runner.py", str(self._folder.path), record.id, self._claim.mark)
        errand = Errand(
            submission=Submission(
                id=record.id,
                entrypoint=f"exec {shlex.join(words)}",
                needs=record.needs,
                environ={"RAY_JOB_STOP_WAIT_TIME_S": f"{wait_s:.0f}"},
            ),
            was_accepted=record.was_accepted,
            former=self._former(),
            prepare=lambda: self._prepared(record),
            on_accepted=lambda: replace(record, was_accepted=True).write(self._folder),
        )
        self._errands[self._claim.mark] = errand
        self._desk.take(errand)

    def _former(self) -> str:
        """The id of the attempt before, which may run after all where it counts as lost; empty where none can."""
        claim = replace(self._claim, attempt=self._claim.attempt - 1)
        if not claim.attempt:
            return ""
        folder = AttemptFolder(self._folder.path.parent / str(claim.attempt))
        if not folder.is_made():
            return submission_id(claim)
        is_barred = self._transport is None and _is_barred(folder)
        return "" if is_barred else SubmissionRecord.read(folder, claim).id

    def _prefix(self, number: int) -> str:
        again = f"-{number}" if number > 1 else ""
        return f"cluster/{self._claim.job_id}/a{self._claim.attempt}{again}/"

    def _follow_store(self, record: SubmissionRecord) -> None:
        if self._transport is not None:
            prefixes = [self._prefix(number) for number in range(max(1, record.number - MOST_KEPT), record.number + 1)]
            self._transport.follow(self._claim.mark, self._folder, prefixes)

    def _prepared(self, record: SubmissionRecord) -> Mapping[str, str] | None:
        """Bring up what the node needs, where it does not see the folder; variables that say where, once it is."""
        if self._transport is None:
            return {}
        inputs = {name: Path(path) for name, path in record.inputs.items()}
        link = self._transport.published(self._folder, record.id, self._prefix(record.number), inputs)
        return None if link is None else {runner.TICKET: link}

    @property
    def node(self) -> str:
        """The host that runs it; empty until it has said so."""
        if not self._node and (data := read_file(self._folder.path / runner.TAKEN)):
            self._node = str((json_object(data) or {}).get("host", ""))[:_HOST_CHARACTERS]
        return self._node

    @property
    def stage(self) -> str:
        """What it waits for before its log says anything."""
        if self._errand.was_accepted:
            return STARTING
        if self._errand.unready:
            return {NOT_READY: SENDING, FORMER_RUNS: ENDING}.get(self._errand.unready, STORE_WAITING)
        return WAITING if self._desk.problem else STARTING

    @property
    def alarms(self) -> tuple[str, ...]:
        """That the cluster, or the store between here and there, is out of touch."""
        away_s, mark = self._limits.away_s, self._claim.mark
        is_away, is_deaf = self._desk.silent_s() > away_s, False
        if self._transport is not None and self._transport.problem(mark):
            is_deaf = time.monotonic() - self._transport.seen_at(mark) > away_s
        return (*([AWAY] if is_away else []), *([STORE_AWAY] if is_deaf else []))

    def is_alive(self) -> bool:
        """Whether it may run: nothing says that it ended."""
        return self._folder.read_exit() is None and not self._errand.is_over

    def has_processes(self) -> bool:
        """The same, where its folder is missing: it is stopped when that lasts."""
        self._missing_at = self._missing_at or time.monotonic()
        if time.monotonic() - self._missing_at >= self._limits.missing_s:
            self._errand.wants_stop = True
        return self._errand.job is not None and not self._errand.is_over

    def clear(self) -> None:
        """The runner ended what the trainer left."""

    def release(self) -> None:
        """Its end is recorded: Ray may forget it."""
        if (errand := self._errands.pop(self._claim.mark, None)) is not None:
            self._desk.remove(errand.submission.id)
        if self._transport is not None:
            self._transport.release(self._claim.mark)
        with contextlib.suppress(OSError, FolderUnavailable):
            if self._folder.is_made() and self._folder.read_exit() is None:
                self._folder.request_cancel()  # should it run after all, somewhere out of reach

    def exit(self) -> Exit | None:
        """How it ended; None while it may still run, or nothing is known."""
        if (exit_ := self._folder.read_exit()) is not None:
            # The node's clock may be wrong: it ended between the last look and now.
            at = min(max(exit_.finished_at, self._alive_at), time.time())
            return self._explained(replace(exit_, finished_at=at))
        self._missing_at = None
        errand, is_stopping = self._errand, self._is_stop_wanted()
        errand.wants_stop = errand.wants_stop or is_stopping
        quiet_s, exit_ = self._quiet_s(), None
        if errand.refused:
            exit_ = self._ended(Cause.BAD_ARGUMENT, errand.refused)
        elif errand.unsent:
            is_full = os.strerror(errno.ENOSPC) in errand.unsent
            exit_ = self._ended(Cause.DISK_FULL if is_full else Cause.MISSING_FILE, errand.unsent)
        elif is_stopping and self._may_end_early():
            exit_ = self._ended_early()
        elif errand.is_forgotten or errand.is_absent:
            exit_ = self._forgotten(quiet_s)
        elif errand.job is not None and errand.job.is_over:
            if self._is_settled():
                exit_ = self._judged(errand.job, quiet_s)
        elif self._desk.silent_s() > self._limits.gone_s and quiet_s > self._limits.gone_s and self._was_begun():
            exit_ = self._ended(
                Cause.CLUSTER_LOST, f"The cluster has not answered for {_minutes(self._limits.gone_s)}."
            )
        elif quiet_s > self._limits.look_s:
            errand.wants_look = True
        if exit_ is None:
            self._alive_at = time.time()
        return exit_

    def _explained(self, exit_: Exit) -> Exit | None:
        """A stop that nobody asked for here is Ray's, or its node was shut down: Ray tells; None until it does."""
        if not exit_.cancelled or self._is_stop_wanted():
            return exit_
        job = self._errand.job
        if self._errand.is_forgotten:
            return self._ended(Cause.CLUSTER_LOST, "Its node was shut down, and Ray no longer knows the job.")
        if job is None or not job.is_over:
            self._errand.wants_look = True
            if self._desk.silent_s() <= self._limits.gone_s:
                return None
            away = f"the cluster has not answered for {_minutes(self._limits.gone_s)}"
            return self._ended(Cause.CLUSTER_LOST, f"Its node was shut down, and {away}.")
        if job.status == "STOPPED":
            return exit_
        reason = _reason_of(job, was_begun=True)
        return self._ended(*reason) if reason else replace(exit_, cancelled=False)

    def _is_settled(self) -> bool:
        """Whether nothing more comes of what is over: all that a node told before Ray's last word is here."""
        self._over_at = self._over_at or time.monotonic()
        is_late = time.monotonic() - self._over_at >= self._limits.settle_s
        if self._transport is None or (is_late and self._is_stop_wanted()):
            return is_late
        return self._transport.seen_at(self._claim.mark) >= self._over_at

    def _is_stop_wanted(self) -> bool:
        return self._folder.cancel_requested() or bool(self._folder.stop_requested()[0])

    def _quiet_s(self) -> float:
        """Seconds since the runner's last sign; what is seen to change counts, for its clock may be wrong."""
        stat = stat_file(self._folder.path / "beat")
        now = time.monotonic()
        is_deaf = self._transport is not None and now - self._transport.heard_at(self._claim.mark) > self._limits.deaf_s
        if is_deaf or (stat is not None and stat.st_mtime != self._beat):
            self._beat, self._beat_at = stat.st_mtime if stat else None, now
        return now - self._beat_at

    def _ended(self, cause: Cause, message: str) -> Exit:
        at = min(self._alive_at, time.time())
        return Exit(exit_code=None, finished_at=at, cause=cause.value, message=message)

    def _stopped(self) -> Exit:
        """It was stopped, and nothing else is known; whoever asked for nothing here asked Ray."""
        cancelled = self._folder.cancel_requested()
        stopped_for = "" if cancelled else self._folder.stop_requested()[0]
        return Exit(exit_code=None, finished_at=time.time(), cancelled=not stopped_for, stopped_for=stopped_for)

    def _may_end_early(self) -> bool:
        """Whether a stop needs no word of Ray's: it was not sent, or a runner that comes finds that it is over."""
        job, silent_s = self._errand.job, self._desk.silent_s()
        if self._was_begun():
            return False
        if self._transport is not None:  # whose ticket goes with the end
            return self._errand.is_absent or silent_s > self._limits.gone_s
        is_waiting = job is not None and job.status == "PENDING"  # Ray would end it only once there is room
        return self._errand.is_absent or is_waiting or silent_s > self._limits.away_s

    def _ended_early(self) -> Exit | None:
        """The end of what Ray never had; None when a runner took it all the same."""
        return self._stopped() if self._bar() else None

    def _was_begun(self) -> bool:
        return read_file(self._folder.path / runner.TAKEN) is not None

    def _bar(self) -> bool:
        """Whether no runner took the attempt, and none will: what Ray noted late must not begin."""
        try:
            taken = os.open(self._folder.path / runner.TAKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(taken, "w") as file:
            json.dump(_BARRED, file)
        return True

    def _forgotten(self, quiet_s: float) -> Exit | None:
        """Ray knows it no more, such as after a restart of its head: what the folder shows decides."""
        was_begun = self._was_begun()
        # What never began is sent again at once: should it begin after all, only one of them takes the attempt.
        at_once = not was_begun and self._transport is None
        if quiet_s < (self._limits.settle_s if at_once else self._limits.lost_s) or not self._is_settled():
            return None
        if self._is_stop_wanted():
            return self._stopped() if was_begun else self._ended_early()
        if not was_begun and self._send_again(MOST_LOST):
            return None
        return self._ended(
            Cause.CLUSTER_LOST,
            f"Ray no longer knows the job, and it has shown no sign of life for {_minutes(self._limits.lost_s)}.",
        )

    def _judged(self, job: RayJob, quiet_s: float) -> Exit | None:
        """What Ray says where its runner recorded nothing; None to go on."""
        if job.error == _NO_ROOM:
            if self._is_stop_wanted():
                return self._stopped()
            self._send_again(MOST_SUBMISSIONS)
            return None
        if job.status == "STOPPED":
            return self._stopped()
        if job.exit_code == runner.ALREADY_RUN:
            return self._forgotten(quiet_s)
        was_begun = self._was_begun()
        reason = _reason_of(job, was_begun)
        # Also an environment that could not be made: the package in it vanishes with the last job that used it.
        may_pass = job.error == _NO_ENVIRONMENT or (reason is not None and reason[0] is Cause.NODE_LOST)
        if may_pass and not was_begun and self._send_again(MOST_LOST):
            return None
        _log.warning("%s: Ray says %s %s: %s", job.id, job.status, job.error, job.message[:_LOGGED_CHARACTERS])
        if reason is not None:
            return self._ended(*reason)
        code = -9 if job.exit_code == _KILLED_BELOW_SHELL else job.exit_code
        return Exit(exit_code=0 if job.status == "SUCCEEDED" else code, finished_at=time.time())

    def _send_again(self, most: int) -> bool:
        """Nothing of it began: it is sent under another id, unless that was done ``most`` times."""
        former = SubmissionRecord.read(self._folder, self._claim)
        number = former.number + 1
        if number > most:
            return False
        record = replace(former, id=submission_id(self._claim, number), number=number, was_accepted=False)
        record.write(self._folder)
        self._desk.remove(former.id)
        self._over_at = None
        self._follow_store(record)
        self._send(record)
        return True


def _is_barred(folder: AttemptFolder) -> bool:
    data = read_file(folder.path / runner.TAKEN)
    return data is not None and json_object(data) == _BARRED


def _reason_of(job: RayJob, was_begun: bool) -> tuple[Cause, str] | None:
    """Why it failed where that is the cluster's doing; None where the trainer or its runner ended."""
    said = job.first_line
    setup = Cause.DISK_FULL if os.strerror(errno.ENOSPC) in job.last_line else Cause.NODE_SETUP
    match job.error, job.exit_code:
        case _, runner.NOT_FETCHED:
            return setup, f"The node could not get what the training needs: {job.last_line}."
        case _, runner.NOT_SENT:
            return Cause.NETWORK, f"The training ended, but its node could not send everything: {job.last_line}."
        case _, runner.FOLDER_MISSING | runner.NOT_WRITABLE:
            return setup, f"The node cannot use the data folder: {job.last_line}."
        case _, code if code in _SHELL_CANNOT:
            return Cause.NODE_SETUP, "The node has no python3 to run the trainer with."
        case _, code if code is not None and 0 < code < _KILLED_BELOW_SHELL and not was_begun:
            return Cause.NODE_SETUP, f"The runner could not begin on the node: {job.last_line}."
        case error, _ if error == _NO_ENVIRONMENT:
            return Cause.NODE_SETUP, f"The node could not be prepared: {said}."
        case _, None if _MEMORY in job.message:
            return Cause.NODE_MEMORY, "Ray ended the training, because its node was running low on memory."
        case "JOB_SUPERVISOR_ACTOR_DIED", _ if "node has died" in job.message:
            return Cause.NODE_LOST, "The node that ran the training died."
        case "JOB_SUPERVISOR_ACTOR_DIED" | "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE", _:
            return Cause.NODE_LOST, "Ray's process that watched the training died on its node."
        case "JOB_SUPERVISOR_ACTOR_START_FAILURE", _ if "failed to get job supervisor" in job.message:
            return Cause.NODE_LOST, "The training was gone when the head of the cluster came back."
        case _, None if job.status == "FAILED":
            return Cause.NODE_SETUP, f"Ray could not run the training: {said or job.error or 'it gave no reason'}."
    return None


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
