"""Which settings a failure points at."""

import pytest

from lib.jobs.failures.causes import Cause
from lib.jobs.failures.suspect_settings import suspect_settings
from lib.jobs.job import Failure


@pytest.mark.parametrize(
    ("failure", "settings"),
    [
        (None, ()),
        (Failure(cause="unknown", message="It ended."), ()),
        (Failure(cause="a word of tomorrow", message="It ended."), ()),
        (Failure(cause=Cause.OUT_OF_MEMORY, message="The GPU ran out."), ("batch_size", "resolution", "network_dim")),
        (Failure(cause="unknown", message="--network-alpha and no_such_thing are wrong."), ("network_alpha",)),
        (Failure(cause=Cause.NAN_LOSS, message="learning_rate was 1."), ("learning_rate",)),
    ],
)
def test_the_usual_ones_of_the_cause_and_those_that_the_sentence_names(
    failure: Failure | None, settings: tuple[str, ...]
) -> None:
    assert suspect_settings(failure)[: len(settings) or None] == settings
