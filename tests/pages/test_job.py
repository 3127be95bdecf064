"""The monitor page in every state, as ``AppTest`` sees it."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from lib import services
from lib.errors import SourceUnavailable, StoreError
from lib.jobs.job import Job, JobLink, JobStatus, Progress
from lib.sources.memory import MemorySource
from lib.sources.protocol import Action
from tests.making import NOW
from tests.monitor_jobs import SIGNED, fill
from tests.pages.reading import texts

Open = Callable[..., AppTest]


@pytest.fixture
def full(source: MemorySource, tmp_path: Path, clock: list[datetime]) -> MemorySource:
    """The source with a job of every kind, at a moment that does not move."""
    fill(source, NOW, tmp_path)
    return source


STATES = {
    "waiting": ["Pending", "Waiting to start", "Next in the queue. Running now:", "about 30m 30s left (an estimate)"],
    "run": [
        "Running",
        "Training progress: 42%",
        "Stage: training · Epoch 12/50 · Step 480/2000",
        "Estimated time remaining: 30m 30s",
        "Speed: 2.44 steps/s",
        "Loss: 0.0812",
        "Showing last 100 of 340 lines",
        "line 339: avr_loss",
        "Loss from 0.1520 at step 1 to",
        "Epoch 4",
        "a red fox in the snow -> /download/run/1/sample/e4-0.png?inline=1",
    ],
    "silent": [
        "Training progress: unknown",
        "Estimated time remaining: unknown",
        "The loss became NaN",
        "No output for 14m 0s. The job still counts as running",
        "No log lines yet.",
        "No loss yet.",
    ],
    "done": [
        "Succeeded",
        "Training progress: 100%",
        "Final loss: 0.0412",
        "Training time: 1h 30m 45s",
        "LoRA · 500 MB",
        "Download -> /download/done/1/aria.safetensors",
        "Download full log -> /logs/done/1",
    ],
    "failed": [
        "Training failed",
        "The GPU ran out of memory.",
        "What to do: Lower the batch size",
        "Cause: out of memory",
        "Ended by signal 9 (SIGKILL)",
        "torch.OutOfMemoryError: CUDA out of memory.",
        "Traceback (most recent call last)",
        "Progress at failure: 42%",
        "Failed at 23 Nov 2026, 11:30:45 UTC (29 minutes ago)",
        "Retry training => new?from=failed&datasetId=ds&configId=cfg&name=Aria+failed",
        "the second attempt",
        "It was NaN from step 600.",
        "Opens the form for a new job",
    ],
    "stopping": ["Cancelling", "Stopping… · Epoch 12/50", "Loss: 0.0812"],
    "nan": ["Succeeded", "nan loss", "The loss became NaN", "It was NaN from step 5.", "Training progress: 100%"],
    "cancelled": ["Training cancelled", "stopped on request", "Progress when cancelled: 42%", "line 339"],
    "never": ["Training cancelled", "It was cancelled before it began.", "This attempt left no log."],
    "lost": [
        "Training lost",
        "The process that ran it vanished",
        "Last known progress: 42%",
        "This attempt left no log.",
    ],
    "odd": ["Unknown (paused_by_admin)", "Training progress: 42%"],
    "frozen": ["URL expires in 3 minutes", "URL expired", "URL works until 26 Nov 2026", "Set S3_BUCKET"],
}


@pytest.mark.parametrize("job_id", STATES)
def test_every_state_says_what_it_is(full: MemorySource, open_page: Open, job_id: str) -> None:
    app = open_page("job", id=job_id)
    assert not app.exception
    written = texts(app).replace("**", "")
    assert [text for text in STATES[job_id] if text not in written] == []
    assert "evil.test" not in written


def test_what_never_began_has_nothing_unknown(full: MemorySource, open_page: Open) -> None:
    written = texts(open_page("job", id="never"))
    assert "nknown" not in written
    assert "Ran for" not in written


def test_what_every_state_shows(full: MemorySource, open_page: Open) -> None:
    written = texts(open_page("job", id="done")).replace("**", "")
    for text in (
        "Dashboard => ",
        "LoRA Training => jobs",
        "Aria portraits => datasets?id=ds",
        "SDXL portrait => configs?id=cfg",
        "Trainer: tiny",
        "Learning rate | :orange[0.0002, changed: the configuration says 0.0001]",
        "Use this configuration => new?from=done",
        "train --name 'Aria v1'",
        "Created 3 hours ago, 23 Nov 2026, 09:00:00 UTC",
        "Finished 29 minutes ago, 23 Nov 2026, 11:30:45 UTC",
        "Duration: 1h 30m 45s",
    ):
        assert text in written
    assert SIGNED not in written
    assert "Duration" not in texts(open_page("job", id="run")), "it would stand still while the job runs"


def test_an_older_attempt_is_opened_by_the_url(full: MemorySource, open_page: Open) -> None:
    app = open_page("job", id="failed", attempt="1")
    written = texts(app)
    assert "the first attempt" in written
    assert "the second attempt" not in written
    assert "Last known progress: 10%" in written
    assert app.selectbox[0].options == ["Attempt 2 (latest): failed", "Attempt 1: lost"]
    assert "There is no such attempt" in texts(open_page("job", id="failed", attempt="x"))


def test_only_an_expired_link_disables_its_download(full: MemorySource, open_page: Open) -> None:
    app = open_page("job", id="frozen")
    links = [link.proto.url for link in app.get("link_button") if link.proto.label == "Download"]
    assert links == ["/download/frozen/later.safetensors", "/download/frozen/soon.safetensors"]
    buttons = [button for button in app.button if button.label == "Download"]
    assert [button.disabled for button in buttons] == [True]
    assert "Refresh URL" in [button.label for button in app.button]


def test_more_files_on_request(full: MemorySource, open_page: Open) -> None:
    app = open_page("job", id="done")
    count = texts(app).count("Download -> ")
    app = next(button for button in app.button if button.label == "Show all 8 files").click().run()
    assert (count, texts(app).count("Download -> ")) == (5, 8)


def test_a_pending_job_moves_in_the_queue(full: MemorySource, open_page: Open) -> None:
    full.add(replace(full.jobs["waiting"], id="second"))
    app = open_page("job", id="second")
    assert "Place 2 in the queue." in texts(app)
    app = move_buttons(app)[0].click().run()
    assert "Next in the queue." in texts(app)
    assert [button.disabled for button in move_buttons(app)] == [True, False]
    full.delete_job("waiting")
    assert [button.disabled for button in move_buttons(app.button(key="refresh").click().run())] == [True, True]


def test_what_waits_leads_to_the_job_that_makes_room_first(full: MemorySource, open_page: Open) -> None:
    soon = replace(full.jobs["run"], id="soon", name="Almost done", progress=Progress(eta_s=125))
    full.add(soon, replace(soon, id="unknown", progress=Progress()))
    app = open_page("job", id="waiting")
    assert "about 2m 5s left (an estimate)" in texts(app)
    app = next(button for button in app.button if button.label == "Almost done").click().run()
    assert app.query_params["id"] == "soon"
    full.jobs = {"waiting": full.jobs["waiting"]}
    services.forget_reads()
    assert "Running now" not in texts(open_page("job", id="waiting"))


def test_a_job_told_to_stop_promises_no_time(full: MemorySource, open_page: Open) -> None:
    assert "remaining" not in texts(open_page("job", id="stopping"))


def written_order(app: AppTest) -> list[str]:
    """Headings, warnings and bars of the page in the order in which they are drawn."""
    kinds = ("header", "warning", "progress")
    return [str(getattr(each, "value", None) or each.proto.text) for each in app.main if each.type in kinds]


def test_alarms_stand_above_the_files(full: MemorySource, open_page: Open) -> None:
    order = written_order(open_page("job", id="nan"))
    assert order.index("Artifacts") > next(at for at, text in enumerate(order) if text.startswith("The loss became"))


@pytest.mark.parametrize(("job_id", "outcome"), [("failed", "Training failed"), ("done", "Artifacts")])
def test_who_comes_for_the_log_finds_it_first(full: MemorySource, open_page: Open, job_id: str, outcome: str) -> None:
    order = written_order(open_page("job", id=job_id))
    assert order.index(outcome) < order.index("Training logs")
    order = written_order(open_page("job", id=job_id, view="logs"))
    assert order.index("Training logs") < order.index(outcome)


def test_a_queue_that_cannot_be_reordered_says_why(full: MemorySource, open_page: Open) -> None:
    full.refused = {Action.MOVE: "This queue cannot be reordered."}
    moves = move_buttons(open_page("job", id="waiting"))
    assert [(button.disabled, button.help) for button in moves] == [(True, "This queue cannot be reordered.")] * 2


def move_buttons(app: AppTest) -> list[Button]:
    return [button for button in app.button if button.label.startswith("Move")]


def test_an_unknown_job_and_no_job(full: MemorySource, open_page: Open) -> None:
    unknown = texts(open_page("job", id="nope"))
    assert "Job not found" in unknown
    assert "All jobs => jobs" in unknown
    chosen = open_page("job")
    next(button for button in chosen.button if button.label == "Aria run").click().run()
    assert chosen.query_params["id"] == "run"
    assert "Training progress" in texts(chosen)


def test_a_source_that_is_down(full: MemorySource, open_page: Open) -> None:
    full.failing = SourceUnavailable("No answer within 10 s.", hint="Is the API running?")
    app = open_page("job", id="run")
    assert "Job could not be loaded" in texts(app)
    assert "Is the API running?" in texts(app)
    assert "Retry" in [button.label for button in app.button]


def test_the_last_good_state_survives_a_failed_poll(full: MemorySource, open_page: Open) -> None:
    app = open_page("job", id="run")
    full.failing = SourceUnavailable("No answer within 10 s.")
    written = texts(app.button(key="refresh").click().run())
    stale = "Could not refresh: No answer within 10 s. Shown is the state of"
    assert written.count(stale) == 5, "job, log, loss, files and samples each say how old they are"
    for text in ("Training progress: 42%", "line 339", "Loss from"):
        assert text in written
    full.failing = None
    assert "Could not refresh" not in texts(app.button(key="refresh").click().run())


def polls(app: AppTest) -> bool:
    """Whether any part of the page is drawn again by itself."""
    return any("autorefresh" in element.proto.component_name for element in app.get("component_instance"))


def test_no_two_parts_tick_in_step(full: MemorySource, open_page: Open) -> None:
    """Ticks of one moment are sent as one message, which draws only one of their parts."""
    components = open_page("job", id="run").get("component_instance")
    watch_ms, *slow_ms = sorted(json.loads(each.proto.json_args)["interval"] for each in components)
    assert len(set(slow_ms)) == len(slow_ms) == 2
    assert [interval % watch_ms for interval in slow_ms if interval % watch_ms == 0] == []
    assert max(slow_ms) < 10_000


def test_a_job_that_ends_is_confirmed_before_polling_stops(
    full: MemorySource, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page("job", id="done")
    assert polls(app)
    monkeypatch.setattr("lib.ui.monitor.poll_interval.SHARED_READ_S", 0.0)
    assert not polls(app.run())
    full.add(Job(id="done", name="again", status=JobStatus.RUNNING, attempt=2))
    assert polls(app.button(key="refresh").click().run())


@pytest.mark.parametrize("method", ["artifacts", "loss_points", "read_log"])
def test_a_part_of_an_ended_job_that_cannot_be_read_is_tried_again(
    full: MemorySource, open_page: Open, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreError("The store does not answer.")

    monkeypatch.setattr("lib.ui.monitor.poll_interval.CONFIRMING_READS", 0)
    with monkeypatch.context() as broken:
        broken.setattr(full, method, refuse)
        app = open_page("job", id="done")
        assert "The store does not answer." in texts(app)
        assert polls(app)
    assert not polls(app.button(key="refresh").click().run())


def test_a_log_is_searched_when_that_is_asked_for_only(
    full: MemorySource, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("searched again")

    app = open_page("job", id="done")
    app.text_input(key="find-done-1").input("LINE 33")
    app = next(button for button in app.button if button.label == "Find").click().run()
    assert "11 lines found. Search complete" in texts(app)
    monkeypatch.setattr("lib.services.find_in_log", refuse)
    assert "11 lines found. Search complete" in texts(app.run())


def test_two_hundred_samples_are_not_loaded_at_once(full: MemorySource, open_page: Open) -> None:
    samples = [file for file in full.jobs["run"].artifacts if file.epoch == 4]
    many = tuple(replace(samples[0], id=f"1/{number}.png", name=f"{number}.png", epoch=None) for number in range(200))
    full.add(replace(full.jobs["run"], artifacts=many))
    app = open_page("job", id="run")
    assert texts(app).count("a red fox in the snow -> ") == 24
    assert "176 more samples of this moment are not shown." in texts(app)


def test_what_a_source_does_not_tell_is_unknown(full: MemorySource, open_page: Open) -> None:
    """A source that tells nothing but id, name and status gets a page all the same."""
    full.add(Job(id="bare", name="", status=JobStatus.RUNNING))
    app = open_page("job", id="bare")
    assert not app.exception
    assert "Trainer: unknown" in texts(app)
    assert "Time limit" not in texts(app)


def test_a_time_limit_is_part_of_the_job_information(full: MemorySource, open_page: Open) -> None:
    full.add(Job(id="limited", name="", status=JobStatus.PENDING, time_limit_s=5_400))
    assert "Time limit: 1h 30m 0s" in texts(open_page("job", id="limited"))


def test_a_job_and_the_one_that_retries_it_link_to_each_other(full: MemorySource, open_page: Open) -> None:
    full.add(Job(id="again", name="Aria *again*", status=JobStatus.PENDING, retry_of=JobLink(id="failed")))
    for job_id, said, link in (
        ("again", "Retry of:", "Aria failed => job?id=failed"),
        ("failed", "Retried as:", "Aria *again* => job?id=again"),
    ):
        shown = texts(open_page("job", id=job_id))
        assert said in shown
        assert link in shown
