"""What a trainer announces in lines of its own: totals, epochs, the name of the job, what it is busy with."""

from lib.jobs.job import Stage
from lib.jobs.logs.trainer_words import (
    COMMAND_STEP,
    EPOCH_INCREMENTED,
    EPOCH_LINE,
    HEADER_NUMBER,
    HEADER_WORD,
    HEADERS,
    JOB_NAME,
    LOADED,
    OPENING,
    RESUME_STATE,
    SKIPPING,
    STAGE_WORD,
    STAGES,
    STEP_IGNORED,
    STEP_OF_LOADED,
    TRAIN_STATE,
)
from lib.jobs.logs.training_run import TrainingRun


def is_opening(text: bytes) -> bool:
    """Whether a line is the first that a trainer says."""
    may_open = b"unning " in text or b"prepare t" in text or b"Using D" in text or b".py " in text
    return may_open and OPENING.match(text, 0, 400) is not None


def note_header(run: TrainingRun, text: bytes) -> None:
    """Note the total that a line announces, or what the job is called."""
    match = HEADER_NUMBER.search(text, max(0, len(text) - 60)) if text.rstrip()[-1:].isdigit() else None
    if match and (words := HEADER_WORD.findall(text)):
        run.numbers[HEADERS[words[-1]]] = int(match[1].replace(b",", b""))
        return
    if b"unning " in text:
        run.is_announced |= b"Running training" in text
        if match := JOB_NAME.search(text):
            run.job_name = match[1]
    elif b"skipping" in text and SKIPPING.search(text):
        run.skips = True


def note_loaded(run: TrainingRun, text: bytes) -> None:
    """Note what a line says of the state or file that the trainer goes on from."""
    if not (b"from" in text or b"FROM" in text):
        return
    if STEP_IGNORED in text:
        run.resumed_step, run.is_told_step = None, True
    if match := LOADED.search(text):
        run.resumed_from = match[1].decode("utf-8", "replace")
    if match := STEP_OF_LOADED.search(text):
        run.resumed_step = int(match[1] or match[2])


def note_state(run: TrainingRun, message: bytes) -> None:
    """Note what sd-scripts and musubi-tuner say of their state, in a message that may be wrapped over lines."""
    if match := RESUME_STATE.search(message):
        run.resumed_from = match[1].decode("utf-8", "replace").strip()
    if match := TRAIN_STATE.search(message):
        run.resumed_step = int(match[1])
        run.resume_from(run.resumed_step)


def note_epoch(run: TrainingRun, text: bytes) -> None:
    """Note the epoch that a line says has begun."""
    if match := EPOCH_LINE.match(text):
        run.epoch_line = max(run.epoch_line, int(match[1]))
        run.numbers["epochs"] = int(match[2])
        run.note_epoch_of_resume()
    elif match := EPOCH_INCREMENTED.search(text):
        run.epoch_line = max(run.epoch_line, int(match[1] or match[2]))


def stage_before_steps(text: bytes) -> Stage | None:
    """What a line before the first step says that the trainer is busy with; None when it says nothing of it."""
    if step := COMMAND_STEP.match(text):
        return Stage.CACHING_LATENTS if b"cache" in step[1] else Stage.LOADING_MODEL
    return Stage.CACHING_LATENTS if b"aching latents" in text else None


def stage_between_steps(text: bytes) -> Stage | None:
    """The same of a line after the first step."""
    if b"model saved." in text:
        return Stage.FINISHED
    may_tell = b"aving" in text or b"ampl" in text or b"saved in" in text or b"ploading to " in text
    if not may_tell and b"Running val" not in text and b"Generating" not in text:
        return None
    words = STAGE_WORD.search(text)
    return STAGES[words[0]] if words else None
