"""Reads that outlive a failure: the last good value stays, and a source that is down is not asked at every tick."""

from lib.errors import SourceUnavailable
from lib.sources.reads import LastGood


def test_a_failure_is_asked_again_once_per_moment_and_the_last_good_value_stays() -> None:
    clock, asked, is_down = [0.0], [], [False]

    def ask() -> str:
        asked.append(clock[0])
        if is_down[0]:
            raise SourceUnavailable("down")
        return f"answer {len(asked)}"

    readings = LastGood(ask_again_after_s=1.8, clock=lambda: clock[0])
    good = readings.read("job", ask)
    is_down[0] = True
    for second in range(1, 10):
        clock[0] = float(second)
        reading = readings.read("job", ask)
        assert (reading.value, reading.read_at, str(reading.problem)) == ("answer 1", good.read_at, "down")
    assert asked == [0.0, 1.0, 3.0, 5.0, 7.0, 9.0]
    is_down[0] = False
    readings.forget_failures()
    assert readings.read("job", ask).problem is None
