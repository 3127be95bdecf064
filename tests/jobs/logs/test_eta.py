"""StepPace: plain steps and pauses told apart."""

from dataclasses import replace

import pytest

from lib.jobs.job import Progress
from lib.jobs.logs.eta import StepPace, expected_pauses, expected_s, followed_s
from lib.jobs.training_settings import TrainingSettings
from tests.benchmarks.bench_eta import MADE_UP, errors, made_up_errors
from tests.jobs.recordings import RECORDINGS, meta


def paced(*seconds: float) -> tuple[StepPace, float]:
    """A pace after steps of these lengths, and the time."""
    pace, at = StepPace(), 1_000.0
    pace.steps_done(0, at)
    for step, length in enumerate(seconds, 1):
        at += length
        pace.steps_done(step, at)
    return pace, at


def test_unknown_for_the_first_five_steps() -> None:
    pace, at = paced(1, 1, 1, 1)
    assert (pace.eta_s(100, at), pace.seconds_per_step) == (None, None)
    pace, at = paced(1, 1, 1, 1, 1)
    assert (pace.eta_s(100, at), pace.seconds_per_step) == (95.0, 1.0)


def test_known_pauses_are_counted_when_they_are_due_and_do_not_move_the_pace() -> None:
    pace, at = StepPace(), 0.0
    pace.steps_done(0, at)
    for step in range(1, 26):
        at += 1.0
        pace.steps_done(step, at)
        if step % 10 == 0:
            pace.paused("sampling")
            at += 7.0
    assert pace.seconds_per_step == 1.0
    # 75 steps, and samples after 30, 40, … 90; those after the last step are not part of the training.
    assert pace.eta_s(100, at) == pytest.approx(75 + 7 * 7)


def sampled(steps: int, every: int, cost_s: float, **known: object) -> tuple[StepPace, float]:
    """A pace after steps of one second, with samples every so many of them."""
    pace, at = StepPace(**known), 0.0  # type: ignore[arg-type]
    pace.steps_done(0, at)
    for step in range(1, steps + 1):
        at += 1.0
        pace.steps_done(step, at)
        if step % every == 0:
            pace.paused("sampling")
            at += cost_s
    return pace, at


def test_the_cost_of_pauses_is_known_from_a_former_run_before_the_first_one() -> None:
    former, _ = sampled(99, 10, 7.0)
    assert former.measured_pauses == (("sampling", 10, 7.0),)
    progress = Progress(total_steps=100, total_epochs=10, pauses=former.measured_pauses)
    settings = TrainingSettings(epochs=20, sample_prompts=("a fox",))
    expected = expected_pauses(settings, progress)
    pace, at = sampled(6, 10, 7.0, expected=expected)
    # Half as many steps per epoch: samples after 5, 10, … 95 of 100.
    assert pace.eta_s(100, at) == pytest.approx(94 + 18 * 7)
    pace, at = sampled(5, 5, 0.0, expected=expected)
    assert pace.eta_s(100, at) == pytest.approx(95 + 18 * 7 + 7), "the first one has begun"
    by_steps = replace(settings, sample_every_steps=10)
    pace, at = sampled(6, 10, 7.0, expected=expected_pauses(by_steps, progress))
    assert pace.eta_s(100, at) == pytest.approx(94 + 9 * 7)
    assert not expected_pauses(replace(settings, sample_prompts=()), progress)
    assert not expected_pauses(settings, None)


def test_counts_down_during_a_pause_whose_cost_is_known() -> None:
    pace, at = paced(*[1.0] * 10)
    pace.paused("saving")
    pace.steps_done(11, at + 6.0)
    for step in range(12, 21):
        pace.steps_done(step, at + 6.0 + step - 11)
    at += 15.0
    pace.paused("saving")
    assert pace.eta_s(25, at) == pytest.approx(5 + 5)
    assert pace.eta_s(25, at + 4) == pytest.approx(5 + 5 - 4)
    assert pace.eta_s(25, at + 60) == pytest.approx(4)


def test_a_rhythm_that_turns_out_wrong_is_given_up() -> None:
    pace, at = paced(*[1.0] * 8)
    pace.paused("sampling")
    at += 11.0
    pace.steps_done(9, at)
    assert pace.eta_s(40, at) == pytest.approx(31 + 3 * 10)
    for step in range(10, 18):
        at += 1.0
        pace.steps_done(step, at)
    # Due at 16 and not there: every 16 steps at best, so after 24.
    assert pace.eta_s(40, at) == pytest.approx(23 + 10)


def test_a_clock_set_back_and_steps_without_time_do_no_harm() -> None:
    pace, at = paced(*[2.0] * 6)
    pace.steps_done(7, at - 3_600)
    pace.steps_done(8, at - 3_600)
    pace.steps_done(9, at - 3_598)
    assert pace.seconds_per_step == 2.0
    assert pace.eta_s(19, at - 3_598) == pytest.approx(20.0)
    pace.steps_done(3, at)
    assert pace.eta_s(19, at - 3_598) == pytest.approx(20.0)


def test_many_steps_at_once_are_shared_out() -> None:
    pace, at = StepPace(), 0.0
    pace.steps_done(0, at)
    for step in range(50, 1_001, 50):
        at += 2.0
        pace.steps_done(step, at)
    assert pace.seconds_per_step == pytest.approx(0.04)
    assert pace.eta_s(2_000, at) == pytest.approx(40.0)


def test_a_hiccup_in_a_steady_run_hardly_counts_and_a_new_pace_does_at_once() -> None:
    assert expected_s([1.0] * 19 + [100.0]) < 1.1
    assert expected_s([1.0, 1.01, 0.99] * 5 + [100.0, 1.0]) < 1.05
    assert expected_s([1.0] * 17 + [2.0, 2.1, 2.2]) == 2.2
    assert expected_s([1.0] * 17 + [0.5, 0.4, 0.5]) == 0.5
    assert expected_s([3.0]) == pytest.approx(3.0)


def test_a_slow_step_counts_more_where_steps_differ_or_few_are_known() -> None:
    steady, uneven = [1.0] * 19, [0.7, 1.0, 1.4] * 6 + [1.0]
    assert expected_s([*steady, 3.0]) < 1.1
    assert 1.5 < followed_s([*uneven, 3.0]) < 1.8
    assert 1.5 < expected_s([*steady[:5], 3.0]) < 1.8
    assert expected_s([8.0, *steady]) < 1.1


def test_another_pace_late_in_a_long_run_is_seen_soon() -> None:
    pace, at = StepPace(), 0.0
    for step in range(2_031):
        pace.steps_done(step, at)
        at += 1.0 if step < 2_000 else 5.0
    assert pace.seconds_per_step is not None
    assert pace.seconds_per_step > 4.5
    assert pace.eta_s(4_000, at - 5.0) == pytest.approx(1_970 * 5.0, rel=0.1)


def test_the_rhythm_of_pauses_counts_from_the_start_also_after_a_takeover() -> None:
    pace, at = StepPace(known_s=1.0), 0.0
    pace.steps_done_unseen(90)
    for step in range(91, 103):
        at += 1.0
        if step == 101:
            pace.paused("saving")
            at += 30.0
        pace.steps_done(step, at)
    assert pace.eta_s(1_000, at) == pytest.approx(898 + 8 * 30, rel=0.05)


def test_where_steps_differ_regularly_their_mean_counts() -> None:
    assert expected_s([0.6, 0.6, 0.6, 2.2] * 5) == pytest.approx(1.0)
    assert expected_s([0.6, 2.2, 0.6, 0.6] * 5) == pytest.approx(1.0)
    assert expected_s([0.5, 1.5] * 10) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", MADE_UP)
def test_the_eta_of_made_up_runs_is_right_within_a_fifth(kind: str) -> None:
    ours, tqdm, largest_jump = made_up_errors(kind)
    assert ours <= 0.2
    assert ours <= tqdm + 0.02
    assert largest_jump < 0.8


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_eta_of_recorded_runs_is_right_within_a_fifth(name: str) -> None:
    """The median error over the second half; the benchmark prints the table."""
    if found := errors(name):
        ours, tqdm, judged = found
        assert ours <= min(0.2, tqdm)
        assert judged >= 5
    else:
        assert meta(name)["exit_code"] != 0 or "missing-dataset" in name
