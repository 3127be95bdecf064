"""Logs of many trainers, as they are and under launchers' prefixes; and logs of any kind."""

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.jobs.explain import Ended, NotALog, explain_log
from lib.jobs.logs.progress import ProgressParser
from tests.jobs.cases import CASES, cases, explained, verdict_on
from tests.jobs.prefixes import FORMATS, PREFIXES, prefixed

# Logs of so few lines that nothing tells a prefix from their own words.
TOO_SHORT = {
    "own-behind-kernel.log": ("pylog", "pylog2", "pylog3", "airflow", "runpod", "stern", "quote"),
    "own-behind-time-limit.log": (
        *("compose", "compose-colour", "pylog", "pylog2", "pylog3", "gh-run", "airflow", "runpod", "vertex", "srun"),
        *("mpirun", "ray", "ray-ip", "sky", "sky-task", "stern", "kubectl", "quote", "glog", "epoch-s", "cat-n"),
        *("nl", "grep-n"),
    ),
    "own-launcher-nccl-echo.log": ("runpod", "pylog3"),
    "own-launcher-ray.log": ("runpod", "pylog3"),
    "own-progress-colab.log": ("airflow",),
    "unseen-set-flux-box.log": ("pylog", "pylog2", "pylog3", "airflow", "runpod", "stern", "quote"),
}
NAMES = [case.file for case in cases()]
BY_NAME = {case.file: case for case in cases()}


def test_every_log_is_described() -> None:
    assert sorted(path.name for path in (CASES / "logs").iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_case_is_explained(name: str) -> None:
    case = BY_NAME[name]
    report = explained(case, case.log)
    found = verdict_on(case, report)
    assert {"words", "steps", "loss"} <= found, report
    assert found & {"right", "likely"}, report
    if case.causes and "interrupted" not in case.causes:
        assert report["phase"]
        assert report["evidence"]
        assert report["hint"]
        assert not any("CalledProcessError" in line for line in report["evidence"])


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_changes_nothing(prefix: str) -> None:
    keys = ("status", "cause", "step", "total_steps", "loss", "learning_rate", "phase", "message")
    # Every log meets a tenth of the prefixes here, and all of them in tests/benchmarks/bench_explain.py.
    for case in cases()[PREFIXES.index(prefix) % 10 :: 10]:
        log = prefixed(case, prefix)
        if log is None or prefix in TOO_SHORT.get(case.file, ()):
            continue
        plain, other = explained(case, case.log), explained(case, log)
        assert {key: other[key] for key in keys} == {key: plain[key] for key in keys}, case.file


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_cut_anywhere_comes_to_the_same(name: str) -> None:
    for log in (BY_NAME[name].log, prefixed(BY_NAME[name], "cri") or b""):
        whole = progress_of([log])
        for seed in range(2):
            cuts = sorted(random.Random(seed).choices(range(len(log) + 1), k=40))
            assert progress_of([log[a:b] for a, b in zip([0, *cuts], [*cuts, len(log)], strict=True)]) == whole


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
