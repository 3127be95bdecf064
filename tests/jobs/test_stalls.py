import pytest

from lib.jobs.job import Progress, Stage
from lib.jobs.logs.progress import ProgressParser
from lib.jobs.stalls import is_stalled_at_start, usual_start_s


@pytest.mark.parametrize(
    ("stage", "step", "quiet_s", "expected"),
    [
        (Stage.TRAINING, 0, 301.0, True),
        (Stage.TRAINING, 0, 299.0, False),
        (Stage.TRAINING, None, 301.0, True),
        (Stage.TRAINING, 1, 9_999.0, False),
        (Stage.CACHING_LATENTS, None, 1_700.0, False),
        (Stage.CACHING_LATENTS, None, 1_900.0, True),
        (Stage.LOADING_MODEL, None, 901.0, True),
        (Stage.SAVING, 0, 9_999.0, False),
    ],
)
def test_each_phase_before_the_first_step_has_its_usual_length(
    stage: Stage, step: int | None, quiet_s: float, expected: bool
) -> None:
    assert is_stalled_at_start(Progress(stage=stage.value, step=step), quiet_s) is expected


def test_a_stage_that_nobody_knows_is_not_judged() -> None:
    assert usual_start_s(Progress(stage="compiling shaders")) is None


def test_a_trainer_that_prints_without_doing_a_step_is_an_alarm_until_it_does_one() -> None:
    parser = ProgressParser()
    parser.feed(b"steps:   0%|          | 0/90 [00:00<?, ?it/s]\n", 100.0)
    parser.feed(b"waiting for the lock\n", 400.0)
    assert parser.alarms == ()
    parser.feed(b"waiting for the lock\n", 401.0)
    assert parser.alarms == ("stalled_at_start",)
    parser.feed(b"steps:   1%|          | 1/90 [05:02<1:00, 1.0it/s, avr_loss=0.5]\n", 402.0)
    assert parser.alarms == ()
