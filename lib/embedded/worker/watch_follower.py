"""Follows a run that was started elsewhere: it is only looked at, and nothing is written beside it."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from lib.embedded.files.attempt_folder import AttemptFolder, Exit
from lib.embedded.files.availability import FolderUnavailable, is_straight
from lib.embedded.files.tensorboard import EventFiles
from lib.embedded.store.runs import AttemptEnd, Claim, RunStore
from lib.embedded.trainers.recipe import FoundFile
from lib.embedded.watching.life import SAID, Signs, end_of
from lib.embedded.watching.runs import collect_watched, log_in, output_named_in, placed_in
from lib.embedded.watching.writers import is_alive, writers_of
from lib.embedded.worker.attempt_end import JUDGED_LINES, JUDGED_TAIL_BYTES, checked_files
from lib.embedded.worker.attempt_follower import AttemptFollower
from lib.embedded.worker.executor import Run
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.log_reader import LogReader
from lib.errors import DashboardError
from lib.jobs.artifact_names import LORA_KINDS
from lib.jobs.failures.causes import Cause
from lib.jobs.failures.judge import Verdict, judge_by_log
from lib.jobs.job import ArtifactKind, Failure, JobStatus, LossPoint, Progress, RunPlace, Stage
from lib.jobs.logs.normalise import unwrapped
from lib.jobs.logs.terminal import plain_lines

AWAY = "watched_away"
ENDED_BY_FILES = "ended_by_files"
_HINT = "Look where it was started. If it goes on after all, watch it again."


class WatchFollower(AttemptFollower, Run):
    """A watched run until it counts as ended. No executor started it, so it is its own ``Run``."""

    def __init__(self, claim: Claim, folder: AttemptFolder, store: RunStore, *, limits: WorkerLimits) -> None:
        folder.make()
        super().__init__(claim, folder, self, None, store, limits=limits)
        self._former = store.progress_of(claim)
        self._look_due_at = -float("inf")
        self._why_over = ""
        self._writers: frozenset[tuple[int, str]] = frozenset()
        self._steady: frozenset[tuple[int, str]] = frozenset()
        self._sign: tuple[int, float, float] | None = None
        self._changed_at: float | None = None
        self._is_away = False
        self._told: tuple[int, bool] = (-1, False)
        self._events = EventFiles(folder.event_logs, self._place.since) if self._place.events else None
        self._run_count = 0

    @property
    def _place(self) -> RunPlace:
        return self.claim.place or RunPlace()

    @property
    def progress(self) -> Progress:
        """Its progress according to its log; without one, to its files; while neither can be seen, what it was."""
        if self._place.log:
            read = self._parser.progress
            return self._former if read.stage == Stage.QUEUED else read
        files, losses = list(self._seen.values()), self._event_losses()
        if not files and not losses:
            return self._former
        steps = [*(file.step for file in files if file.step is not None), *(point.step for point in losses[-1:])]
        epochs = [file.epoch for file in files if file.epoch is not None]
        return Progress(
            stage=Stage.TRAINING.value,
            step=max(steps, default=None),
            epoch=max(epochs, default=None),
            loss=losses[-1].loss if losses else None,
            learning_rate=losses[-1].learning_rate if losses else None,
        )

    def is_alive(self) -> bool:
        """Whether it counts as running."""
        return not self._why_over

    def has_processes(self) -> bool:
        """Never asked: what counts is the folder."""
        return False

    def clear(self) -> None:
        """Its processes are not ours."""

    @property
    def _alarms(self) -> tuple[str, ...]:
        return (*super()._alarms, *([AWAY] if self._is_away else []))

    def follow(self) -> bool:
        """Process what is new; True once the end is recorded."""
        if self._is_folder_deleted():
            return True
        self._is_away = False
        return super().follow()

    def _is_folder_deleted(self) -> bool:
        """Whether the job was deleted, which ends the watching."""
        self._store.require_available()
        return not self._folder.is_made()

    def exit(self) -> Exit | None:
        """How it ended. Looks at most every other second, for it goes through all processes."""
        if self._place.log and not is_straight(Path(self._place.log)):
            raise FolderUnavailable(f"The folder {Path(self._place.log).parent} cannot be reached.")
        if time.monotonic() >= self._look_due_at:
            self._look_due_at = time.monotonic() + self._limits.watch_look_s
            self._find_log()
            self._why_over = end_of(self._signs(), self._limits.life)
        if not self._why_over:
            return None
        return Exit(exit_code=None, finished_at=self._last_output_at() or time.time())

    def _signs(self) -> Signs:
        now = writers_of((self._place.log, self._place.output, self._place.events))
        # One that appends a line and is gone is no trainer: only who is seen twice is waited for.
        self._steady |= now & self._writers
        self._writers = now
        quiet_s = self._quiet_s()
        died = bool(self._steady) and not any(map(is_alive, self._steady))
        return Signs(quiet_s=quiet_s, has_writer=bool(now), writer_died=died, says_end=self._says_end(quiet_s))

    def _quiet_s(self) -> float:
        """Seconds since the last sign; what is seen to change counts, for the clock of a share may be wrong."""
        stat = self._folder.log_stat()
        newest = max((file.modified_at.timestamp() for file in self._seen.values()), default=0.0)
        sign = (stat.st_size if stat else 0, stat.st_mtime if stat else 0.0, newest)
        # The first look for files finds them all: that they are there is no sign.
        if self._sign is not None and (sign[:2] != self._sign[:2] or (self._sign[2] and newest != self._sign[2])):
            self._changed_at = time.monotonic()
        self._sign = sign
        by_clock = time.time() - (self._last_output_at() or self.claim.started_at)
        seen = float("inf") if self._changed_at is None else time.monotonic() - self._changed_at
        return max(0.0, min(by_clock, seen))

    def _says_end(self, quiet_s: float) -> bool:
        """Whether its log says that it ended; asked once for each size of a log that has become quiet."""
        size = self._sign[0] if self._sign else 0
        if not self._place.log or quiet_s < self._limits.life.said_s:
            return False
        if self._told[0] != size:
            self._told = (size, judge_by_log(self._lines(), alarms=super()._alarms).status is not JobStatus.RUNNING)
        return self._told[1]

    def _last_output_at(self) -> float | None:
        times = [file.modified_at.timestamp() for file in self._seen.values()]
        with contextlib.suppress(FolderUnavailable):
            times += [at for at in [self._folder.last_output_at() if self._place.log else None] if at]
        return max(times, default=None)

    def _read_log(self) -> bool:
        if not self._place.log:
            return True
        is_at_end = super()._read_log()
        if not self._place.output:
            self._find_output()
        return is_at_end

    def _keep_losses(self, losses: Sequence[LossPoint]) -> None:
        """Of several runs in one log only the newest is drawn."""
        if self._parser.run_count != self._run_count:
            self._run_count = self._parser.run_count
            self._known_losses = 0
            self._unwritten.clear()
            self._folder.clear_losses()
            losses = _of_newest_run(losses, self._parser.progress.step or 0)
        super()._keep_losses(losses)

    def _find_log(self) -> None:
        """A folder may be watched before its run has begun."""
        if self._place.log or self._place.stem or (log := log_in(Path(self._place.output))) is None:
            return
        self._move(replace(self._place, log=str(log)))
        self._log = LogReader(self._folder, self._limits)

    def _find_output(self) -> None:
        """Look where the log says that a file was saved, once it does."""
        if self.progress.stage not in (Stage.SAVING.value, Stage.FINISHED.value, Stage.SAMPLING.value):
            return
        found = output_named_in(self._folder.log_end(64 << 10))
        if found is None or not (place := placed_in(self._place, found)).output:
            return
        self._move(place)

    def _move(self, place: RunPlace) -> None:
        self._store.move_place(self.claim, place)
        self.claim = replace(self.claim, place=place)
        self._folder = AttemptFolder(self._folder.path, place)
        self._events = EventFiles(self._folder.event_logs, place.since)

    def _collect(self) -> Sequence[FoundFile]:
        return collect_watched(self._place) if self._place.output else ()

    def _event_losses(self) -> Sequence[LossPoint]:
        with contextlib.suppress(DashboardError):
            return self._events.losses() if self._events else ()
        return ()

    def _lines(self) -> list[str]:
        return plain_lines(unwrapped(self._folder.log_end(JUDGED_TAIL_BYTES)))[-JUDGED_LINES:]

    def _is_gone(self) -> bool:
        """Whether its folder has been away for so long that nothing more can be expected; until then that is said."""
        self._store.require_available()
        self._is_away = True
        self._missing_since = self._missing_since or time.monotonic()
        if self._is_write_due():
            self._write_progress(replace(self.progress, eta_s=None))
        return time.monotonic() - self._missing_since >= self._limits.life.quiet_s

    def _finish_without_folder(self) -> bool:
        message = f"{self._place.main} cannot be reached any more, so it is unknown how the run ended."
        self._record_end(_lost(message, ()), time.time())
        return True

    def _record_end(self, verdict: Verdict, at: float) -> None:
        end = AttemptEnd(
            verdict=replace(verdict, alarms=verdict.alarms or super()._alarms),
            progress=replace(self.progress, eta_s=None),
            finished_at=at,
            last_output_at=None,
        )
        self._store.finish(self.claim, end)

    def _judge(self, exit_: Exit) -> tuple[list[FoundFile], Verdict]:
        """Files and verdict from what can be seen: nobody here knows an exit code."""
        found = self._collect()
        files = checked_files(self._folder.output, found, self._alarms) if found else []
        loras = [file for file in files if file.kind in LORA_KINDS]
        lines = self._lines() if self._place.log else []
        # No file here is not proof of none: the log may be of another machine.
        verdict = judge_by_log(lines, lora_count=len(loras) or None, alarms=self._alarms)
        if verdict.failure and verdict.failure.cause == Cause.INTERRUPTED:
            verdict = replace(verdict, status=JobStatus.CANCELLED)
        if verdict.status is not JobStatus.RUNNING:
            return files, verdict
        if not self._place.log and any(file.kind is ArtifactKind.LORA for file in loras):
            return files, Verdict(status=JobStatus.SUCCEEDED, alarms=(*verdict.alarms, ENDED_BY_FILES))
        said = "its log does not say how" if self._place.log else "there is no log that says how"
        why = self._why_over if self._why_over != SAID else "Nobody writes it any more"
        lost = _lost(f"{why}, and {said} the run ended.", tuple(line for line in lines if line.strip())[-3:])
        return files, replace(lost, alarms=verdict.alarms)


def _of_newest_run(losses: Sequence[LossPoint], step: int) -> Sequence[LossPoint]:
    """Those behind the last place where steps begin anew; what is beyond the newest step is all of another run."""
    starts = [place for place, (before, after) in enumerate(pairwise(losses), 1) if after.step <= before.step]
    newest = losses[starts[-1] :] if starts else losses
    return newest if not newest or newest[-1].step <= step else ()


def _lost(message: str, evidence: tuple[str, ...]) -> Verdict:
    failure = Failure(cause=Cause.UNKNOWN.value, message=message, hint=_HINT, evidence=evidence)
    return Verdict(status=JobStatus.LOST, failure=failure)
