"""Where a resumed training continued: sd-scripts says so only in the state folder (``train_state.json``)."""

import json
from collections.abc import Iterable

from lib.jobs.job import Progress

STATE_FILE = "train_state.json"


def resumed_step(states: Iterable[str], progress: Progress) -> int:
    """The step a run was resumed at, from the first text that tells; 0 when none does.

    Args:
        states: Contents of the ``train_state.json`` files that may be the right one.
        progress: What the resumed run has printed so far, counted from its own start.
    """
    for text in states:
        try:
            step = int(json.loads(text)["current_step"])
        except (ValueError, KeyError, TypeError):
            continue
        # The run may have overwritten the state it was resumed from with its own last one.
        if step > 0 and step + (progress.step or 0) <= (progress.total_steps or step):
            return step
    return 0
