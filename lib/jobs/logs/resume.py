"""Where a resumed training continued: sd-scripts says so only in the state folder (``train_state.json``)."""

import json
from collections.abc import Iterable
from dataclasses import replace

from lib.jobs.job import Progress
from lib.jobs.resume import Start

STATE_FILE = "train_state.json"


def went_on(progress: Progress, before: Start) -> Progress:
    """What a trainer tells of the rest of a training, as progress of the whole one."""
    step = None if progress.step is None else before.step + progress.step
    total = None if progress.total_steps is None else before.step + progress.total_steps
    return replace(
        progress,
        step=step,
        total_steps=total,
        fraction=step / total if step is not None and total and progress.fraction is not None else None,
        epoch=None if progress.epoch is None else (before.epoch or 0) + progress.epoch,
        total_epochs=None if progress.total_epochs is None else (before.epoch or 0) + progress.total_epochs,
    )


def resumed_step(states: Iterable[str], progress: Progress) -> int:
    """The step a run was resumed at, from the first text that tells; 0 when none does.

    Args:
        states: Contents of the ``train_state.json`` files that may be the right one.
        progress: What the resumed run has printed so far, counted from its own start.
    """
    for step in map(step_in_state, states):
        # The run may have overwritten the state it was resumed from with its own last one.
        if step and step + (progress.step or 0) <= (progress.total_steps or step):
            return step
    return 0


MOST_STEPS = 10**9  # what says more was not written by a trainer


def step_in_state(text: str | bytes) -> int | None:
    """The step that the content of a ``train_state.json`` says; None where it says none."""
    try:
        step = json.loads(text)["current_step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if type(step) is int and 0 < step <= MOST_STEPS else None
