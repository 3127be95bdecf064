"""The monitor page in every state, as ``AppTest`` sees it."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from lib import services
from lib.errors import SourceUnavailable, StoreError
from lib.jobs.job import Artifact, ArtifactKind, Attempt, Failure, Job, JobLink, JobStatus, LossPoint, Progress
from lib.jobs.machine import GpuUse, MachineUse
from lib.sources.memory import MemorySource
from lib.sources.protocol import Action
from lib.ui.monitor.job_menu import final_file
from tests.making import NOW
from tests.monitor_jobs import SIGNED, fill
from tests.pages.reading import labels, plain, texts

Open = Callable[..., AppTest]


@pytest.fixture
def full(source: MemorySource, tmp_path: Path, clock: list[datetime]) -> MemorySource:
    """The source with a job of every kind, at a moment that does not move."""
    fill(source, NOW, tmp_path)
    return source


STATES = {
    "waiting": ["Pending", "Waiting to start", "Next in the queue. Running now:", "which is stopping"],
    "run": [
        "Running",
        "Training progress: 42%",
        "Stage: training · Epoch 12/50 · Step 480/2000",
        "Estimated time remaining: 30m 30s",
        "Speed: 2.44 steps/s",
        "Loss: 0.0812",
        "Showing last 100 of 340 lines",
        "line 339: avr_loss",
        "Last 0.0582 · lowest 0.0502 at step 595",
        "6 losses lie outside the axis, up to 0.1520",
        "Newest samples: epoch 4",
        "Sample of epoch 4: a red fox in the snow -> /download/run/1/sample/e4-0.png?inline=1",
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
        "Fix and retry => new?from=failed&step=2&mark=batch_size%2Cresolution%2Cnetwork_dim",
        "the second attempt",
        "· NaN from step 600",
    ],
    "stopping": ["Cancelling", "Stopping… · Epoch 12/50", "Loss: 0.0812"],
    "nan": ["Succeeded", "nan loss", "The loss became NaN", "· NaN from step 5", "Training progress: 100%"],
    "cancelled": ["Training cancelled", "stopped on request", "Progress when cancelled: 42%", "line 339"],
    "never": ["Training cancelled", "It was cancelled before it began.", "Trainer: tiny"],
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


VIEWS = {
    "log": ["Training logs", "line 339: avr_loss", "Download full log -> /logs/run/1"],
    "samples": ["Samples", "a red fox in the snow", "Sample of epoch 1: a red fox in the snow -> /download/run"],
    "files": ["Artifacts", "No files yet."],
    "details": ["Job information", "Trainer: tiny", "Job ID: run"],
}


@pytest.mark.parametrize("view", VIEWS)
def test_one_view_is_shown_at_a_time(full: MemorySource, open_page: Open, view: str) -> None:
    app = open_page("job", id="run", view=view)
    written = texts(app)
    assert [text for text in VIEWS[view] if text not in written] == []
    assert [other for other, (title, *_) in VIEWS.items() if title in headers(app)] == [view]
    assert chosen_view(app) == view
    assert "Training progress: 42%" in written


def headers(app: AppTest) -> list[str]:
    return [str(header.value) for header in app.header]


def chosen_view(app: AppTest) -> str:
    return str(app.session_state["view"])


@pytest.mark.parametrize(
    ("job_id", "view"),
    [
        ("waiting", "details"),
        ("never", "details"),
        ("run", "log"),
        ("failed", "log"),
        ("odd", "log"),
        ("done", "files"),
    ],
)
def test_a_job_opens_on_what_it_is_for(full: MemorySource, open_page: Open, job_id: str, view: str) -> None:
    assert chosen_view(open_page("job", id=job_id)) == view
    assert chosen_view(open_page("job", id=job_id, view="logs")) == "log", "links of before lead to the log"
    assert chosen_view(open_page("job", id=job_id, view="nonsense")) == view


def test_only_the_shown_view_is_computed(full: MemorySource, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("not shown")

    monkeypatch.setattr(full, "read_log", refuse)
    for view in ("samples", "files", "details"):
        assert "Training progress: 42%" in texts(open_page("job", id="run", view=view))


MAIN_ACTIONS = {
    "waiting": "Cancel",
    "run": "Cancel",
    "done": "Download",
    "nan": "Download",
    "frozen": "Download",
    "failed": "Fix and retry",
    "cancelled": "Fix and retry",
    "lost": "Fix and retry",
    "stopping": "",
    "odd": "",
}


@pytest.mark.parametrize("job_id", MAIN_ACTIONS)
def test_one_main_action_and_no_dead_button(full: MemorySource, open_page: Open, job_id: str) -> None:
    app = open_page("job", id=job_id, view="log")
    offered = [each.label for each in app.button if each.label == "Cancel"]
    offered += [each.proto.label for each in app.get("link_button") if each.proto.label == "Download"]
    offered += [each.proto.label for each in app.get("page_link") if each.proto.label == "Fix and retry"]
    assert offered == [wanted for wanted in [MAIN_ACTIONS[job_id]] if wanted]
    assert [each.label for each in app.button if each.disabled] == []
    assert "Refresh now" not in labels(app)


def test_the_main_download_is_the_final_lora_and_filled(full: MemorySource, open_page: Open) -> None:
    def download(job_id: str) -> tuple[str, str]:
        links = open_page("job", id=job_id, view="log").get("link_button")
        (link,) = [each.proto for each in links if each.proto.label == "Download"]
        return link.url, link.type

    assert download("done") == ("/download/done/1/aria.safetensors", "primary")
    assert download("frozen") == ("/download/frozen/later.safetensors", "primary"), "not the one that has expired"


def test_the_menu_has_the_rest(full: MemorySource, open_page: Open) -> None:
    def menu(job_id: str) -> list[str]:
        wanted = ("Retry", "Delete", "Copy ID", "Copy link", "Use this configuration")
        return sorted(label for label in labels(open_page("job", id=job_id)) if label in wanted)

    assert menu("failed") == sorted(("Retry", "Delete", "Copy ID", "Copy link", "Use this configuration"))
    assert menu("run") == sorted(("Copy ID", "Copy link", "Use this configuration"))
    full.refused = {Action.RETRY: "This source retries by itself."}
    assert "Retry" not in menu("failed")
    assert "This source retries by itself." in texts(open_page("job", id="failed"))


def test_a_guess_is_no_headline(full: MemorySource, open_page: Open) -> None:
    killed = Failure(cause="killed", message="The trainer was killed by signal 9 (SIGKILL), likely out of memory.")
    full.add(replace(full.jobs["failed"], id="killed", failure=killed, attempts=()))
    app = open_page("job", id="killed")
    assert [plain(box.value) for box in app.error] == ["The trainer was killed by signal 9 (SIGKILL)."]
    assert "Likely out of memory." in texts(app)


def test_the_log_is_not_repeated_in_the_failure(full: MemorySource, open_page: Open) -> None:
    full.add(replace(full.jobs["failed"], failure=None))
    assert texts(open_page("job", id="failed")).count("the second attempt") == 1
    assert "the second attempt" not in texts(open_page("job", id="failed", view="files"))


def test_the_chart_says_when_it_is_behind(
    full: MemorySource, open_page: Open, clock: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page("job", id="run")
    assert "behind these figures" not in texts(app)
    stuck = services.latest_loss("run", 1, is_over=False)
    monkeypatch.setattr("lib.services.latest_loss", lambda *_, **__: replace(stuck, read_at=NOW))
    clock.append(NOW + timedelta(seconds=6))
    app = app.run().run()
    assert "The loss chart is 6 s behind these figures." in texts(app)


def test_a_log_scale_is_proposed_where_losses_differ_by_more_than_ten(full: MemorySource, open_page: Open) -> None:
    full.losses["run", 1] = [LossPoint(step=step, loss=1 / step) for step in range(1, 600)]
    app = open_page("job", id="run")
    assert app.toggle(key="chart-scale").value is True
    app = app.toggle(key="chart-scale").set_value(False).run()
    assert app.query_params["scale"] == "linear"
    assert app.toggle(key="chart-scale").value is False
    assert "outside the axis" in texts(app)
    assert open_page("job", id="done").toggle(key="chart-scale").value is False


def test_the_url_says_how_the_loss_is_drawn(full: MemorySource, open_page: Open) -> None:
    full.losses["run", 1] = [
        LossPoint(step=step, loss=0.1, at=1e9 + step, learning_rate=1e-4 * step) for step in range(1, 100)
    ]
    app = open_page("job", id="run")
    (chart,) = app.get("vega_lite_chart")
    assert "as logged" in chart.proto.spec
    assert "mean 0.1000 · smoothed 0.1000" in texts(app)
    app = open_page("job", id="run", x="time", smooth="0", panel="lr")
    loss, rates = app.get("vega_lite_chart")
    assert '"Hours"' in loss.proto.spec
    assert '"Learning rate"' in rates.proto.spec
    assert "Learning rate 0.0099 at step 99" in texts(app)
    assert "smoothed" not in texts(app)
    (chart,) = open_page("job", id="run", marks="1").get("vega_lite_chart")
    assert '"what": "sample' in chart.proto.spec


def test_a_rare_validation_loss_of_a_long_run_has_a_chart(full: MemorySource, open_page: Open) -> None:
    measured = {1_000: 0.5, 2_000: 0.4, 3_000: 0.45}
    full.losses["run", 1] = [
        LossPoint(step=step, loss=0.1 + step % 7, validation_loss=measured.get(step)) for step in range(1, 4_001)
    ]
    _, chart = open_page("job", id="run", panel="val").get("vega_lite_chart")
    assert '"point": true' in chart.proto.spec
    reading = services.latest_loss("run", 1, is_over=False)
    assert reading.value.beside == {"validation_loss"}
    shown = services.latest_beside("run", 1, "validation_loss", is_over=False).value
    assert {point.step: point.loss for point in shown} == measured


def test_an_axis_that_is_not_known_is_said(full: MemorySource, open_page: Open) -> None:
    full.losses["run", 1] = [LossPoint(step=step, loss=0.1) for step in range(1, 9)]
    app = open_page("job", id="run", x="time", panel="grad")
    assert "The time of the losses is not known, so they are drawn over steps." in texts(app)
    assert "Gradient norm: none was recorded." in texts(app)
    assert '"Step"' in app.get("vega_lite_chart")[0].proto.spec


def test_an_old_epoch_is_shown_on_request(full: MemorySource, open_page: Open) -> None:
    first = [file for file in full.jobs["run"].artifacts if file.epoch == 4]
    many = [replace(file, id=f"{file.id}-{epoch}", epoch=epoch) for epoch in range(1, 10) for file in first]
    full.add(replace(full.jobs["run"], artifacts=tuple(many)))
    app = open_page("job", id="run", view="samples")
    assert "Sample of epoch 9" in texts(app)
    assert "Sample of epoch 4" not in texts(app)
    again = app._run(WidgetStates()).select_slider[0].proto  # as a tick's answer before the browser has the slider
    assert (again.set_value, list(again.default)) == (False, [8]), "told, it would undo a step of the slider"
    app = app.select_slider[0].set_value("Epoch 6").run()
    assert "Sample of epoch 9" not in texts(app)
    assert "Sample of epoch 2" in texts(app)
    more = replace(many[-1], id="newer", epoch=10)
    full.add(replace(full.jobs["run"], artifacts=(*many, more)))
    services.forget_reads()
    assert "Sample of epoch 10" not in texts(app.run()), "a reader of older ones keeps them"
    assert "Sample of epoch 10" in texts(app.select_slider[0].set_value("Epoch 10").run())


def test_what_never_began_has_nothing_unknown(full: MemorySource, open_page: Open) -> None:
    written = texts(open_page("job", id="never"))
    assert "nknown" not in written
    assert "Ran for" not in written


def test_what_every_state_shows(full: MemorySource, open_page: Open) -> None:
    written = texts(open_page("job", id="done", view="details")).replace("**", "")
    for text in (
        "Overview => ",
        "Jobs => jobs",
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
    assert "Duration" not in texts(open_page("job", id="run", view="details")), (
        "it would stand still while the job runs"
    )


def test_an_older_attempt_is_opened_by_the_url(full: MemorySource, open_page: Open) -> None:
    app = open_page("job", id="failed", attempt="1")
    written = texts(app)
    assert "the first attempt" in written
    assert "the second attempt" not in written
    assert "Last known progress: 10%" in written
    assert app.selectbox[0].options == ["Attempt 2 (latest): failed", "Attempt 1: lost"]
    assert "There is no such attempt" in texts(open_page("job", id="failed", attempt="x"))


def test_only_an_expired_link_has_no_download(full: MemorySource, open_page: Open) -> None:
    app = open_page("job", id="frozen")
    links = [link.proto.url for link in app.get("link_button") if link.proto.type != "primary"]
    assert links == ["/download/frozen/later.safetensors", "/download/frozen/soon.safetensors"]
    assert "expired.safetensors" in texts(app)
    assert "Refresh URL" in [button.label for button in app.button]


def test_more_files_on_request(full: MemorySource, open_page: Open) -> None:
    files = full.jobs["done"].artifacts
    more = tuple(replace(files[1], id=f"1/more-{number}", name=f"more-{number}") for number in range(3))
    full.add(replace(full.jobs["done"], artifacts=(*files, *more)))
    app = open_page("job", id="done")
    count = texts(app).count("Download -> ")
    app = next(button for button in app.button if button.label == "Show all 11 files").click().run()
    assert (count, texts(app).count("Download -> ")) == (1 + 8, 1 + 11)


def test_a_pending_job_moves_in_the_queue(full: MemorySource, open_page: Open) -> None:
    full.add(replace(full.jobs["waiting"], id="second"))
    app = open_page("job", id="second")
    assert "Place 2 in the queue." in texts(app)
    app = move_buttons(app)[0].click().run()
    assert "Next in the queue." in texts(app)
    assert [button.label for button in move_buttons(app)] == ["Move down"]
    full.delete_job("waiting")
    services.forget_reads()
    assert move_buttons(app.run()) == []


def test_what_waits_leads_to_the_job_that_makes_room_first(full: MemorySource, open_page: Open) -> None:
    del full.jobs["stopping"]
    assert "about 30m 30s left (an estimate)" in texts(open_page("job", id="waiting"))
    services.forget_reads()
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
    return [str(each.proto.text if each.type == "progress" else each.value) for each in app.main if each.type in kinds]


def test_alarms_stand_above_the_files(full: MemorySource, open_page: Open) -> None:
    order = written_order(open_page("job", id="nan"))
    warned = next(at for at, text in enumerate(order) if text.startswith("The loss became"))
    assert warned < order.index("Training progress: 100%") < order.index("Artifacts")


def test_a_failure_comes_before_the_log(full: MemorySource, open_page: Open) -> None:
    order = written_order(open_page("job", id="failed"))
    assert order.index("Training failed") < order.index("Progress at failure: 42%") < order.index("Training logs")


def test_a_queue_that_cannot_be_reordered_says_why(full: MemorySource, open_page: Open) -> None:
    full.refused = {Action.MOVE: "This queue cannot be reordered."}
    app = open_page("job", id="waiting")
    assert move_buttons(app) == []
    assert "This queue cannot be reordered." in texts(app)


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
    services.forget_reads()
    app = app.run()
    written = texts(app)
    stale = "Could not refresh: No answer within 10 s. Shown is the state of"
    assert written.count(stale) == 3, "job, log and loss each say how old they are"
    for text in ("Training progress: 42%", "line 339", "Last 0.0582"):
        assert text in written
    for view in ("samples", "files"):
        app.query_params["view"] = view
        assert texts(app.run()).count(stale) == 3, "what stands instead of the log says so, too"
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
    assert slow_ms[0] / 1_000 + services.SHARED_LOSS_READ_S < 5, "the chart is at most 5 s behind"
    assert max(slow_ms) < 10_000


def test_a_job_that_ends_is_confirmed_before_polling_stops(
    full: MemorySource, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page("job", id="done")
    assert polls(app)
    monkeypatch.setattr("lib.ui.monitor.poll_interval.SHARED_READ_S", 0.0)
    assert not polls(app.run())
    full.add(Job(id="done", name="again", status=JobStatus.RUNNING, attempt=2))
    services.forget_reads()
    assert polls(app.run())


@pytest.mark.parametrize(
    ("method", "view"),
    [("artifacts", "files"), ("artifacts", "samples"), ("loss_points", "files"), ("read_log", "log")],
)
def test_a_part_of_an_ended_job_that_cannot_be_read_is_tried_again(
    full: MemorySource, open_page: Open, monkeypatch: pytest.MonkeyPatch, method: str, view: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreError("The store does not answer.")

    monkeypatch.setattr("lib.ui.monitor.poll_interval.CONFIRMING_READS", 0)
    with monkeypatch.context() as broken:
        broken.setattr(full, method, refuse)
        app = open_page("job", id="done", view=view)
        assert "The store does not answer." in texts(app)
        assert polls(app)
    services.forget_reads()
    assert not polls(app.run())


def test_a_log_is_searched_when_that_is_asked_for_only(
    full: MemorySource, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("searched again")

    app = open_page("job", id="done", view="log")
    app.text_input(key="find-done-1").input("LINE 33")
    app = next(button for button in app.button if button.label == "Find").click().run()
    assert "11 lines found. Search complete" in texts(app)
    monkeypatch.setattr("lib.services.find_in_log", refuse)
    assert "11 lines found. Search complete" in texts(app.run())


def test_two_hundred_samples_are_not_loaded_at_once(full: MemorySource, open_page: Open) -> None:
    samples = [file for file in full.jobs["run"].artifacts if file.epoch == 4]
    many = tuple(replace(samples[0], id=f"1/{number}.png", name=f"{number}.png", epoch=None) for number in range(200))
    full.add(replace(full.jobs["run"], artifacts=many))
    assert texts(open_page("job", id="run")).count("a red fox in the snow -> ") == 8
    app = open_page("job", id="run", view="samples")
    assert texts(app).count("a red fox in the snow -> ") == 24
    assert "176 more samples of each epoch are not shown." in texts(app)


def test_what_a_source_does_not_tell_is_unknown(full: MemorySource, open_page: Open) -> None:
    """A source that tells nothing but id, name and status gets a page all the same."""
    full.add(Job(id="bare", name="", status=JobStatus.RUNNING))
    app = open_page("job", id="bare", view="details")
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
        shown = texts(open_page("job", id=job_id, view="details"))
        assert said in shown
        assert link in shown


def test_a_running_job_says_what_the_machine_does_and_keeps_its_peak(source: MemorySource, open_page: Open) -> None:
    gpu = GpuUse(index=0, name="Card <b>", memory_bytes=2 << 30, total_bytes=24 << 30, peak_bytes=11 << 30)
    use = MachineUse(
        at=NOW.timestamp(), cpu_percent=34, memory_bytes=12 << 30, memory_total_bytes=64 << 30, gpus=(gpu,)
    )
    attempt = Attempt(number=1, status=JobStatus.RUNNING, machine=use)
    job = Job(id="m1", name="m", status=JobStatus.RUNNING, attempt=1, started_at=NOW, attempts=(attempt,))
    source.add(job)
    said = " ".join(caption.value for caption in open_page("job", id="m1").caption)
    assert "CPU 34% · RAM 12 GB of 64 GB · GPU 0, Card" in said
    assert "<b>" not in said
    source.add(replace(job, id="m2", status=JobStatus.SUCCEEDED, finished_at=NOW))
    app = open_page("job", id="m2", view="details")
    assert "GPU memory at its peak: 11 GB of 24 GB" in texts(app)
    assert not any("CPU 34%" in caption.value for caption in app.caption)


def test_a_file_that_holds_nan_says_so_and_download_prefers_another(source: MemorySource, open_page: Open) -> None:
    files = (
        Artifact(id="1/a.safetensors", name="a.safetensors", kind=ArtifactKind.LORA, holds_nan=True),
        Artifact(id="1/a-000001.safetensors", name="a-000001.safetensors", kind=ArtifactKind.CHECKPOINT, epoch=1),
    )
    job = Job(id="n1", name="n", status=JobStatus.SUCCEEDED, attempt=1, alarms=("nan_weights",), artifacts=files)
    source.add(job)
    app = open_page("job", id="n1", view="files")
    assert "**a.safetensors** :red-badge[NaN]" in texts(app)
    assert "Some of its weights are NaN or infinite" in texts(app)
    assert "A trained file holds NaN" in " ".join(warning.value for warning in app.warning)
    chosen = final_file(files, NOW)
    assert chosen is not None
    assert chosen.epoch == 1
    assert final_file(files[:1], NOW) == files[0]
