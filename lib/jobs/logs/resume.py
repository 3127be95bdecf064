"""Where a resumed training went on: sd-scripts says it only in the state folder (``train_state.json``)."""

import json
from collections.abc import Iterable
from pathlib import Path

from lib.jobs.job import Progress

STATE_FILE = "train_state.json"


def resumed_step(folders: Iterable[Path], progress: Progress) -> int:
    """The step a run was resumed at, from the first folder that tells it; 0 when none does.

    Args:
        folders: Where the state may be.
        progress: What the resumed run has printed so far, counted from its own start.
    """
    for folder in folders:
        try:
            step = int(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["current_step"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        # The run may have overwritten the state it was resumed from with its own last one.
        if step > 0 and step + (progress.step or 0) <= (progress.total_steps or step):
            return step
    return 0
