"""Which training settings a failure points at: those to look at first before another try."""

import re

from lib.jobs.failures.causes import Cause
from lib.jobs.job import Failure
from lib.jobs.training_settings import SETTINGS

# Which settings most often lead to a cause; those that a source does not have are left out.
SUSPECTS = {
    Cause.OUT_OF_MEMORY: ("batch_size", "resolution", "network_dim", "gradient_checkpointing"),
    Cause.NAN_LOSS: ("learning_rate", "mixed_precision"),
    Cause.PRECISION: ("mixed_precision",),
    Cause.TIMEOUT: ("epochs", "repeats"),
    Cause.MISSING_MODEL: ("base_model",),
    Cause.BROKEN_MODEL: ("base_model",),
    Cause.BAD_ARGUMENT: ("extra",),
}


def suspect_settings(failure: Failure | None) -> tuple[str, ...]:
    """The settings to look at first: those that the cause is often due to, and those that the sentence names."""
    if failure is None:
        return ()
    usual = SUSPECTS.get(Cause(failure.cause), ()) if failure.cause in set(Cause) else ()
    named = (word.replace("-", "_") for word in re.findall(r"[a-z]+(?:[-_][a-z]+)+", failure.message))
    return tuple(dict.fromkeys(name for name in (*usual, *named) if name in SETTINGS))
