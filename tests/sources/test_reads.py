"""The cache: one call for many, short-lived errors, the last good value behind them, and what forgetting reaches."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from lib.errors import JobNotFound, SourceUnavailable
from lib.sources.reads import Reads


class Source:
    """Answers with how often it was asked, or fails; both clocks of ``reads`` stand still until they are moved."""

    def __init__(self, **options: float) -> None:
        self.at_s = 0.0
        self.asked: list[float] = []
        self.error: Exception | None = None
        self.reads = Reads(
            clock=lambda: self.at_s,
            now=lambda: datetime.fromtimestamp(self.at_s, UTC),
            **options,  # type: ignore[arg-type]
        )

    def ask(self) -> int:
        self.asked.append(self.at_s)
        if self.error is not None:
            raise self.error
        return len(self.asked)

    def read(self, key: str = "a", ttl_s: float = 10, version: object = None) -> int:
        return self.reads.read(key, self.ask, ttl_s=ttl_s, version=version)


def test_a_value_is_kept_for_its_time_per_key_and_version() -> None:
    source = Source()
    assert [source.read(), source.read(), source.read("b"), source.read("b")] == [1, 1, 2, 2]
    source.at_s = 9.9
    assert source.read() == 1
    assert source.read(version="ended") == 3
    assert source.read(version="ended") == 3
    source.at_s = 19.9
    assert source.read(version="ended") == 4


def test_a_failure_is_asked_again_once_per_moment_and_the_last_good_value_stays() -> None:
    source = Source(error_hold_s=1.8)
    good = source.reads.latest("job", source.ask, ttl_s=0.5)
    assert good.problem is None
    source.error = SourceUnavailable("down")
    for second in range(1, 10):
        source.at_s = float(second)
        reading = source.reads.latest("job", source.ask, ttl_s=0.5)
        assert (reading.value, reading.read_at, str(reading.problem)) == (1, good.read_at, "down")
    assert source.asked == [0.0, 1.0, 3.0, 5.0, 7.0, 9.0]
    source.error = None
    source.reads.forget()
    assert source.reads.latest("job", source.ask, ttl_s=0.5).problem is None


def test_an_error_is_never_kept_as_long_as_a_value() -> None:
    source = Source(error_hold_s=1.8)
    source.error = SourceUnavailable("down")
    for _ in range(3):
        with pytest.raises(SourceUnavailable):
            source.read(ttl_s=30)
    assert source.asked == [0.0]
    source.error, source.at_s = None, 1.9
    assert source.read(ttl_s=30) == 2


def test_forgetting_asks_again_at_once_and_keeps_the_last_good_value() -> None:
    source = Source()
    assert source.read() == 1
    source.reads.forget()
    source.error = SourceUnavailable("down")
    reading = source.reads.latest("a", source.ask, ttl_s=10)
    assert (reading.value, str(reading.problem)) == (1, "down")
    assert source.reads.knows("a")


def test_a_job_that_is_gone_has_no_last_good_value() -> None:
    source = Source(error_hold_s=1)
    assert source.read(ttl_s=0) == 1
    source.error = JobNotFound("a")
    with pytest.raises(JobNotFound):
        source.reads.latest("a", source.ask, ttl_s=0)
    assert not source.reads.knows("a")
    source.error, source.at_s = SourceUnavailable("down"), 2
    with pytest.raises(SourceUnavailable):
        source.reads.latest("a", source.ask, ttl_s=0)


def test_an_error_nobody_expected_is_not_shared() -> None:
    source = Source()
    source.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        source.read()
    source.error = None
    assert [source.read(), source.read()] == [2, 2]


def test_the_least_recently_used_go_first() -> None:
    source = Source(max_entries=2)
    for key in "abab":
        source.read(key)
    source.read("b")
    source.read("c")
    assert [source.reads.knows(key) for key in "abc"] == [False, True, True]


class Slow:
    """A source that holds every call until it is released; real threads and a real clock."""

    def __init__(self, *, max_entries: int = 300) -> None:
        self.reads, self.calls = Reads(max_entries=max_entries), 0
        self.began, self.release = threading.Semaphore(0), threading.Semaphore(0)
        self.results: list[object] = []
        self.error: SourceUnavailable | None = None

    def ask(self) -> int:
        self.calls += 1
        call = self.calls
        self.began.release()
        assert self.release.acquire(timeout=20)
        if self.error is not None:
            raise self.error
        return call

    def look(self, key: str = "a") -> None:
        try:
            self.results.append(self.reads.read(key, self.ask, ttl_s=0))
        except SourceUnavailable as error:
            self.results.append(str(error))


def started(target: Callable[[], None], count: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize(("error", "outcome"), [(None, 1), (SourceUnavailable("down"), "down")])
def test_those_who_wait_share_the_outcome(error: SourceUnavailable | None, outcome: object) -> None:
    slow = Slow()
    slow.error = error
    waiting: list[float] = []
    clock = slow.reads._clock
    slow.reads._clock = lambda: waiting.append(clock()) or waiting[-1]  # type: ignore[func-returns-value]
    first = started(slow.look, 1)
    assert slow.began.acquire(timeout=20)
    so_far = len(waiting)
    rest = started(slow.look, 49)
    while len(waiting) < so_far + 49:  # every one of them has come
        threading.Event().wait(0.001)
    slow.release.release()
    for thread in [*first, *rest]:
        thread.join(20)
    assert (slow.calls, slow.results) == (1, [outcome] * 50)


def test_whoever_comes_after_a_forget_does_not_get_an_older_answer() -> None:
    slow = Slow()
    first = started(slow.look, 1)
    assert slow.began.acquire(timeout=20)
    slow.reads.forget()
    second = started(slow.look, 1)
    slow.release.release()
    assert slow.began.acquire(timeout=20)
    slow.release.release()
    for thread in [*first, *second]:
        thread.join(20)
    assert sorted(map(str, slow.results)) == ["1", "2"]


def test_a_key_that_is_being_read_is_not_dropped() -> None:
    slow = Slow(max_entries=1)
    readers = []
    for key in "ab":
        readers += started(lambda key=key: slow.look(key), 1)  # type: ignore[misc]
        assert slow.began.acquire(timeout=20)
    asked: list[float] = []
    clock = slow.reads._clock
    slow.reads._clock = lambda: asked.append(clock()) or asked[-1]  # type: ignore[func-returns-value]
    readers += started(lambda: slow.look("b"), 1)
    while not asked:
        threading.Event().wait(0.001)
    slow.release.release(2)
    for thread in readers:
        thread.join(20)
    assert (slow.calls, sorted(map(str, slow.results))) == (2, ["1", "2", "2"])
