"""What an attempt goes on from: a training state, or the weights of a file; nothing for one from the beginning."""

from dataclasses import dataclass, replace
from datetime import datetime

from lib.jobs.training_settings import TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """Where an ended job can go on.

    Attributes:
        attempt: Whose file or folder it is.
        path: Relative to that attempt's output folder.
        is_state: Whether it holds the optimizer too; with weights alone, the optimizer starts anew.
        step: Finished steps of the whole training there.
        epoch: Finished epochs of the whole training; None unless it was saved at the end of one.
        problem: Why it cannot be used, as a sentence; empty when it can.
        note: What is different from what was asked for, as a sentence; empty when nothing is.
    """

    attempt: int
    path: str
    is_state: bool
    step: int
    epoch: int | None = None
    at: datetime | None = None
    problem: str = ""
    note: str = ""

    @property
    def id(self) -> str:
        """Names the point within its job."""
        return f"{self.attempt}/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What an attempt goes on from, and how long the whole training is then.

    Attributes:
        attempt, path, is_state, step, epoch: As of the ``ResumePoint``.
        epochs, max_steps: The length of the whole training, the part before included; None: as the settings say.
        by_itself: Whether the worker did it, after a restart of the machine or a loss of its cluster.
    """

    attempt: int
    path: str
    is_state: bool = True
    step: int = 0
    epoch: int | None = None
    epochs: int | None = None
    max_steps: int | None = None
    by_itself: bool = False

    @property
    def is_anew(self) -> bool:
        """Whether it is no point at all: the training begins at step 0."""
        return not self.path

    @property
    def point_id(self) -> str:
        """The id of its ``ResumePoint``."""
        return f"{self.attempt}/{self.path}"

    def applied(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with the length of the whole training."""
        epochs, max_steps = self.epochs or settings.epochs, self.max_steps or settings.max_steps
        return replace(settings, epochs=epochs, max_steps=max_steps)


ANEW = Start(attempt=0, path="")


def by_itself_text(start: Start) -> str:
    """What people are told of an attempt after which the worker goes on."""
    if start.is_anew:
        return "It left no state to go on from, so the training begins anew by itself."
    return f"The training goes on by itself from step {start.step:,}."
