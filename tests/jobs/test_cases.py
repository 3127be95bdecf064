"""Logs of many trainers, as they are and under launchers' prefixes; and logs of any kind."""

import io
import random
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lib.jobs.explain import Ended, NotALog, explain_log
from lib.jobs.logs.progress import ProgressParser
from tests.jobs.cases import CASES, Case, cases, explained, verdict_on
from tests.jobs.prefixes import FORMATS, PREFIXES, prefixed

NAMES = [case.file for case in cases()]
BY_NAME = {case.file: case for case in cases()}


def test_every_log_is_described() -> None:
    assert sorted(path.name for path in (CASES / "logs").iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_case_is_explained(name: str) -> None:
    case = BY_NAME[name]
    report = plainly(name)
    found = verdict_on(case, report)
    assert {"words", "steps", "loss"} <= found, report
    assert found & {"right", "likely"}, report
    if case.causes and "interrupted" not in case.causes:
        assert report["phase"]
        assert report["evidence"]
        assert report["hint"]
        assert not any("CalledProcessError" in line for line in report["evidence"])


KEYS = ("status", "cause", "step", "total_steps", "loss", "learning_rate", "phase", "message")


@settings(max_examples=60, deadline=None)
@given(case=st.sampled_from(cases()), prefix=st.sampled_from(PREFIXES))
@example(case=BY_NAME["own-behind-time-limit.log"], prefix="pylog2")
@example(case=BY_NAME["own-behind-kernel.log"], prefix="stern")
@example(case=BY_NAME["own-launcher-nccl-echo.log"], prefix="pylog3")
@example(case=BY_NAME["own-launcher-ray.log"], prefix="runpod")
@example(case=BY_NAME["own-progress-colab.log"], prefix="airflow")
@example(case=BY_NAME["unseen-set-flux-box.log"], prefix="quote")
def test_a_prefix_changes_nothing(case: Case, prefix: str) -> None:
    """Any launcher's before any log; all of both in tests/benchmarks/bench_explain.py."""
    if (log := prefixed(case, prefix)) is not None:
        plain, other = plainly(case.file), explained(case, log)
        assert {key: other[key] for key in KEYS} == {key: plain[key] for key in KEYS}


@cache
def plainly(name: str) -> dict[str, Any]:
    """What is said of a case as it is."""
    return explained(BY_NAME[name], BY_NAME[name].log)


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_cut_anywhere_comes_to_the_same(name: str) -> None:
    for log in (BY_NAME[name].log, prefixed(BY_NAME[name], "cri") or b""):
        whole = progress_of([log])
        for seed in range(2):
            cuts = sorted(random.Random(seed).choices(range(len(log) + 1), k=40))
            pieces = [log[a:b] for a, b in zip([0, *cuts], [*cuts, len(log)], strict=True)]
            assert repr(progress_of(pieces)) == repr(whole)  # no NaN equals another


def progress_of(pieces: list[bytes]) -> tuple[object, ...]:
    parser = ProgressParser()
    losses = []
    for piece in pieces:
        parser.feed(piece, None)
        losses += parser.drain_losses()
    losses += parser.drain_losses(is_over=True)
    return parser.progress, losses, parser.alarms


LINES = [line for case in cases() for line in case.log.split(b"\n")]
ANY_LOG = st.lists(
    st.one_of(
        st.binary(max_size=60), st.sampled_from(LINES), st.sampled_from([b"\n", b"\r", b"\0\xff\xfe", b'{"log":'])
    )
).map(b"\n".join)


@settings(max_examples=100, deadline=None)
@given(log=ANY_LOG, exit_code=st.none() | st.sampled_from([0, 1, -9, 137, 3221225477, -1073741819]))
def test_anything_is_explained_without_an_exception(log: bytes, exit_code: int | None) -> None:
    try:
        report = explain_log(io.BytesIO(log), Ended(exit_code=exit_code), None)
    except NotALog:
        return
    assert report["message"]
    assert "\n" not in report["message"]


@settings(max_examples=60, deadline=None)
@given(log=ANY_LOG, cuts=st.lists(st.integers(0, 4_000), max_size=6))
def test_any_stream_cut_anywhere_comes_to_the_same(log: bytes, cuts: list[int]) -> None:
    edges = sorted(min(cut, len(log)) for cut in cuts)
    pieces = [log[a:b] for a, b in zip([0, *edges], [*edges, len(log)], strict=True)]
    assert repr(progress_of(pieces)) == repr(progress_of([log]))


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(NAMES), prefix=st.sampled_from(PREFIXES), seed=st.integers(0, 9))
def test_a_prefix_that_begins_half_way_is_learned(name: str, prefix: str, seed: int) -> None:
    """Only that nothing is raised and no cause is made up: what stands before may be half of a traceback."""
    case = BY_NAME[name]
    lines = case.log.split(b"\n")
    start = random.Random(seed).randrange(len(lines))
    put = FORMATS[prefix].format(i=7, s=3, ms=4, ns=5).encode()
    report = explained(case, b"\n".join([*lines[:start], *(put + line for line in lines[start:])]))
    assert report["status"]
