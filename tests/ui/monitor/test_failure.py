"""What the failure panel says of where a training broke."""

from dataclasses import replace

import pytest

from lib.jobs.failures.causes import CONTINUED_HINTS, HINTS, Cause
from lib.jobs.job import Failure
from lib.ui.monitor.failure import hint_text, place_texts


@pytest.mark.parametrize(
    ("phase", "raised_by", "texts"),
    [
        ("step 12", "torch", ["Broke at step 12", "Raised by torch"]),
        ("loading", "train.py:7", ["Broke while loading", "Raised by train.py:7"]),
        ("after the last step", "", ["Broke after the last step"]),
        ("", "", []),
    ],
)
def test_where_it_broke_and_who_raised_it(phase: str, raised_by: str, texts: list[str]) -> None:
    failure = Failure(cause="unknown", message="", phase=phase, raised_by=raised_by)
    said = place_texts(failure)
    assert len(said) == len(texts)
    assert all(part in text for part, text in zip(texts, said, strict=True))


def test_what_is_lost_and_left_a_state_need_not_begin_anew() -> None:
    lost = Failure(cause="worker_lost", message="", hint=HINTS[Cause.WORKER_LOST])
    assert hint_text(lost, has_state=True) == "Its log and files are kept. Continue the training from its newest state."
    assert hint_text(lost, has_state=False).endswith("Retry the training.")
    special = replace(lost, hint="The folder is gone. Retry the training.")
    assert hint_text(special, has_state=True) == special.hint
    assert hint_text(replace(lost, cause="killed"), has_state=True) == lost.hint
    assert CONTINUED_HINTS.keys() <= HINTS.keys()


def test_without_a_failure_nothing_is_said() -> None:
    assert place_texts(None) == []
    assert hint_text(None, has_state=True) == ""
