"""Waiting for something to happen, with one limit for all: what is slow on a busy machine has not failed."""

import time
from collections.abc import Callable

# Far more than anything takes on an idle machine, and less than pytest's own limit for a test.
PATIENCE_S = 240.0
PATIENCE_MS = 90_000


def wait_for(condition: Callable[[], object], what: str | Callable[[], str], *, poll_s: float = 0.01) -> None:
    """Wait until something is so; ``what`` says what is wrong if it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {PATIENCE_S:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(poll_s)
