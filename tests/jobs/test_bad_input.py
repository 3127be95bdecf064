"""Logs that no trainer meant to write: bounded in time and memory, and never an exception."""

import io
import time
import tracemalloc
from collections.abc import Callable

import pytest

from lib.jobs.explain import Ended, NotALog, explain_log

MB = 1_000_000
LOGS: dict[str, Callable[[], bytes]] = {
    "one line": lambda: b"x" * 50 * MB,
    "one line of a bar": lambda: b"\rsteps:   1%|x| 1/90 [00:01<00:09, 1.0it/s, avr_loss=0.5]" * 8_000,
    "one JSON object": lambda: b'{"log": "' + b"y" * 10 * MB + b'"}\n',
    "a million short lines": lambda: b"x\n" * MB,
    "percent signs": lambda: b"%" * 5 * MB,
    "brackets": lambda: b"[" * 5 * MB,
    "open escapes": lambda: b"\x1b[" * 500_000,
    "prefixes of two launchers": lambda: b"[rank0]: a word\n2025-03-16T19:20:01Z another\n" * 30_000,
    "a prefix from the middle on": lambda: b"plain words\n" * 100_000 + b"2025-03-16T19:20:01Z plain words\n" * 100_000,
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_of_any_shape_costs_bounded_time(name: str) -> None:
    data = LOGS[name]()
    start = time.process_time()
    report = explain_log(io.BytesIO(data), Ended(exit_code=1), None)
    assert time.process_time() - start < 8
    assert len(str(report)) < 100_000


def test_a_long_line_is_not_kept_whole() -> None:
    data = io.BytesIO(b"x" * 20 * MB)
    tracemalloc.start()
    try:
        explain_log(data, Ended(exit_code=1), None)
        assert tracemalloc.get_traced_memory()[1] < 20 * MB
    finally:
        tracemalloc.stop()


def test_binary_data_is_refused_in_a_sentence() -> None:
    with pytest.raises(NotALog, match="binary data"):
        explain_log(io.BytesIO(bytes(range(256)) * 2_000), Ended(), None)
