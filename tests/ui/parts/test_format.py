"""Times, durations, sizes and numbers in words."""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import SourceUnavailable
from lib.jobs.job import Progress
from lib.jobs.words import size_text
from lib.ui.parts.format import (
    absolute_time,
    duration_text,
    epoch_text,
    loss_text,
    percent_text,
    relative_time,
    step_text,
)
from lib.ui.parts.notes import stale_text

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5445, "1h 30m 45s"),
        (0.4, "0s"),
        (59.9, "59s"),
        (60, "1m 0s"),
        (86_400 * 2 + 3 * 3600 + 240, "2d 3h 4m"),
        (None, "–"),
        (-1, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (524_288_000, "500 MB"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1536, "1.5 KB"),
        (151_000_000, "144 MB"),
        (2**40, "1 TB"),
        (None, "–"),
    ],
)
def test_size(size: int | None, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=2), "just now"),
        (timedelta(seconds=-2), "just now"),
        (timedelta(minutes=3), "3 minutes ago"),
        (timedelta(days=400), "1 year, 1 month ago"),
        (-timedelta(hours=2), "2 hours from now"),
    ],
)
def test_relative_time(ago: timedelta, text: str) -> None:
    assert relative_time(NOW - ago, NOW) == text


def test_an_unknown_time_is_said_to_be_unknown() -> None:
    assert relative_time(None, NOW) == absolute_time(None) == "unknown"


def test_absolute_time_is_in_the_zone_asked_for() -> None:
    assert absolute_time(NOW, ZoneInfo("Europe/Berlin")) == "23 Nov 2026, 13:00:00 CET"


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (0.08731, "0.0873"),
        (0.0, "0.0000"),
        (1.2e-5, "1.20e-05"),
        (123_456.0, "1.23e+05"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (None, "–"),
    ],
)
def test_loss(loss: float | None, text: str) -> None:
    assert loss_text(loss) == text


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_only_a_finished_training_shows_a_hundred_percent(fraction: float) -> None:
    assert percent_text(fraction) != "100%"


def test_progress_in_words() -> None:
    progress = Progress(epoch=12, total_epochs=50, step=480)
    assert (epoch_text(progress), step_text(progress), step_text(Progress())) == ("12/50", "480", "–")
    assert (percent_text(1.0), percent_text(None), percent_text(math.nan)) == ("100%", "–", "–")


def test_stale_data_says_why_and_how_old_it_is() -> None:
    text = stale_text(SourceUnavailable("The *source* is down."), NOW - timedelta(seconds=12), NOW)
    assert text == "Could not refresh: The \\*source\\* is down\\. Shown is the state of 12 s ago."
