"""Who changed what: one line of JSON per action of a signed-in person."""

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lib.errors import DashboardError, NotAllowed

log = logging.getLogger(__name__)

FILE_NAME = "audit.jsonl"
MAX_TEXT_LENGTH = 200
# What a source can be asked to change; everything else only reads.
CHANGES = frozenset(
    "create_job create_sweep cancel_job retry_job continue_job move_job delete_job annotate_job watch_job start_check "
    "datasets.create datasets.import_file datasets.set_caption datasets.delete_image datasets.delete_stray_captions "
    "datasets.delete configs.save configs.delete".split()
)


class AuditFile:
    """The file in the data folder. What cannot be written is logged: the action has been done by then."""

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = folder / FILE_NAME
        self._now = now

    def write(self, who: str, action: str, subjects: list[str], error: BaseException | None = None) -> None:
        """Add one line; captions, settings and other contents do not belong in it."""
        entry = {
            "at": self._now().isoformat(timespec="milliseconds"),
            "who": who or None,
            "action": action,
            "on": [each[:MAX_TEXT_LENGTH] for each in subjects],
            "outcome": _outcome(error),
        }
        line = json.dumps(entry, ensure_ascii=True) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write to a file that is opened for appending: lines of two processes do not mix.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as problem:
            log.error("The audit file cannot be written (%s): %s", problem.strerror, line.strip())


class Audited:
    """A source, or a part of it, whose changes are written down under somebody's name."""

    def __init__(self, part: Any, file: AuditFile, who: str, prefix: str = "") -> None:
        self._part, self._file, self._who, self._prefix = part, file, who, prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        action = f"{self._prefix}{name}"
        if action in ("datasets", "configs"):
            return Audited(found, self._file, self._who, f"{name}.")
        return self._written(found, action) if action in CHANGES else found

    def _written(self, change: Callable[..., Any], action: str) -> Callable[..., Any]:
        def changing(*args: Any, **kwargs: Any) -> Any:
            try:
                result = change(*args, **kwargs)
            except BaseException as error:
                self._file.write(self._who, action, _subjects(action, args), error)
                raise
            self._file.write(self._who, action, _subjects(action, args, result))
            return result

        return changing


def _subjects(action: str, args: tuple[Any, ...], result: object = None) -> list[str]:
    """Ids and names of what an action is about: never a caption, which is the third argument of its action."""
    # Settings have no name of their own: what they are about is the trainer.
    known = [
        each if isinstance(each, str) else str(getattr(each, "name", getattr(each, "trainer", ""))) for each in args[:2]
    ]
    made = result if isinstance(result, list | tuple) else [result]
    return [each for each in dict.fromkeys([*known, *(str(getattr(one, "id", "")) for one in made)]) if each]


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "done"
    if isinstance(error, NotAllowed):
        return "refused"
    return f"failed: {error if isinstance(error, DashboardError) else type(error).__name__}"[:MAX_TEXT_LENGTH]
