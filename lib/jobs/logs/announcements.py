"""What a trainer announces before its first step, in lines of its own: totals, epochs, the name of the job."""

from lib.jobs.logs.trainer_words import (
    EPOCH_INCREMENTED,
    EPOCH_LINE,
    HEADER_NUMBER,
    HEADER_WORD,
    HEADERS,
    JOB_NAME,
    OPENING,
    SKIPPING,
)
from lib.jobs.logs.training_run import TrainingRun

_OPENING_WORDS = (b"unning ", b"prepare t", b"Using D", b".py ")


def is_opening(text: bytes) -> bool:
    """Whether a line is the first that a trainer says."""
    return any(word in text for word in _OPENING_WORDS) and OPENING.match(text, 0, 400) is not None


def note_header(run: TrainingRun, text: bytes) -> None:
    """Note the total that a line announces, or what the job is called."""
    if not (b"steps" in text or b"um " in text or b"rain" in text or b"unning job" in text):
        return
    if (words := HEADER_WORD.search(text)) and (match := HEADER_NUMBER.search(text, max(0, len(text) - 60))):
        run.numbers[HEADERS[words[0]]] = int(match[1].replace(b",", b""))
        return
    run.is_announced |= b"Running training" in text
    if match := JOB_NAME.search(text):
        run.job_name = match[1]
    if SKIPPING.search(text):
        run.skips = True


def note_epoch(run: TrainingRun, text: bytes) -> None:
    """Note the epoch that a line says has begun."""
    if match := EPOCH_LINE.match(text):
        run.epoch_line = max(run.epoch_line, int(match[1]))
        run.numbers["epochs"] = int(match[2])
    elif match := EPOCH_INCREMENTED.search(text):
        run.epoch_line = max(run.epoch_line, int(match[1] or match[2]))
