"""Notifications: written with the change that they tell, sent to real HTTP receivers, whoever is killed in between."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib.embedded.store.jobs import Store
from lib.embedded.store.outbox import DAY_S
from lib.embedded.store.runs import AttemptEnd, Claim
from lib.embedded.worker.notifications import Notifications
from lib.errors import StoreError
from lib.jobs.failures.judge import Verdict
from lib.jobs.job import Failure, JobStatus, Progress
from lib.jobs.job_request import JobRequest
from lib.jobs.news import disk_news
from lib.jobs.stalls import SILENT_S
from lib.jobs.training_settings import TrainingSettings
from lib.settings import NOTIFY_EVENTS, ROOT, NotifySettings
from lib.sources.embedded.source import EmbeddedSource
from tests.contract.houses import IdleLauncher
from tests.waiting import wait_for

# One of apprise's plugins imports it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SECRET = "t0ken-that-must-not-show"
FAILED = Verdict(
    status=JobStatus.FAILED,
    failure=Failure(cause="out_of_memory", message="The GPU ran out of memory.", hint="", evidence=()),
)


class Receiver:
    """A service on this machine. It answers with ``status``, or not before ``answering`` is set."""

    def __init__(self) -> None:
        self.got: list[dict[str, str]] = []
        self.status = 200
        self.answering = threading.Event()
        self.answering.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                receiver.answering.wait(20)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"json://me:{SECRET}@127.0.0.1:{self._server.server_port}/{SECRET}"

    def close(self) -> None:
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with closing(Receiver()) as built:
        yield built


@pytest.fixture
def other() -> Iterator[Receiver]:
    with closing(Receiver()) as built:
        yield built


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path)) as built:
        built.runs.told = NOTIFY_EVENTS
        yield built


def claimed(store: Store, **values: object) -> Claim:
    request = JobRequest(name="red", dataset_id="d", config_id=None, settings=TrainingSettings(), submission_id="s")
    store.submit(replace(request, **values), dataset_name="d", config_name=None)  # type: ignore[arg-type]
    claim = store.runs.claim_next()
    assert claim is not None
    return claim


def end(store: Store, claim: Claim, verdict: Verdict = FAILED) -> bool:
    return store.runs.finish(claim, AttemptEnd(verdict=verdict, finished_at=claim.started_at + 90))


def keys(store: Store) -> list[str]:
    with store.database.reading() as connection:
        return [row["key"].partition("/")[2] for row in connection.execute("SELECT key FROM outbox ORDER BY id")]


def mail(store: Store, *urls: str, now: float | None = None, **values: object) -> Notifications:
    """What sends messages; ``now`` is the time that it goes by."""
    clock = {} if now is None else {"now": lambda: now}
    settings = NotifySettings(urls=urls, link="https://dash.test")
    folder = store.database.path.parent
    return Notifications(
        store.outbox, folder, settings, **{"space_problem": lambda _: "", "look_every_s": 0.01, **clock, **values}
    )  # type: ignore[arg-type]


def run_until_sent(mail: Notifications) -> None:
    wait_for(lambda: not mail.tick(), "a message still waits")


# Written once, with the change


def test_each_event_of_an_attempt_is_written_once(store: Store) -> None:
    claim = claimed(store)
    for _ in range(3):
        store.runs.record_progress(claim, Progress(step=5), ("nan_loss",), None)
        store.runs.record_progress(claim, Progress(step=5), (), claim.started_at - 3_600)
    assert [end(store, claim), end(store, claim)] == [True, False]
    assert keys(store) == ["1/nan", "1/stalled", "1/failed"]
    store.runs.record_progress(claim, Progress(), ("nan_loss",), None)
    assert len(keys(store)) == 3, "it has ended"
    store.retry(claim.job_id)
    again = store.runs.claim_next()
    assert again is not None
    end(store, again, Verdict(status=JobStatus.SUCCEEDED))
    assert keys(store)[3:] == ["2/finished"]


def test_a_clock_that_is_set_ahead_makes_no_training_stuck(store: Store) -> None:
    claim = claimed(store)
    an_hour_ago = claim.started_at - 3_600
    store.runs.record_progress(claim, Progress(step=5), (), an_hour_ago, seen_quiet_s=SILENT_S - 1)
    assert keys(store) == []
    store.runs.record_progress(claim, Progress(step=5), (), an_hour_ago, seen_quiet_s=SILENT_S + 1)
    assert keys(store) == ["1/stalled"]


def test_nothing_is_written_where_nobody_is_to_be_told(store: Store) -> None:
    end(store, claimed(store, submission_id="quiet", notify=False))
    end(store, claimed(store, submission_id="cancelled"), Verdict(status=JobStatus.CANCELLED))
    store.runs.told = ("finished",)
    end(store, claimed(store, submission_id="not chosen"))
    store.runs.told = NotifySettings().told
    end(store, claimed(store, submission_id="no service"))
    assert keys(store) == []


def test_a_sweep_is_one_message_and_its_failures(store: Store, receiver: Receiver) -> None:
    request = JobRequest(name="", dataset_id="d", config_id=None, settings=TrainingSettings(), submission_id="")
    requests = [replace(request, name=f"aria: rank {number}", submission_id=str(number)) for number in range(3)]
    (first, *_) = store.submit_sweep(requests, "aria", dataset_name="d", config_name=None)
    for number in range(3):
        claim = store.runs.claim_next()
        assert claim is not None
        verdict = FAILED if number == 1 else Verdict(status=JobStatus.SUCCEEDED)
        end = AttemptEnd(verdict=verdict, finished_at=claim.started_at + 90, progress=Progress(loss=0.1 + number))
        store.runs.finish(claim, end)
        assert len(keys(store)) == (0, 1, 2)[number]
    run_until_sent(mail(store, receiver.url))
    assert [each["title"] for each in receiver.got] == [
        "aria: rank 1 failed",
        "aria: all 3 jobs of the sweep have ended",
    ]
    assert first.sweep is not None
    assert receiver.got[1]["message"] == (
        f"2 succeeded, 1 failed. The smallest last loss is 0.1 (rank 0).\nhttps://dash.test/jobs?sweep={first.sweep.id}"
    )


def sweep_of(store: Store, count: int, **values: object) -> list[str]:
    request = JobRequest(name="", dataset_id="d", config_id=None, settings=TrainingSettings(), submission_id="")
    requests = [
        replace(request, name=f"aria: rank {number}", submission_id=str(number), **values)  # type: ignore[arg-type]
        for number in range(count)
    ]
    return [job.id for job in store.submit_sweep(requests, "aria", dataset_name="d", config_name=None)]


def bodies(store: Store) -> list[str]:
    with store.database.reading() as connection:
        return [row["body"] for row in connection.execute("SELECT body FROM outbox ORDER BY id")]


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_sweep_whose_last_waiting_job_a_person_takes_away_has_ended(store: Store, is_deleted: bool) -> None:
    _, second, third = sweep_of(store, 3)
    claim = store.runs.claim_next()
    assert claim is not None
    end(store, claim, Verdict(status=JobStatus.SUCCEEDED))
    store.cancel(second)
    assert bodies(store) == [], "one still waits"
    if is_deleted:
        with store.deleting(third):
            pass
    else:
        store.cancel(third)
    assert bodies(store) == ["1 succeeded, 1 cancelled." if is_deleted else "1 succeeded, 2 cancelled."]


def test_of_a_sweep_that_nobody_wants_to_hear_of_or_that_people_cancelled_nothing_is_told(store: Store) -> None:
    first, *others = sweep_of(store, 3)
    for job_id in others:
        store.cancel(job_id)
    store.cancel(first)
    assert bodies(store) == []
    with store.database.writing() as connection:
        connection.execute("UPDATE jobs SET notify = 0")
    store.retry(first)
    claim = store.runs.claim_next()
    assert claim is not None
    end(store, claim, Verdict(status=JobStatus.SUCCEEDED))
    store.retry(others[0])
    store.cancel(others[0])
    assert bodies(store) == []


def test_the_dashboard_tells_of_a_sweep_that_it_ends(tmp_path: Path) -> None:
    notify = NotifySettings(urls=("json://127.0.0.1",), events=("finished",))
    with closing(EmbeddedSource(tmp_path, launcher=IdleLauncher(tmp_path), notify=notify)) as source:
        first, second = sweep_of(source.store, 2)
        claim = source.store.runs.claim_next()
        assert claim is not None
        source.store.runs.told = ()  # the worker's own store tells
        end(source.store, claim, Verdict(status=JobStatus.SUCCEEDED))
    with closing(EmbeddedSource(tmp_path, launcher=IdleLauncher(tmp_path), notify=notify)) as source:
        source.cancel_job(second)
        assert bodies(source.store) == ["1 succeeded, 1 cancelled."]
        source.get_job(first)
        assert source._launcher.starts == 1, "a worker sends it"  # type: ignore[attr-defined]


def test_an_end_without_its_message_is_not_recorded(store: Store) -> None:
    claim = claimed(store)
    with store.database.writing() as connection:
        connection.execute("ALTER TABLE outbox RENAME TO away")
    with pytest.raises(StoreError):
        end(store, claim)
    assert store.get_job(claim.job_id).status is JobStatus.RUNNING
    with store.database.writing() as connection:
        connection.execute("ALTER TABLE away RENAME TO outbox")
    assert end(store, claim)
    assert keys(store) == ["1/failed"]


def test_a_full_disk_is_told_once_a_day(store: Store, receiver: Receiver) -> None:
    for _ in range(2):
        run_until_sent(mail(store, receiver.url, space_problem=lambda _: "500 MB free in the data folder."))
    assert [(each["title"], each["message"]) for each in receiver.got] == [
        ("The disk is nearly full", "500 MB free in the data folder.\nhttps://dash.test")
    ]


# Sent


def test_a_message_has_name_cause_duration_and_link(store: Store, receiver: Receiver) -> None:
    claim = claimed(store, name="red <b> & sneakers")
    end(store, claim)
    run_until_sent(mail(store, receiver.url))
    (got,) = receiver.got
    assert (got["title"], got["type"]) == ("red <b> & sneakers failed", "failure")
    assert got["message"] == (
        f"The GPU ran out of memory. It ran for 1 minute and 30 seconds.\nhttps://dash.test/job?id={claim.job_id}"
    )
    assert not mail(store, receiver.url).tick()


def test_a_service_that_fails_gets_it_later_and_the_other_one_only_once(
    store: Store, receiver: Receiver, other: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    end(store, claimed(store))
    receiver.status = 500
    sender = mail(store, receiver.url, other.url, pauses_s=(0.01, 0.01))
    wait_for(lambda: sender.tick() and len(receiver.got) > 1, "not tried again")
    assert len(other.got) == 1
    notify = NotifySettings(urls=(receiver.url, other.url))
    folder = store.database.path.parent
    with closing(EmbeddedSource(folder, launcher=IdleLauncher(folder), notify=notify)) as source:

        def health() -> tuple[bool | None, str]:
            check = {each.name: each for each in source.health()}["Notifications"]
            return check.ok, check.message

        wait_for(lambda: health()[0] is False, "the failure is not said")
        _, message = health()
        assert "1 message waits after a failed try. Service 1 (json) did not take the message." in message
        receiver.status = 200
        run_until_sent(sender)
        assert health() == (True, "Messages go to 2 services; none waits after a failed try.")
    assert len(other.got) == 1
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert SECRET.encode() not in written
    assert SECRET not in f"{message} {caplog.text}"


def test_an_address_that_is_not_understood_is_said_before_anything_is_sent(store: Store) -> None:
    folder = store.database.path.parent
    notify = NotifySettings(urls=("json://127.0.0.1", f"jsom://{SECRET}"))
    with closing(EmbeddedSource(folder, launcher=IdleLauncher(folder), notify=notify)) as source:
        check = {each.name: each for each in source.health()}["Notifications"]
    assert (check.ok, "number 2" in check.message, SECRET in check.message) == (False, True, False)


def test_after_a_day_a_message_is_given_up_and_that_is_said(store: Store, receiver: Receiver) -> None:
    end(store, claimed(store))
    receiver.status = 500
    at = time.time() + DAY_S + 1
    run_until_sent(mail(store, receiver.url, now=at))
    trouble = store.outbox.trouble(at)
    assert (trouble.waiting, trouble.given_up) == (0, 1)
    assert not mail(store, receiver.url, now=at).tick()


def test_pauses_double_up_to_an_hour(store: Store) -> None:
    store.outbox.put([disk_news("full", "today")], 0.0)
    now, waited = 0.0, []
    for _ in range(10):
        assert store.outbox.claim(now, (30.0, 3_600.0)) is not None
        with store.database.reading() as connection:
            due = connection.execute("SELECT next_at FROM outbox").fetchone()[0]
        assert store.outbox.claim(due - 0.1, (30.0, 3_600.0)) is None
        waited.append(due - now)
        now = due
    assert waited == [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]


def test_a_service_that_hangs_delays_no_tick(store: Store, receiver: Receiver) -> None:
    end(store, claimed(store))
    receiver.answering.clear()
    sender = mail(store, receiver.url)
    wait_for(lambda: sender.tick() and receiver.got, "nothing arrived")
    began = time.monotonic()
    for _ in range(100):
        assert sender.tick()
    assert time.monotonic() - began < 0.5
    receiver.answering.set()
    run_until_sent(sender)


def test_done_messages_are_dropped_but_not_those_of_a_running_job(store: Store, receiver: Receiver) -> None:
    claim = claimed(store)
    store.runs.record_progress(claim, Progress(step=5), ("nan_loss",), None)
    store.outbox.put([disk_news("full", "today")], time.time())
    run_until_sent(mail(store, receiver.url))
    store.outbox.forget_old(time.time() + 31 * DAY_S)
    assert keys(store) == ["1/nan"]
    end(store, claim)
    store.outbox.forget_old(time.time() + 31 * DAY_S)
    assert keys(store) == ["1/failed"], "not sent yet"


# Kills


@pytest.mark.slow
def test_a_worker_killed_while_it_sends_leaves_the_message_to_the_next(store: Store, receiver: Receiver) -> None:
    """The event was recorded by a process that is gone; its worker is killed before the service answers."""
    end(store, claimed(store))
    receiver.answering.clear()
    settings = NotifySettings(urls=(receiver.url,))
    folder = store.database.path.parent
    argv = [sys.executable, "-m", "lib.embedded.worker.worker", "--data-dir", str(folder)]
    worker = subprocess.Popen(
        argv, cwd=ROOT, env={**os.environ, **settings.variables}, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_for(lambda: receiver.got, "the worker sent nothing")
    worker.send_signal(signal.SIGKILL)
    _, said = worker.communicate()
    receiver.answering.set()
    assert SECRET.encode() not in said
    assert not any(SECRET in word for word in argv)
    assert store.outbox.has_unsent()
    assert store.outbox.claim(time.time(), (30.0, 30.0)) is None, "it waits for its pause"
    run_until_sent(mail(store, receiver.url, now=time.time() + 31))
    # Its answer was lost with the worker, so it came twice; no other message did.
    assert [each["title"] for each in receiver.got] == ["red failed", "red failed"]
    assert keys(store) == ["1/failed"]
