"""When the server is behind, intervals grow; when it has caught up, they shrink again."""

import asyncio
import contextlib
import time

from lib.ui.parts.pace import LATE_S, ON_TIME_S, SAMPLES, Pace, slower_text


def pass_seconds(pace: Pace, seconds: int, late_s: float) -> None:
    for _ in range(seconds * SAMPLES):
        pace.note(late_s)


def test_a_server_on_time_changes_nothing() -> None:
    pace = Pace()
    pass_seconds(pace, 60, ON_TIME_S / 2)
    assert pace.interval_ms(2_000) == 2_000


def test_one_slow_moment_changes_nothing() -> None:
    pace = Pace()
    pace.note(SAMPLES * LATE_S)
    pass_seconds(pace, 1, 0)
    assert pace.interval_ms(2_000) == 2_000


def test_a_late_server_is_asked_less_and_less_often_but_at_least_every_ten_seconds() -> None:
    pace, seen = Pace(), []
    for _ in range(20):
        pass_seconds(pace, 1, 2 * LATE_S)
        seen.append(pace.interval_ms(2_000))
    assert seen == sorted(seen)
    assert seen[0] == 3_000
    assert seen[7] == 10_000 == seen[-1]
    assert pace.interval_ms(300) == 1_500
    assert pace.interval_ms(60_000) == 60_000


def test_between_late_and_on_time_it_stays() -> None:
    pace = Pace()
    pass_seconds(pace, 3, 2 * LATE_S)
    stretched = pace.interval_ms(2_000)
    pass_seconds(pace, 60, (LATE_S + ON_TIME_S) / 2)
    assert pace.interval_ms(2_000) == stretched > 2_000


def test_a_server_that_has_caught_up_comes_back_to_the_usual_interval() -> None:
    pace = Pace()
    pass_seconds(pace, 20, 2 * LATE_S)
    pass_seconds(pace, 10, 0)
    assert 2_000 < pace.interval_ms(2_000) < 10_000
    pass_seconds(pace, 60, 0)
    assert pace.interval_ms(2_000) == 2_000


def test_a_blocked_event_loop_is_noticed() -> None:
    async def block(pace: Pace) -> None:
        keeping = asyncio.create_task(pace.keep(every_s=0.001))
        blocks = 0
        while pace.interval_ms(2_000) == 2_000 and (blocks := blocks + 1) < 100:
            await asyncio.sleep(0)
            time.sleep(LATE_S)
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping

    pace = Pace()
    with asyncio.Runner() as runner:
        runner.run(block(pace))
    assert pace.interval_ms(2_000) > 2_000


def test_the_page_says_it() -> None:
    assert slower_text(2_000, 2_000) == ""
    assert slower_text(6_500, 2_000) == "The server is busy: refreshed every 6.5 s instead of 2 s."
