"""Follows one running attempt: its log, progress, losses, files and end."""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lib.embedded.files.attempt_folder import AttemptFolder, Exit, folder_size
from lib.embedded.files.availability import FolderUnavailable, read_file
from lib.embedded.files.tensorboard import EventFiles
from lib.embedded.store.runs import AttemptEnd, Claim, RunStore
from lib.embedded.trainers.recipe import FoundFile, Recipe
from lib.embedded.watching.runs import collect_watched
from lib.embedded.worker.artifact_upload import ArtifactUpload, UploadTarget
from lib.embedded.worker.attempt_end import checked_files, judge_end, judge_gone
from lib.embedded.worker.executor import Run
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.log_reader import LOG_SKIPPED, LogReader
from lib.errors import DashboardError
from lib.jobs.failures.causes import Cause
from lib.jobs.failures.judge import Verdict
from lib.jobs.job import JobStatus, LossPoint, Progress, Stage
from lib.jobs.logs.eta import StepPace, expected_pauses
from lib.jobs.logs.progress import ProgressParser
from lib.jobs.logs.resume import STATE_FILE, resumed_step, went_on
from lib.jobs.resume import Start, by_itself_text
from lib.ray_settings import LOCAL

# Between two looks for files, in multiples of what one look takes.
REST = 20.0


class AttemptFollower:
    """An attempt between claim and end. ``follow`` is called repeatedly and never blocks for long.

    Args:
        recipe: None when the trainer is no longer known; its files are then not collected.
        upload_to: None keeps the files on this machine only.
        goes_on: What the next attempt goes on from by itself after such an end; None when nothing does.
    """

    def __init__(
        self,
        claim: Claim,
        folder: AttemptFolder,
        run: Run,
        recipe: Recipe | None,
        store: RunStore,
        *,
        limits: WorkerLimits,
        upload_to: UploadTarget | None = None,
        goes_on: Callable[[Claim, AttemptFolder, Verdict, Progress], Start | None] = lambda *_: None,
    ) -> None:
        self.claim = claim
        self._folder = folder
        self._run = run
        self._recipe = recipe
        self._store = store
        self._limits = limits
        self._upload_to = upload_to
        self._goes_on = goes_on
        # A worker that takes over reads the log from the start, but skips known losses and keeps the former worker's
        # pace: it cannot know when those lines were written.
        self._log = LogReader(folder, limits)
        self._known_losses = folder.trim_losses()
        known_s = _measured_s(store.progress_of(claim)) if self._log.is_late else None
        epochs = None if claim.place else claim.settings.epochs  # others choose their own
        # A trainer that is told only the rest is read as if it began, and put behind what was before.
        self._before = claim.start if recipe and claim.start and "epoch" in recipe.counts_anew else None
        first_step = claim.start.step if claim.start and not self._before else 0
        epochs = None if self._before else epochs
        expected = {} if claim.place else expected_pauses(claim.settings, store.former_progress(claim))
        pace = StepPace(known_s=known_s, expected=expected)
        self._parser = ProgressParser(total_epochs=epochs, pace=pace, first_step=first_step)
        self._read_at = 0.0
        self._nan_count = 0
        self._unwritten: list[LossPoint] = []
        self._resume_state: str | None = None
        self._seen: dict[str, FoundFile] = {}
        self._recorded: list[FoundFile] | None = None
        self._write_again_at = -float("inf")
        self._written_stage: str | None = None
        self._judged: tuple[list[FoundFile], Verdict] | None = None
        self._upload: ArtifactUpload | None = None
        self._look_again_at = -float("inf")
        self._missing_since: float | None = None
        # Its last sign of life, and when that was seen by a clock that nobody sets.
        self._sign_seen: tuple[float | None, float] = (None, time.monotonic())

    def follow(self) -> bool:
        """Process what is new; True once the end is recorded. Raises StoreError when the caller should try again."""
        try:
            exit_ = self._exit()
            caught_up = self._read_log()
        except FolderUnavailable:
            if not self._is_gone():
                raise
            return self._finish_without_folder()
        self._missing_since = None
        if exit_ is not None and caught_up:
            return self._finish(exit_)
        if not self._log.is_late and self._is_write_due():  # until then the recorded progress is ahead
            self._write_progress(self._told_progress())
        self._look_for_files()
        return False

    @property
    def progress(self) -> Progress:
        """Its progress according to its log."""
        return went_on(self._parser.progress, self._before) if self._before else self._parser.progress

    def _told_progress(self) -> Progress:
        """Its progress; as long as its log says nothing, what the place that runs it says."""
        progress = self.progress
        if self._run.stage and progress.stage == Stage.QUEUED:
            return replace(progress, stage=self._run.stage)
        return progress

    def _last_output_at(self) -> float | None:
        """Unix seconds of its last sign of life, by this machine's clock: a node's may be wrong."""
        at = self._folder.last_output_at()
        return at if at is None or self.claim.executor == LOCAL else min(max(at, self._read_at), time.time())

    @property
    def _alarms(self) -> tuple[str, ...]:
        return (*self._parser.alarms, *([LOG_SKIPPED] if self._log.has_skipped else []))

    def is_alive(self) -> bool:
        """Whether one of its processes is alive."""
        return self._run.is_alive()

    def _exit(self) -> Exit | None:
        """How it ended; None while one of its processes is alive."""
        return self._run.exit()

    def _is_gone(self) -> bool:
        """Whether the folder was deleted: it is missing, the data folder is not, and no process works on it."""
        self._store.require_available()
        if self._folder.is_made() or self._run.has_processes():
            self._missing_since = None
            return False
        self._missing_since = self._missing_since or time.monotonic()
        return time.monotonic() - self._missing_since >= self._limits.gone_after_s

    def _finish_without_folder(self) -> bool:
        verdict = replace(judge_gone(self._folder), alarms=self._alarms)
        progress = replace(self.progress, eta_s=None)
        self._store.finish(self.claim, AttemptEnd(verdict=verdict, progress=progress, finished_at=time.time()))
        self._run.release()
        return True

    def _read_log(self) -> bool:
        """Feed new output to the parser and return whether the end of the log was reached."""
        for data, is_late in self._log.pieces():
            if self._log.has_skipped:
                self._known_losses = 0  # those in the skipped part never come
            self._read_at = self._read_at if is_late else time.time()
            self._parser.feed(data, None if is_late else time.monotonic())
            self._note_resumed()
            losses = self._drain_losses()
            self._stop_on_nan(losses)
            self._keep_losses(losses)
        return self._log.is_at_end

    def _drain_losses(self, *, is_over: bool = False) -> list[LossPoint]:
        """New losses with the steps of the whole training, and their times by the clock."""
        offset, clock = self._before.step if self._before else 0, time.time() - time.monotonic()
        return [
            replace(point, step=offset + point.step, at=None if point.at is None else clock + point.at)
            for point in self._parser.drain_losses(is_over=is_over)
        ]

    def _note_resumed(self) -> None:
        """Tell the parser at which step a resumed run continued, which the log does not say."""
        if self._parser.resume_state == self._resume_state or self._parser.resume_state is None:
            return
        self._resume_state = self._parser.resume_state
        with contextlib.suppress(OSError, FolderUnavailable):  # any line of a log may name any path
            state = (read_file(Path(self._resume_state) / STATE_FILE) or b"").decode("utf-8", "replace")
            if step := resumed_step([state], self._parser.progress):
                self._parser.resume_from(step)

    def _stop_on_nan(self, losses: Sequence[LossPoint]) -> None:
        """Ask for the end once so many losses in a row are NaN or infinite as the settings say."""
        limit = 0 if self.claim.place else self.claim.settings.stop_on_nan
        for point in losses:
            self._nan_count = 0 if math.isfinite(point.loss) else self._nan_count + 1
            if limit and self._nan_count == limit and not self._folder.stop_requested()[0]:
                self._nan_count = 0
                if self._is_last_loss_nan():
                    self._folder.request_stop(Cause.NAN_LOSS, point.step)

    def _is_last_loss_nan(self) -> bool:
        """What event files say: a printed average never loses a NaN that passed. Without them the log is believed."""
        with contextlib.suppress(DashboardError):
            points = EventFiles(self._folder.event_logs).losses()
            return not points or not math.isfinite(points[-1].loss)
        return True

    def _keep_losses(self, losses: Sequence[LossPoint]) -> None:
        """Write new losses to disk, or keep them for the next time when it is full."""
        known = min(self._known_losses, len(losses))
        self._known_losses -= known
        self._unwritten += losses[known:]
        try:
            self._folder.append_losses(self._unwritten)
        except OSError:
            return
        self._unwritten.clear()

    def _is_write_due(self) -> bool:
        """Whether to record progress: once a second, a new stage at once."""
        return time.monotonic() >= self._write_again_at or self._parser.stage != self._written_stage

    def _next_turn(self, least_s: float = 0.0) -> float:
        """When to do again what is done every second; at another instant of it than most other attempts do.

        Were it simply a second later, one slow round would bring all attempts into step for good.
        """
        every_s = self._limits.write_every_s
        at = time.monotonic() + max(least_s, every_s / 2)
        return at + (hash(self.claim.mark) % 100 / 100 * every_s - at) % every_s if every_s else at

    def _write_progress(self, progress: Progress) -> None:
        last_output_at = self._last_output_at()
        if last_output_at != self._sign_seen[0]:
            self._sign_seen = (last_output_at, time.monotonic())
        cancelled = self._store.record_progress(
            self.claim,
            progress,
            (*self._alarms, *self._run.alarms),  # of the place only while it runs there
            last_output_at,
            self._run.node,
            seen_quiet_s=time.monotonic() - self._sign_seen[1],
        )
        self._written_stage = self._parser.stage
        self._write_again_at = self._next_turn()
        if cancelled and not self._folder.cancel_requested():
            self._folder.request_cancel()  # the dashboard was killed before it wrote the request

    def _look_for_files(self) -> None:
        """Record the files that have not changed since the last look; others are still being written."""
        if time.monotonic() < self._look_again_at:
            return
        began = time.monotonic()
        found = {file.path: file for file in self._collect()}
        settled = [file for path, file in found.items() if self._seen.get(path) == file]
        self._seen = found
        if self._look_again_at > -math.inf:  # the first look settles nothing, and another worker recorded some
            self._record_files(settled)
        # Thousands of files take long to look at: the next look is so far away that little time goes into it.
        self._look_again_at = self._next_turn(REST * (time.monotonic() - began))

    def _collect(self) -> Sequence[FoundFile]:
        if self.claim.place:
            # The trainer makes its output folder itself, and where none is known nothing is looked for.
            is_there = self.claim.place.output and self._folder.output.is_dir()
            found: Sequence[FoundFile] = collect_watched(self.claim.place) if is_there else [*self._seen.values()]
        else:
            found = self._recipe.collect(self._folder.output) if self._recipe else ()
            if self._recipe and self.claim.start:
                found = went_on_files(found, self.claim.start, self._recipe.counts_anew)
        self._folder.require_available()  # files that cannot be seen are not missing
        return found

    def _record_files(self, files: list[FoundFile], keys: Mapping[str, str] | None = None) -> None:
        if keys or files != self._recorded:
            self._store.record_artifacts(self.claim, files, keys or {}, known=self._recorded)
            self._recorded = files

    def _finish(self, exit_: Exit) -> bool:
        """Judge the end, upload the files if configured, record it, and return whether that is done."""
        self._keep_losses(self._drain_losses(is_over=True))
        files, verdict = self._judged = self._judged or self._judge(exit_)
        progress = replace(self.progress, eta_s=None)
        keys: Mapping[str, str] = {}
        alarms = verdict.alarms
        if verdict.status is JobStatus.SUCCEEDED:
            progress = replace(progress, fraction=1.0, stage=Stage.FINISHED.value)
            if self._upload_to is not None:
                self._upload = self._upload or ArtifactUpload(
                    self._upload_to, self.claim.mark, self._folder.output, files, self._limits.upload_pauses_s
                )
                if not self._upload.is_done:
                    if self._is_write_due():
                        self._write_progress(replace(progress, stage=Stage.UPLOADING.value))
                    return False
                keys, alarms = self._upload.keys, (*alarms, *self._upload.alarms)
        self._record_files(files, keys)
        goes_on = self._goes_on(self.claim, self._folder, verdict, progress)
        if goes_on and verdict.failure:
            verdict = replace(verdict, failure=replace(verdict.failure, hint=by_itself_text(goes_on)))
        self._store.finish(
            self.claim,
            AttemptEnd(
                verdict=replace(verdict, alarms=alarms),
                progress=progress,
                exit_code=exit_.exit_code,
                finished_at=exit_.finished_at,
                last_output_at=self._last_output_at(),
                size_bytes=folder_size(self._folder.path.parent),
                node=self._run.node or None,
                goes_on=goes_on,
            ),
        )
        self._run.release()
        return True

    def _judge(self, exit_: Exit) -> tuple[list[FoundFile], Verdict]:
        """Files and verdict, determined once: an upload takes many rounds, and nothing changes any more."""
        self._run.clear()
        files = checked_files(self._folder.output, self._collect(), self._alarms)
        verdict = judge_end(self._folder, exit_, files, self._alarms)
        self._folder.require_available()  # the verdict would be wrong
        self._store.require_available()
        return files, verdict


def went_on_files(files: Sequence[FoundFile], start: Start, counts_anew: Collection[str]) -> list[FoundFile]:
    """The files with the steps and epochs of the whole training, where their names count from 0 again."""
    steps = start.step if "step" in counts_anew else 0
    epochs = (start.epoch or 0) if "epoch" in counts_anew else 0
    return [
        replace(
            file,
            step=None if file.step is None else file.step + steps,
            epoch=None if file.epoch is None else file.epoch + epochs,
        )
        for file in files
    ]


def _measured_s(progress: Progress) -> float | None:
    """Seconds per step if they were measured, which an ETA shows; otherwise they are what the bar printed."""
    return progress.seconds_per_step if progress.eta_s and progress.seconds_per_step else None
