"""What the failure panel says of where a training broke."""

import pytest

from lib.jobs.job import Failure
from lib.ui.monitor.failure import place_texts


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


def test_without_a_failure_nothing_is_said() -> None:
    assert place_texts(None) == []
