"""Takes in runs that somebody started elsewhere."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from lib.embedded.store.elsewhere import Outsider
from lib.embedded.store.jobs import Store
from lib.embedded.watching.named import named_place
from lib.embedded.watching.runs import FoundRun, run_of_log, runs_below, within
from lib.errors import InvalidRequest
from lib.jobs.job import Origin
from lib.jobs.training_settings import MAX_JOB_NAME_LENGTH, job_name_problem

NOTHING_TO_WATCH = (
    "No folder may be watched from here. Set LORA_WATCH_DIRS to the folders of your runs, or name a run in a terminal "
    "of this machine with uv run python -m lib.watch."
)
# Of a run that has been quiet for longer when it is taken in, nobody wants to be told that it ended.
OLD_S = 3_600.0


class Watching:
    """Finds runs and takes them in as jobs."""

    def __init__(self, store: Store, data_dir: Path, now: Callable[[], datetime]) -> None:
        self._store = store
        self._data_dir = data_dir
        self._now = now

    def take_in(self, text: str, name: str, output: str, roots: Sequence[Path] | None) -> list[str]:
        """Ids of the jobs, newest run first. Raises InvalidRequest."""
        place = named_place(text, roots, self._data_dir)
        if name.strip() and (problem := job_name_problem(name)):
            raise InvalidRequest(problem, fields={"name": problem})
        folder = named_place(output, roots, self._data_dir) if output else None
        if folder is not None and not folder.is_dir():
            raise InvalidRequest(f"{folder} is no folder.")
        try:
            found = runs_below(place) if place.is_dir() else [run_of_log(place, folder)]
        except OSError as error:
            raise InvalidRequest(f"{place} cannot be read: {error.strerror or error}.") from error
        if not found:
            sentence = f"Nothing in {place} looks like a training: no LoRA file, no samples, no log."
            raise InvalidRequest(sentence, hint="Name the folder or the log of a run.")
        given = name.strip() if len(found) == 1 else ""
        # The oldest first: those taken in later are newer.
        ids = [self._store.elsewhere.take_in(self._outsider(run, given, roots))[0] for run in reversed(found)]
        return ids[::-1]

    def _outsider(self, run: FoundRun, name: str, roots: Sequence[Path] | None) -> Outsider:
        shown = "".join(character if character.isprintable() else " " for character in run.name)
        return Outsider(
            name=name or shown[:MAX_JOB_NAME_LENGTH].strip() or "watched run",
            origin=Origin.WATCHED,
            place=within(run.place, roots),
            started_at=min(run.first_at, self._now().timestamp()),
            last_sign_at=run.last_at,
            notify=time.time() - run.last_at < OLD_S,
        )
