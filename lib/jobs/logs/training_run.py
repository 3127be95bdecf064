"""Where one run of a training stands, as its log states it."""

import math
import re
from dataclasses import dataclass, field

from lib.jobs.logs.tqdm_bar import BarFrame, seconds_of


@dataclass(slots=True)
class TrainingRun:
    """Where one run stands; a log that was appended to holds several, one after the other."""

    numbers: dict[str, int] = field(default_factory=dict)
    named_bar: tuple[bytes, int] | None = None
    candidate: BarFrame | None = None
    epochs_done: int = 0
    epochs_total: int = 0
    epoch_step: int = 0
    first_epoch: int | None = None
    # None until a step of the training was seen, even if it is step 0.
    done: int | None = None
    total: int | None = None
    is_total_known: bool = True
    offset: int = 0
    # What is known of the offset from elsewhere; 0 when nothing is.
    first_step: int = 0
    skips: bool = False
    epoch_line: int = 0
    fraction: float = 0.0
    loss: float | None = None
    loss_printed: bytes = b""
    loss_step: int = 0
    learning_rate: float | None = None
    grad_norm: float | None = None
    # When the bar of the training was first seen, at step 0.
    began_at: float | None = None
    rate: bytes = b""
    repaint: re.Pattern[bytes] | None = None
    stated_s: float | None = None
    is_announced: bool = False
    # Whether the rows of a notebook's table of losses may follow.
    is_in_table: bool = False
    final_saved: bool = False
    # What the trainer itself says of the state that it loaded, and whether it was told another step.
    resumed_from: str | None = None
    resumed_step: int | None = None
    is_told_step: bool = False
    job_name: bytes = b""

    @classmethod
    def begun(cls, first_step: int, epochs: int | None = None) -> "TrainingRun":
        """A run of which nothing is known but where it begins, and perhaps how many epochs it is to have."""
        return cls(numbers={} if epochs is None else {"epochs": epochs}, offset=first_step, first_step=first_step)

    def resume_from(self, step: int) -> None:
        """Note at which step the state says that it goes on; ``first_step`` knows better."""
        self.offset = self.first_step or max(0, step)

    def step(self) -> int | None:
        """Finished steps, those before a resume included."""
        return None if self.done is None else self.offset + self.done

    def total_steps(self) -> int | None:
        """Steps at the end of the run, the steps of the resumed run included."""
        configured = self.numbers.get("steps", self.total)
        if self.total is None or not self.offset:
            return self.total or configured
        per_epoch, epochs = self._steps_per_epoch(), self.numbers.get("epochs")
        if not per_epoch or not epochs:
            return configured
        # sd-scripts starts over at the epoch of the state; only with --skip_until_initial_step within it.
        skipped = self.offset % per_epoch if self.skips else 0
        ahead = (epochs - self.offset // per_epoch) * per_epoch - skipped
        return self.offset + min(self.total, max(ahead, 0))

    def is_named_bar(self, frame: BarFrame) -> bool:
        """Whether it is the bar of the training, which may have been read before a prefix was known."""
        if self.named_bar is None or frame.total != self.named_bar[1]:
            return False
        return frame.description in {self.named_bar[0], b""}

    def note_fraction(self) -> None:
        """The fraction never falls within a run, whatever the bar does."""
        if (step := self.step()) is not None and (total := self.total_steps()):
            self.fraction = max(self.fraction, min(1.0, step / total))

    def is_training(self, frame: BarFrame) -> bool:
        """Whether a bar whose name says nothing is the training."""
        if frame.total == self.numbers.get("steps") or frame.loss is not None:
            return True
        if frame.description:
            return frame.description == self.job_name
        # A log may begin in the middle: a loss, then the bar.
        follows_loss = self.loss is not None and self.done is None and self.candidate is None
        return (self.is_announced or follows_loss) and self.named_bar is None

    def epochs_bar(self, frame: BarFrame) -> bool:
        """Take in a bar that counts epochs; whether it began again."""
        did_epochs = self.epochs_done > 0
        if frame.done >= self.epochs_done:
            self.epochs_done, self.epoch_step = frame.done, 0
        return did_epochs and not frame.done and begins(frame)

    def over_epochs(self, frame: BarFrame) -> BarFrame | None:
        """Steps counted anew in each epoch as steps of the whole run; None while nobody knows how many epochs.

        They stand below a bar of epochs (OneTrainer), or in bars with their number.
        """
        if frame.epoch is not None:
            return self._over_numbered_epochs(frame, frame.epoch)
        if frame.done < self.epoch_step:
            self.epochs_done += 1
        self.epoch_step = frame.done
        if not self.epochs_total:
            return None
        done = min(self.epochs_done, self.epochs_total - 1) * frame.total + frame.done
        return frame._replace(done=done, total=self.epochs_total * frame.total)

    def _over_numbered_epochs(self, frame: BarFrame, number: int) -> BarFrame:
        """Lightning counts epochs from 0 ("Epoch 0"), scripts of the "Epoch 1/10" kind from 1."""
        if self.first_epoch is None:
            self.first_epoch = 1 if frame.epochs and number else 0
        before = max(0, number - self.first_epoch)
        epochs = frame.epochs or self.numbers.get("epochs")
        self.is_total_known = bool(epochs)
        self.epoch_line = max(self.epoch_line, before + 1)
        total = frame.total * max(epochs or 0, before + 1)
        return frame._replace(done=before * frame.total + frame.done, total=total)

    def printed_s(self) -> float | None:
        """Seconds per step as the log states them."""
        return seconds_of(self.rate) if self.rate else self.stated_s

    def _steps_per_epoch(self) -> int | None:
        numbers = self.numbers
        if batches := numbers.get("batches"):
            return math.ceil(batches / numbers.get("accumulation", 1))
        if "examples" in numbers and numbers.get("total_batch"):
            return math.ceil(numbers["examples"] / numbers["total_batch"])
        return None

    def note_frame(self, frame: BarFrame, at: float | None) -> None:
        """Note what a frame of the training's bar says; ``at`` is when it was seen, in unix seconds."""
        self.note_first(frame.done)
        self.done, self.total, self.rate = frame.done, frame.total, frame.rate
        if frame.epochs is not None:
            self.numbers["epochs"] = frame.epochs
            self.epoch_line = frame.epoch or self.epoch_line
        self.began_at = at if self.began_at is None else self.began_at

    def note_first(self, done: int) -> None:
        """Note the first step that the log tells: a trainer that counts on is past the steps from before."""
        if self.done is None and self.first_step and done >= self.first_step:
            self.offset = 0

    def note_epoch_of_resume(self) -> None:
        """sd-scripts says a step that it was told (``--initial_step``) by the epoch alone that it begins with."""
        per_epoch = self._steps_per_epoch()
        if self.is_told_step and per_epoch:
            self.is_told_step, said = False, (self.epoch_line - 1) * per_epoch
            self.resumed_step = self.offset if said == self.offset - self.offset % per_epoch else said

    def epoch(self) -> int | None:
        """The epoch being trained: what the log says, or what the step count says if that is further."""
        step, total = self.step(), self.total_steps()
        epochs = self.numbers.get("epochs")
        per_epoch = self._steps_per_epoch()
        if per_epoch is None and epochs and total:
            per_epoch = math.ceil(total / epochs)
        computed = 0
        if step is not None and per_epoch:
            # A finished epoch stays until the first step of the next; a resumed run begins with the next.
            computed = max(1, math.ceil(step / per_epoch), self.offset // per_epoch + 1)
        epoch = max(computed, self.epoch_line)
        return (min(epoch, epochs) if epochs else epoch) or None


def begins(frame: BarFrame) -> bool:
    """Whether a bar has just been started: it has taken no time yet."""
    return not frame.elapsed.strip(b"0:?")
