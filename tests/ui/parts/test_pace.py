"""Ticks take turns; when they wait long for one, intervals grow, and shrink again later."""

import threading

from lib.ui.parts.pace import AT_EASE, BUSY, LATE_S, MEASURED_EVERY_S, ON_TIME_S, Pace, slower_text


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def busy_pace() -> tuple[Pace, Clock]:
    clock = Clock()
    return Pace(now=clock, cpu_s=lambda: 0.0), clock


def pass_seconds(pace: Pace, clock: Clock, seconds: int, wait_s: float) -> None:
    for _ in range(10 * seconds):
        clock.now_s += MEASURED_EVERY_S / 10 + 1e-9
        pace.note(wait_s)


def test_ticks_on_time_change_nothing() -> None:
    pace, clock = busy_pace()
    pass_seconds(pace, clock, 60, ON_TIME_S / 2)
    assert pace.interval_ms(2_000) == 2_000


def test_one_slow_tick_changes_nothing() -> None:
    pace, clock = busy_pace()
    pace.note(100 * LATE_S)
    pass_seconds(pace, clock, 2, 0)
    assert pace.interval_ms(2_000) == 2_000


def test_ticks_that_wait_come_less_and_less_often_but_at_least_every_ten_seconds() -> None:
    (pace, clock), seen = busy_pace(), []
    for _ in range(20):
        pass_seconds(pace, clock, 1, 2 * LATE_S)
        seen.append(pace.interval_ms(2_000))
    assert seen == sorted(seen)
    assert seen[0] == 3_000
    assert seen[4] == 10_000 == seen[-1]
    assert pace.interval_ms(300) == 1_500
    assert pace.interval_ms(10_000) == 30_000
    assert pace.interval_ms(60_000) == 60_000


def test_between_late_and_on_time_it_stays() -> None:
    pace, clock = busy_pace()
    pass_seconds(pace, clock, 3, 2 * LATE_S)
    stretched = pace.interval_ms(2_000)
    pass_seconds(pace, clock, 60, (LATE_S + ON_TIME_S) / 2)
    assert pace.interval_ms(2_000) == stretched > 2_000


def test_a_server_that_is_busy_is_asked_less_often_though_no_tick_waits() -> None:
    clock = Clock()
    pace = Pace(now=clock, cpu_s=lambda: (BUSY + 0.1) * clock.now_s)
    pass_seconds(pace, clock, 10, 0)
    assert pace.interval_ms(2_000) == 10_000


def test_a_server_that_is_half_busy_keeps_its_interval() -> None:
    clock = Clock()
    pace = Pace(now=clock, cpu_s=lambda: (BUSY + AT_EASE) / 2 * clock.now_s)
    pass_seconds(pace, clock, 3, 2 * LATE_S)
    stretched = pace.interval_ms(2_000)
    pass_seconds(pace, clock, 60, 0)
    assert pace.interval_ms(2_000) == stretched > 2_000


def test_a_server_that_has_caught_up_comes_back_to_the_usual_interval() -> None:
    pace, clock = busy_pace()
    pass_seconds(pace, clock, 20, 2 * LATE_S)
    pass_seconds(pace, clock, 10, 0)
    assert 2_000 < pace.interval_ms(2_000) < 10_000
    pass_seconds(pace, clock, 60, 0)
    assert pace.interval_ms(2_000) == 2_000


def test_only_as_many_ticks_run_as_there_are_turns_and_a_turn_ends_with_an_error() -> None:
    pace, lock, running, most = Pace(turns=2), threading.Lock(), 0, 0

    def tick() -> None:
        nonlocal running, most
        for _ in range(20):
            try:
                with pace.turn(longest_wait_s=60):
                    with lock:
                        running += 1
                        most = max(most, running)
                    threading.Event().wait(0.001)
                    with lock:
                        running -= 1
                    raise ValueError
            except ValueError:
                pass

    threads = [threading.Thread(target=tick) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (running, most) == (0, 2)


def test_a_tick_goes_on_without_a_turn_rather_than_wait_for_a_slow_source() -> None:
    pace = Pace(turns=1)
    with pace.turn(), pace.turn(longest_wait_s=0.01):
        pass
    # And the turn that it never had is not given back: there is still only one.
    with pace.turn():
        assert not pace._turns.acquire(blocking=False)


def test_the_page_says_it() -> None:
    assert slower_text(2_000, 2_000) == ""
    assert slower_text(6_500, 2_000) == "The server is busy: refreshed every 6.5 s instead of 2 s."
