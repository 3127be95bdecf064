"""Progress of a training, read from the raw bytes of its log as they arrive."""

import math
import re
from statistics import median

from lib.jobs.job import LossPoint, Progress, Stage
from lib.jobs.logs.eta import StepPace
from lib.jobs.logs.tqdm_bar import DESCRIBED_BARS, SAMPLING_BARS, BarFrame, BarKind, parse_frame, without_escapes

_SEGMENT_BYTES = 1 << 16
_MESSAGE_BYTES = 2_000
USUAL_STEPS = 20
_PAUSES = {Stage.SAVING, Stage.SAMPLING}
# Words of the trainers' own log lines -> the stage that begins with them.
_STAGE_WORDS = (
    (b"saving checkpoint: ", Stage.SAVING),
    (b"saving last state", Stage.SAVING),
    (b"saving state at", Stage.SAVING),
    (b"Saving current state to", Stage.SAVING),
    (b"Model weights saved in", Stage.SAVING),
    (b"Saving at step", Stage.SAVING),
    (b"generating sample images at", Stage.SAMPLING),
    (b"sample_sampler: ", Stage.SAMPLING),
    (b"Running validation", Stage.SAMPLING),
    (b"Generating Images", Stage.SAMPLING),
    (b"ploading to ", Stage.UPLOADING),
)
_EPOCH_LINE = re.compile(rb"\s*epoch (\d{1,9})/(\d{1,9})\s*\Z")
_EPOCH_INCREMENTED = re.compile(rb"current_epoch: \d+, epoch: (\d{1,9})")
# "  num epochs / epoch数: 3", "Num Epochs = 6": the number stands last.
_HEADER_NUMBER = re.compile(rb"[:=] {0,4}(\d{1,12})\s*\Z")
_HEADERS = (
    (b"num batches per epoch", "batches"),
    (b"num epochs", "epochs"),
    (b"Num Epochs", "epochs"),
    (b"Num examples", "examples"),
    (b"Total train batch size", "total_batch"),
    (b"gradient accumulation steps", "accumulation"),
    (b"optimization steps", "steps"),
)
_LOG_START = re.compile(rb"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)? *(?:INFO|WARNING|ERROR|DEBUG|CRITICAL) +")
_LONGEST_SOURCE = 200
_LOG_SOURCE = re.compile(rb" +\S+\.py:\d+ *\Z")
_RESUME_STATE = re.compile(rb"resume training from local\s+state:\s*(.+)")
_TRAIN_STATE = re.compile(rb"load train state from.*'current_step':\s*(\d{1,12})", re.DOTALL)
_SKIPPING = re.compile(rb"skipping (\d+) steps")


class ProgressParser:
    """Reads a log chunk by chunk and knows where the training stands.

    Args:
        total_epochs: What the configuration asks for, until the log says it.
        pace: With what is known of the step times already.
    """

    def __init__(self, *, total_epochs: int | None = None, pace: StepPace | None = None) -> None:
        self.resume_state: str | None = None
        self._tail = b""
        self._is_tail_taken = False
        self._at: float | None = None
        self._stage: Stage = Stage.QUEUED
        self._numbers: dict[str, int] = {} if total_epochs is None else {"epochs": total_epochs}
        self._named_bar: bytes | None = None
        self._epochs_done, self._epochs_total, self._epoch_step = 0, 0, 0
        self._bar_done = 0
        self._bar_total: int | None = None
        self._offset = 0
        self._skips = False
        self._epoch_line = 0
        self._fraction = 0.0
        self._loss: float | None = None
        self._loss_printed = b""
        self._rate: BarFrame | None = None
        self._final_saved = False
        self._alarms: list[str] = []
        self._losses = _Losses()
        self._pace = pace or StepPace()
        self._message: list[bytes] = []

    def feed(self, data: bytes, at: float | None) -> None:
        """Take in the next bytes, which arrived at ``at`` seconds on any steady clock; None: nobody saw when."""
        if not data:
            return
        self._at = at
        if self._stage is Stage.QUEUED:
            self._stage = Stage.LOADING_MODEL
        *segments, tail = (self._tail + data).replace(b"\n", b"\r").split(b"\r")
        for segment in segments:
            if segment:
                self._take(segment[:_SEGMENT_BYTES])
            self._is_tail_taken = False
        self._tail = tail[:_SEGMENT_BYTES]
        self._take_tail()
        self._note_steps()
        self._note_fraction()

    def resume_from(self, step: int) -> None:
        """Say at which step the training went on, as ``train_state.json`` has it."""
        self._offset = max(0, step)
        self._note_fraction()

    def drain_losses(self, *, is_over: bool = False) -> list[LossPoint]:
        """The losses that became known since the last call, each step once.

        A step's loss is known when the next step begins.

        Args:
            is_over: Nothing more will come: the last step's loss too, unless it is only the one
                before, carried over into a first frame.
        """
        return self._losses.drain(is_over=is_over)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Words for what went wrong though the training goes on: nan_loss, inf_loss, loss_diverged, nan_latents."""
        return (*self._alarms, *["loss_diverged"] * self._losses.is_diverged)

    @property
    def progress(self) -> Progress:
        """Where the training stands after the last chunk."""
        step, total = self._step(), self._total_steps()
        pace, eta = self._pace.seconds_per_step, None
        if step is not None and total is not None:
            eta = self._pace.eta_s(total - self._offset, self._at or 0.0)
        return Progress(
            fraction=self._fraction if step is not None and total else None,
            stage=self._stage.value,
            step=step,
            total_steps=total,
            epoch=self._epoch(step, total),
            total_epochs=self._numbers.get("epochs"),
            loss=self._loss,
            seconds_per_step=pace if pace is not None else self._rate and self._rate.seconds_per_step,
            eta_s=0.0 if self._stage is Stage.FINISHED else eta,
        )

    def _take_tail(self) -> None:
        """Take in a whole frame at the end at once: what ends it comes a step later, or never."""
        tail = without_escapes(self._tail)
        if self._is_tail_taken or not tail.rstrip(b" ").endswith(b"]"):
            return
        frame = parse_frame(tail)
        if frame is not None and not frame.rest.strip():
            self._take_frame(frame)
            self._is_tail_taken = True

    def _take(self, segment: bytes) -> None:
        segment = without_escapes(segment)
        frame = parse_frame(segment)
        if frame is None:
            self._take_text(segment)
            return
        if not self._is_tail_taken:
            self._take_frame(frame)
        if frame.rest.strip():
            self._take_text(frame.rest)

    def _take_frame(self, frame: BarFrame) -> None:
        if frame.kind is BarKind.STEPS:
            if frame.description not in DESCRIBED_BARS:
                self._named_bar = frame.description
            self._take_steps(frame)
        elif frame.kind is BarKind.EPOCHS:
            if frame.done > self._epochs_done:
                self._epochs_done, self._epoch_step = frame.done, 0
            self._epochs_total = self._numbers["epochs"] = frame.total
        elif frame.kind is BarKind.EPOCH_STEPS:
            self._take_epoch_steps(frame)
        elif frame.description == self._named_bar:
            self._take_steps(frame)
        else:
            self._take_other_bar(frame.description)

    def _take_epoch_steps(self, frame: BarFrame) -> None:
        """OneTrainer counts the steps of each epoch anew, in a bar below the one of the epochs."""
        if frame.done < self._epoch_step:
            self._epochs_done += 1
        self._epoch_step = frame.done
        if self._epochs_total:
            done = min(self._epochs_done, self._epochs_total - 1) * frame.total + frame.done
            self._take_steps(frame._replace(done=done, total=self._epochs_total * frame.total))

    def _take_steps(self, frame: BarFrame) -> None:
        if frame.done < self._bar_done:
            return
        is_new = self._bar_total is None or frame.done > self._bar_done
        self._bar_done, self._bar_total = frame.done, frame.total
        if frame.epochs is not None:
            self._numbers["epochs"] = frame.epochs
            self._epoch_line = frame.epoch or self._epoch_line
        if is_new:
            self._stage = Stage.TRAINING
        elif self._stage is not Stage.FINISHED:
            is_over = frame.done >= frame.total
            if not is_over:
                self._stage = Stage.TRAINING
            elif self._final_saved:
                self._stage = Stage.FINISHED
        self._rate = frame
        if frame.loss is not None:
            self._take_loss(frame.loss)

    def _take_loss(self, printed: bytes) -> None:
        if printed != self._loss_printed:
            try:
                self._loss = float(printed)
            except ValueError:
                return
            self._loss_printed = printed
            if math.isnan(self._loss):
                self._alarm("nan_loss")
            elif math.isinf(self._loss):
                self._alarm("inf_loss")
        if self._loss is not None:
            self._losses.add(self._offset + self._bar_done, self._loss, self._at)

    def _alarm(self, word: str) -> None:
        if word not in self._alarms:
            self._alarms.append(word)

    def _take_other_bar(self, description: bytes) -> None:
        if description.startswith(b"Upload"):
            self._stage = Stage.UPLOADING
        elif self._bar_total is None and b"aching" in description:
            self._stage = Stage.CACHING_LATENTS
        elif self._bar_total is not None and description in SAMPLING_BARS:
            self._pause(Stage.SAMPLING)

    def _pause(self, stage: Stage) -> None:
        self._stage = stage
        if stage in _PAUSES:
            self._note_steps()
            self._pace.paused(stage.value)

    def _note_steps(self) -> None:
        if self._bar_total is not None and self._at is not None:
            self._pace.steps_done(self._bar_done, self._at)
        elif self._bar_total is not None:
            self._pace.steps_done_unseen(self._bar_done)

    def _note_fraction(self) -> None:
        """The fraction never falls, whatever the bar does."""
        if (step := self._step()) is not None and (total := self._total_steps()):
            self._fraction = max(self._fraction, min(1.0, step / total))

    def _take_text(self, text: bytes) -> None:
        self._collect_message(text)
        if b"poch" in text:
            self._take_epoch_line(text)
        if self._bar_total is None or b"steps" in text:
            self._take_header(text)
        if b"NaN detected in latents" in text:
            self._alarm("nan_latents")
        self._take_stage_words(text)

    def _take_epoch_line(self, text: bytes) -> None:
        if match := _EPOCH_LINE.match(text):
            self._epoch_line = max(self._epoch_line, int(match[1]))
            self._numbers["epochs"] = int(match[2])
        elif match := _EPOCH_INCREMENTED.search(text):
            self._epoch_line = max(self._epoch_line, int(match[1]))

    def _take_header(self, text: bytes) -> None:
        for words, name in _HEADERS:
            if words in text and (match := _HEADER_NUMBER.search(text)):
                self._numbers[name] = int(match[1])
                return
        if _SKIPPING.search(text):
            self._skips = True

    def _take_stage_words(self, text: bytes) -> None:
        if self._stage is Stage.FINISHED:
            return
        if self._bar_total is None:
            if b"aching latents" in text:
                self._stage = Stage.CACHING_LATENTS
            return
        if b"model saved." in text:
            self._stage = Stage.FINISHED
            return
        for words, stage in _STAGE_WORDS:
            if words in text:
                self._pause(stage)
                self._final_saved |= b"pytorch_lora_weights" in text and b"checkpoint-" not in text
                return

    def _collect_message(self, text: bytes) -> None:
        """Put rich's wrapped lines of the messages about resuming together."""
        if 0 < len(self._message) < 20 and text.startswith(b" " * 20) and not _LOG_START.match(text):
            self._message.append(text)
            return
        if self._message:
            self._take_message(_unwrapped(self._message))
            self._message = []
        if len(text) < _MESSAGE_BYTES and (b"resume training from" in text or b"load train state from" in text):
            self._message = [text]

    def _take_message(self, message: bytes) -> None:
        if match := _RESUME_STATE.search(message):
            self.resume_state = match[1].decode("utf-8", "replace").strip()
        if match := _TRAIN_STATE.search(message):
            self.resume_from(int(match[1]))

    def _step(self) -> int | None:
        return None if self._bar_total is None else self._offset + self._bar_done

    def _total_steps(self) -> int | None:
        """Steps at the end of the run, the steps of the resumed run included."""
        configured = self._numbers.get("steps", self._bar_total)
        if self._bar_total is None or not self._offset:
            return self._bar_total or configured
        per_epoch, epochs = self._steps_per_epoch(), self._numbers.get("epochs")
        if not per_epoch or not epochs:
            return configured
        # sd-scripts starts over at the epoch of the state; only with --skip_until_initial_step within it.
        skipped = self._offset % per_epoch if self._skips else 0
        ahead = (epochs - self._offset // per_epoch) * per_epoch - skipped
        return self._offset + min(self._bar_total, max(ahead, 0))

    def _steps_per_epoch(self) -> int | None:
        numbers = self._numbers
        if batches := numbers.get("batches"):
            return math.ceil(batches / numbers.get("accumulation", 1))
        if "examples" in numbers and numbers.get("total_batch"):
            return math.ceil(numbers["examples"] / numbers["total_batch"])
        return None

    def _epoch(self, step: int | None, total: int | None) -> int | None:
        """The epoch being trained: what the log says, or what the step count says if that is further."""
        epochs = self._numbers.get("epochs")
        per_epoch = self._steps_per_epoch()
        if per_epoch is None and epochs and total:
            per_epoch = math.ceil(total / epochs)
        computed = 0
        if step is not None and per_epoch:
            # A finished epoch stays until the first step of the next; a resumed run begins with the next.
            computed = max(1, math.ceil(step / per_epoch), self._offset // per_epoch + 1)
        epoch = max(computed, self._epoch_line)
        return (min(epoch, epochs) if epochs else epoch) or None


class _Losses:
    """One loss per step: the first frame of a step still carries the loss of the step before."""

    def __init__(self) -> None:
        self.is_diverged = False
        self._ready: list[LossPoint] = []
        self._last: tuple[int, float, float | None] | None = None
        self._before: float | None = None
        self._frames = 0
        self._first: list[float] = []
        self._limit = math.inf
        self._high_count = 0

    def add(self, step: int, loss: float, at: float | None) -> None:
        if self._last is None or step != self._last[0]:
            self._settle()
            self._frames = 0
        self._frames += 1
        self._last = (step, loss, at)

    def drain(self, *, is_over: bool) -> list[LossPoint]:
        if is_over and self._last is not None and (self._frames > 1 or self._last[1] != self._before):
            self._settle()
            self._last = None
        answer, self._ready = self._ready, []
        return answer

    def _settle(self) -> None:
        if self._last is None:
            return
        step, loss, at = self._last
        self._ready.append(LossPoint(step=step, loss=loss, at=at))
        self._before = loss
        self._watch(loss)

    def _watch(self, loss: float) -> None:
        """Diverged: 10 losses in a row are more than 10 times what was usual in the first 20 steps."""
        if not math.isfinite(loss):
            return
        if len(self._first) < USUAL_STEPS:
            self._first.append(loss)
            self._limit = 10 * abs(median(self._first))
            return
        self._high_count = self._high_count + 1 if loss > self._limit else 0
        self.is_diverged |= self._high_count >= 10


def _unwrapped(lines: list[bytes]) -> bytes:
    """One message from the lines rich wrapped it into.

    A line that fills the whole column was broken within a word.
    """
    first = lines[0]
    start = len(match[0]) if (match := _LOG_START.match(first)) else 0
    source = _LOG_SOURCE.search(first, max(start, len(first) - _LONGEST_SOURCE))
    width = len(first) - start if source is None else len(first.rstrip()) - len(source[0].strip()) - 1 - start
    message = first[start : source.start() if source else None].strip()
    before = len(message)
    for line in lines[1:]:
        part = line.strip()
        message += part if before >= width else b" " + part
        before = len(part)
    return message
