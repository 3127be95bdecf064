"""Progress of a training, read from the raw bytes of its log as they arrive."""

import math
import re

from lib.jobs.job import LossPoint, Progress, Stage
from lib.jobs.logs import announcements
from lib.jobs.logs.eta import StepPace
from lib.jobs.logs.facts import Facts, number, read_facts
from lib.jobs.logs.loss_series import LossSeries
from lib.jobs.logs.normalise import PrefixCutter, Unwrapper
from lib.jobs.logs.rich_lines import RichMessages
from lib.jobs.logs.segments import TellingSegments, blocks_of
from lib.jobs.logs.tqdm_bar import (
    DESCRIBED_BARS,
    EARLY_LOSS,
    SAMPLING_BARS,
    BarFrame,
    BarKind,
    parse_frame,
    parse_rich_bar,
    repaint_of,
    without_escapes,
)
from lib.jobs.logs.trainer_words import (
    FACTS,
    LEARNING_RATE,
    PERCENT,
    TABLE_HEAD,
    TABLE_ROW,
    VALIDATION_LOSS,
    WORDS,
)
from lib.jobs.logs.training_run import TrainingRun, begins
from lib.jobs.stalls import USUAL_S

_SEGMENT_BYTES = 1 << 16
_PAUSES = {Stage.SAVING, Stage.SAMPLING}


class ProgressParser:
    """Reads a log chunk by chunk and knows where the training stands.

    Args:
        total_epochs: What the configuration asks for, until the log says it.
        pace: With what is known of the step times already.
        first_step: Steps of the whole training before this log; a bar that begins below them counts from 0 again.

    Attributes:
        run_count: How many runs that did steps came before this one in the same log.
    """

    def __init__(self, *, total_epochs: int | None = None, pace: StepPace | None = None, first_step: int = 0) -> None:
        self.run_count = 0
        self._unwrapper, self._prefix_cutter = Unwrapper(), PrefixCutter()
        self._tail = b""
        self._is_tail_taken = False
        self._at: float | None = None
        self._stage: Stage = Stage.QUEUED
        self._run = TrainingRun.begun(first_step, total_epochs)
        self._is_reread = False
        self._alarms: list[str] = []
        self._losses = LossSeries()
        self._pace = pace or StepPace()
        self._messages = RichMessages((b"resume training from", b"load train state from"))

    def feed(self, data: bytes, at: float | None) -> None:
        """Take in the next bytes, which arrived at ``at`` seconds on any steady clock; None: nobody saw when."""
        if not data:
            return
        self._at = at
        if self._stage is Stage.QUEUED:
            self._stage = Stage.LOADING_MODEL
        self._feed_plain(self._prefix_cutter.feed(self._unwrapper.feed(data)))

    def finish(self) -> None:
        """Say that nothing more will come: what was held back is taken in, too."""
        self._feed_plain(self._prefix_cutter.feed(self._unwrapper.flush()))
        # Among it are lines that were read before, now without their prefix: they open no other run.
        self._is_reread = True
        self._feed_plain(self._prefix_cutter.flush() + b"\n")
        self._is_reread = False

    def resume_from(self, step: int) -> None:
        """Say at which step the training went on, as ``train_state.json`` has it; ``first_step`` knows better."""
        self._run.resume_from(step)
        self._run.note_fraction()

    def drain_losses(self, *, is_over: bool = False) -> list[LossPoint]:
        """The losses that became known since the last call, each step once.

        A step's loss is known when the next step begins.

        Args:
            is_over: Nothing more will come: the last step's loss too, unless it is only the one
                before, carried over into a first frame.
        """
        if is_over:
            self.finish()
        return self._losses.drain(is_over=is_over)

    @property
    def resume_state(self) -> str | None:
        """The state or file that the trainer says it has loaded."""
        return self._run.resumed_from

    @property
    def stage(self) -> str:
        """What the trainer is busy with: that of ``progress``, which takes longer to tell."""
        return self._stage.value

    @property
    def alarms(self) -> tuple[str, ...]:
        """Words for what went wrong though the training goes on: nan_loss, inf_loss, loss_diverged, nan_latents,
        stalled_at_start.
        """
        waited_s = (self._at or 0.0) - (self._run.began_at or self._at or 0.0)
        is_stalled = self._run.done == 0 and waited_s > USUAL_S[Stage.TRAINING]
        return (*self._alarms, *["loss_diverged"] * self._losses.is_diverged, *["stalled_at_start"] * is_stalled)

    @property
    def progress(self) -> Progress:
        """Where the training stands after the last chunk."""
        run, step, total, eta = self._run, self._run.step(), self._run.total_steps(), None
        if step is not None and total is not None and run.is_total_known:
            eta = self._pace.eta_s(total - run.offset, self._at or 0.0)
        return Progress(
            fraction=run.fraction if step is not None and total and run.is_total_known else None,
            stage=self._stage.value,
            step=step,
            total_steps=total,
            epoch=run.epoch(),
            total_epochs=run.numbers.get("epochs"),
            loss=run.loss,
            learning_rate=run.learning_rate,
            seconds_per_step=self._pace.seconds_per_step or run.printed_s(),
            eta_s=0.0 if self._stage is Stage.FINISHED else eta,
            pauses=self._pace.measured_pauses,
            resumed_from=run.resumed_from,
            resumed_step=run.resumed_step,
        )

    def _feed_plain(self, data: bytes) -> None:
        data = (self._tail + data).replace(b"\n", b"\r")
        end = data.rfind(b"\r") + 1
        if end:
            self._take_body(data[:end])
        self._tail = data[end : end + _SEGMENT_BYTES]
        self._take_tail()
        self._note_steps()
        self._run.note_fraction()

    def _take_body(self, body: bytes) -> None:
        """Take in whole segments."""
        if self._is_tail_taken:
            first, _, body = body.partition(b"\r")
            self._take(without_escapes(first[:_SEGMENT_BYTES]))
            self._is_tail_taken = False
        for block in blocks_of(body, _SEGMENT_BYTES):
            segments = TellingSegments(without_escapes(block), PERCENT, WORDS)
            while True:
                again = segments.begins_with(self._run.repaint) if self._run.repaint else None
                if again and self._take_repaint(again):
                    segments.skip(again.end())
                elif (segment := segments.following() if self._expects_more else segments.telling()) is not None:
                    self._take(segment)
                else:
                    break

    @property
    def _expects_more(self) -> bool:
        """Whether the next segment counts, whatever it says."""
        return bool(self._messages.lines) or self._run.is_in_table

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
        frame = parse_frame(segment)
        if frame is None:
            self._take_text(segment)
            return
        if not self._is_tail_taken:
            self._take_frame(frame)
        if frame.rest.strip():
            self._take_text(frame.rest)

    def _take_repaint(self, again: re.Match[bytes]) -> bool:
        """Take in another frame of the bar that was read last; False when more is to be known of it."""
        run, (printed_done, rate, postfix, loss) = self._run, again.groups()
        done = int(printed_done)
        if run.done is None or not done or (done == run.done and self._stage is not Stage.TRAINING):
            return False
        if done < run.done:
            return True
        run.done, run.rate, self._stage = done, rate, Stage.TRAINING
        self._take_postfix(postfix, loss)
        return True

    def _take_frame(self, frame: BarFrame) -> None:
        run = self._run
        if frame.kind is BarKind.STEPS:
            if frame.description not in DESCRIBED_BARS:
                run.named_bar = (frame.description, frame.total)
            self._take_whole_run(frame)
        elif frame.kind is BarKind.EPOCHS:
            if run.epochs_bar(frame):
                self._begin_run()
            self._run.epochs_total = self._run.numbers["epochs"] = frame.total
        elif frame.kind is BarKind.EPOCH_STEPS:
            if whole := run.over_epochs(frame):
                self._take_steps(whole)
        elif run.is_named_bar(frame):
            self._take_whole_run(frame)
        elif frame.kind is BarKind.OTHER and run.is_training(frame):
            run.named_bar = (frame.description, frame.total)
            self._take_whole_run(frame)
        else:
            self._take_other_bar(frame)

    def _take_whole_run(self, frame: BarFrame) -> None:
        """A bar that counts the steps of the whole training; the next of its frames are known by its name."""
        self._take_steps(frame)
        self._run.repaint = repaint_of(frame.description, frame.total)

    def _take_steps(self, frame: BarFrame) -> None:
        run = self._run
        if run.done is not None and frame.done < run.done:
            if frame.done or not begins(frame):
                return
            run = self._begin_run(keep_numbers=True)
        is_new = run.done is None or frame.done > run.done
        run.note_frame(frame, self._at)
        if is_new or (self._stage is not Stage.FINISHED and frame.done < frame.total):
            self._stage = Stage.TRAINING
        elif run.final_saved:
            self._stage = Stage.FINISHED
        if frame.loss is not None:
            self._take_postfix(frame.postfix, frame.loss)

    def _take_postfix(self, postfix: bytes, loss: bytes) -> None:
        if b"lr" in postfix and (printed := LEARNING_RATE.search(postfix)):
            self._run.learning_rate = number(printed[1])
        self._take_loss(loss, steps_ahead=int(EARLY_LOSS.match(postfix) is not None))

    def _begin_run(self, *, keep_numbers: bool = False) -> TrainingRun:
        """Another run was appended to the same file: what was before it is history."""
        self.run_count += self._run.done is not None
        before, self._run = self._run, TrainingRun.begun(self._run.first_step)
        if keep_numbers:
            self._run.numbers, self._run.named_bar = dict(before.numbers), before.named_bar
        self._pace = StepPace()
        self._stage = Stage.LOADING_MODEL
        self._alarms.clear()
        self._losses.begin_run()
        return self._run

    def _take_loss(self, printed: bytes, *, steps_ahead: int = 0) -> None:
        """Take in a loss of the bar's step; one that is new may be of a step that the bar does not count yet."""
        run = self._run
        if printed != run.loss_printed:
            if (loss := number(printed)) is None:
                return
            run.loss, run.loss_printed, run.loss_step = loss, printed, (run.done or 0) + steps_ahead
            if not math.isfinite(loss):
                self._alarm("nan_loss" if math.isnan(loss) else "inf_loss")
        if run.loss is not None and run.done is not None:
            step = max(run.done, run.loss_step)
            self._losses.add(run.offset + step, run.loss, self._at, run.learning_rate, run.grad_norm)

    def _alarm(self, word: str) -> None:
        if word not in self._alarms:
            self._alarms.append(word)

    def _take_other_bar(self, frame: BarFrame) -> None:
        if frame.kind is BarKind.OTHER and frame.total > 1:
            self._run.candidate = frame
        if printed := VALIDATION_LOSS.search(frame.postfix):
            self._losses.validated(number(printed[1]))
        if (description := frame.description).startswith(b"Upload"):
            self._stage = Stage.UPLOADING
        elif self._run.done is None and b"aching" in description:
            self._stage = Stage.CACHING_LATENTS
        elif self._run.done is not None and description in SAMPLING_BARS:
            self._pause(Stage.SAMPLING)

    def _pause(self, stage: Stage) -> None:
        self._stage = stage
        if stage in _PAUSES:
            self._note_steps()
            self._pace.paused(stage.value)

    def _note_steps(self) -> None:
        if self._run.done is None:
            return
        if self._at is not None:
            self._pace.steps_done(self._run.done, self._at)
        else:
            self._pace.steps_done_unseen(self._run.done)

    def _take_text(self, text: bytes) -> None:
        if self._messages.lines or b"resume train" in text or b"train state from" in text:
            for message in self._messages.take(text):
                announcements.note_state(self._run, message)
        if self._run.done is not None and not self._is_reread and announcements.is_opening(text):
            self._begin_run()
        if self._run.is_in_table or b"raining Loss" in text:
            self._take_table(text)
        announcements.note_loaded(self._run, text)
        if b"poch" in text:
            announcements.note_epoch(self._run, text)
            if frame := parse_rich_bar(text):
                self._run.first_epoch = 0
                self._take_frame(frame)
        if self._run.done is None or b"steps" in text:
            announcements.note_header(self._run, text)
        if (b"oss" in text or b"step=" in text) and FACTS.search(text, 0, 2_000):
            self._take_facts(text)
        if b"NaN detected in latents" in text:
            self._alarm("nan_latents")
        self._take_stage_words(text)

    def _take_table(self, text: bytes) -> None:
        """The table that transformers prints in a notebook: a step and its loss in each row."""
        run = self._run
        if not text.strip():
            return
        row = TABLE_ROW.match(text) if run.is_in_table else None
        run.is_in_table = bool(row or TABLE_HEAD.match(text))
        if row is None:
            return
        step, loss = int(row[1]), float(row[2])
        if run.done is None or step > run.done:
            self._take_stated_step(step, None)
        # The table is drawn again with each row, and behind the bar.
        run.loss = loss
        self._losses.add(run.offset + step, loss, self._at)

    def _take_facts(self, text: bytes) -> None:
        """A line that states a step or a loss; a loss alone belongs to the bar that grows."""
        facts = read_facts(text)
        if facts is None:
            return
        run, bar = self._run, self._run.candidate
        if facts.is_summary:
            self._take_summary(facts)
            return
        self._losses.validated(facts.validation_loss)
        if facts.loss is None and facts.validation_loss is not None:
            return
        run.learning_rate = run.learning_rate if facts.learning_rate is None else facts.learning_rate
        run.grad_norm = run.grad_norm if facts.grad_norm is None else facts.grad_norm
        run.stated_s = facts.seconds or run.stated_s
        if facts.step is not None:
            self._take_stated_step(facts.step, facts.total)
        elif run.done is None and bar is not None:
            run.named_bar = (bar.description, bar.total)
            self._take_steps(bar)
        if facts.loss is not None:
            self._take_loss(facts.loss)

    def _take_summary(self, facts: Facts) -> None:
        """transformers' last line: the mean loss, and in its runtime and rate how many steps there were."""
        run = self._run
        if run.done is None and (steps := run.numbers.get("steps") or facts.counted_steps):
            self._take_stated_step(steps, steps)
        if run.loss is None and run.done is not None and facts.loss is not None:
            self._take_loss(facts.loss)
        self._stage = Stage.FINISHED

    def _take_stated_step(self, step: int, total: int | None) -> None:
        run = self._run
        if run.done is not None and step < run.done:
            return
        if run.done is None or step > run.done:
            self._stage = Stage.TRAINING
        run.note_first(step)
        run.done, run.total = step, total or run.total

    def _take_stage_words(self, text: bytes) -> None:
        if self._stage is Stage.FINISHED:
            return
        if self._run.done is None:
            self._stage = announcements.stage_before_steps(text) or self._stage
        elif stage := announcements.stage_between_steps(text):
            self._pause(stage)
            self._run.final_saved |= b"pytorch_lora_weights" in text and b"checkpoint-" not in text
