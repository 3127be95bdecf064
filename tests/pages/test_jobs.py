"""The list in each of its states."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from lib import services
from lib.errors import InvalidRequest, SourceUnavailable
from lib.jobs.job import Artifact, ArtifactKind, Job, JobStatus, Progress
from lib.jobs.query import JobPage, JobQuery
from lib.sources.memory import MemorySource
from lib.sources.protocol import Action
from tests.making import NOW, make_job
from tests.pages.reading import button, labels, markdown, texts

OpenPage = Callable[..., AppTest]


def shown(app: AppTest) -> list[str]:
    """Names in the table."""
    return list(app.dataframe[0].value["Name"])


def listed(app: AppTest) -> list[str]:
    """Ids of the jobs in the table, by the links on their names."""
    return [each.proto.query_string.removeprefix("id=") for each in app.get("page_link") if each.proto.page == "job"]


def select(app: AppTest, *ids: str) -> AppTest:
    """Select these rows as a click would, and run."""
    rows = [listed(app).index(each) for each in ids]
    key = "jobs-" + app.dataframe[0].proto.id.rsplit("jobs-", 1)[1]
    app.session_state[key] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    return app.run()


def test_a_full_list(source: MemorySource, open_page: OpenPage) -> None:
    source.add(*(make_job(number) for number in range(137)))
    app = open_page("jobs", skip="20")
    assert not app.exception
    assert app.title[0].value == "LoRA Training Jobs"
    assert shown(app) == [f"Aria v{number}" for number in range(20, 40)]
    assert "**137 jobs** · Showing 21-40 of 137" in texts(app)
    assert "Page 2 of 7" in texts(app)
    assert {"Previous page", "Next page", "New Training Job"} <= set(labels(app))


def test_pages_are_turned_by_the_buttons(source: MemorySource, open_page: OpenPage) -> None:
    source.add(*(make_job(number) for number in range(50)))
    app = open_page("jobs")
    assert "Page 1 of 3" in texts(app)
    assert button(app, "Previous page").disabled
    button(app, "Next page").click().run()
    assert app.query_params == {"skip": "20"}
    button(app, "Next page").click().run()
    assert shown(app) == [f"Aria v{number}" for number in range(40, 50)]
    assert button(app, "Next page").disabled


def test_what_fits_on_one_page_has_no_page_buttons(source: MemorySource, open_page: OpenPage) -> None:
    source.add(*(make_job(number) for number in range(20)))
    app = open_page("jobs")
    assert "**20 jobs**" in texts(app)
    assert not {"Previous page", "Next page"} & set(labels(app))


def test_a_page_whose_last_job_went_shows_the_page_before(source: MemorySource, open_page: OpenPage) -> None:
    source.add(*(make_job(number) for number in range(40)))
    app = open_page("jobs", skip="40")
    assert shown(app)[-1] == "Aria v39"
    assert "Page 2 of 2" in texts(app)


def test_an_empty_installation_offers_the_first_job(source: MemorySource, open_page: OpenPage) -> None:
    app = open_page("jobs")
    assert "No training jobs yet" in texts(app)
    assert "Create Training Job" in labels(app)
    assert not app.dataframe


def test_a_filter_that_matches_nothing_can_be_cleared(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1))
    app = open_page("jobs", status="failed", q="nobody", sortBy="name")
    assert "No jobs found" in texts(app)
    assert "Try adjusting your filters" in texts(app)
    button(app, "Clear filters").click().run()
    assert app.query_params == {"sortBy": "name"}
    assert shown(app) == ["Aria v1"]


def test_every_filter_change_lands_in_the_url_on_the_first_page(source: MemorySource, open_page: OpenPage) -> None:
    source.add(*(make_job(number, JobStatus.FAILED) for number in range(50)))
    app = open_page("jobs", skip="20")
    app.button_group(key="filter-status").set_value(["", "failed"]).run()
    assert app.query_params == {"status": "failed"}
    button(app, "Next page").click().run()
    app.selectbox(key="filter-sort").select("name asc").run()
    assert app.query_params == {"status": "failed", "sortBy": "name", "sortOrder": "asc"}
    button(app, "Next page").click().run()
    app.text_input(key="filter-search").input("  V1 ").run()
    assert app.query_params == {"status": "failed", "sortBy": "name", "sortOrder": "asc", "q": "V1"}
    assert shown(app) == ["Aria v1", *(f"Aria v{number}" for number in range(10, 20))]


def test_a_change_sent_with_the_url_from_before_the_last_one_loses_nothing(
    source: MemorySource, open_page: OpenPage
) -> None:
    source.add(*(make_job(number, JobStatus.FAILED) for number in range(50)))
    app = open_page("jobs", skip="20")
    app.text_input(key="filter-search").input("v1").run()
    app.query_params = {"skip": "20"}  # the browser had not yet heard of the search
    app.selectbox(key="filter-sort").select("name desc").run()
    assert app.query_params == {"q": "v1", "sortBy": "name"}
    assert app.text_input(key="filter-search").value == "v1"
    app.query_params = {"skip": "20"}
    app.text_input(key="filter-search").input("").run()
    assert app.query_params == {"sortBy": "name"}
    # Back: nothing was changed here, so the URL is right.
    app.query_params = {"q": "v1", "sortBy": "name"}
    app.run()
    assert app.text_input[0].value == "v1"
    assert len(shown(app)) == 11


def test_widgets_show_what_a_link_asks_for(source: MemorySource, open_page: OpenPage) -> None:
    app = open_page("jobs", status="lost,failed", sortBy="duration", q="aria", finishedFrom="2026-11-23T10:00:00Z")
    assert app.button_group(key="filter-status").value == ["failed", "lost"]
    assert app.selectbox(key="filter-sort").value == "duration desc"
    assert app.text_input(key="filter-search").value == "aria"
    assert "ended from 23 Nov 2026" in texts(app).replace("\\", "")
    button(app, "Remove time filter").click().run()
    assert "finishedFrom" not in app.query_params


def test_bad_parameters_are_named_and_left_out(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1))
    app = open_page("jobs", status="exploded", take="5000", sortBy="![](http://x.test)")
    note = app.warning[0].value
    assert "status\\=exploded" in note
    assert "take\\=5000" in note
    assert "](http://" not in note
    assert shown(app) == ["Aria v1"]


def test_a_source_that_is_down_is_explained_and_can_be_tried_again(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1))
    source.failing = SourceUnavailable("No answer from the source.", hint="Is it running?")
    app = open_page("jobs")
    assert "Failed to load jobs" in app.error[0].value
    assert "No answer from the source" in app.error[0].value
    assert not app.dataframe
    source.failing = None
    button(app, "Retry").click().run()
    assert shown(app) == ["Aria v1"]
    assert not app.error


def test_the_last_good_list_stays_with_its_age(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1, JobStatus.RUNNING))
    app = open_page("jobs")
    source.failing = SourceUnavailable("No answer from the source.")
    services.forget_reads()
    app.run()
    assert shown(app) == ["Aria v1"]
    assert "Could not refresh: No answer from the source" in app.warning[0].value
    assert "Shown is the state of" in app.warning[0].value
    source.failing = None
    services.forget_reads()
    assert not app.run().warning


def test_a_source_that_is_down_is_not_asked_by_every_viewer(source: MemorySource, open_page: OpenPage) -> None:
    source.failing = SourceUnavailable("No answer.")
    open_page("jobs")
    before = source.calls["list_jobs"]
    for _ in range(5):
        with pytest.raises(SourceUnavailable):
            services.latest_jobs(JobQuery())
    assert source.calls["list_jobs"] <= before + 1


def interval_ms(app: AppTest) -> int:
    """After how long the page refreshes itself."""
    (tick,) = app.get("component_instance")
    return int(json.loads(tick.proto.json_args)["interval"])


def test_it_refreshes_always_and_slower_when_nothing_goes_on(
    source: MemorySource, open_page: OpenPage, clock: list[datetime]
) -> None:
    source.add(make_job(1, JobStatus.RUNNING))
    app = open_page("jobs")
    assert interval_ms(app) == 2_000
    assert "Updated " in texts(app)
    source.add(make_job(1, JobStatus.SUCCEEDED))
    services.forget_reads()
    assert interval_ms(app.run()) == 10_000
    clock.append(NOW + timedelta(minutes=5))
    assert interval_ms(app.run()) == 60_000
    # A colleague's job.
    source.add(make_job(2, JobStatus.SUCCEEDED))
    services.forget_reads()
    assert interval_ms(app.run()) == 10_000
    assert shown(app) == ["Aria v1", "Aria v2"]


def test_an_empty_list_waits_for_the_first_job(source: MemorySource, open_page: OpenPage) -> None:
    assert interval_ms(open_page("jobs")) == 10_000


def test_columns_come_from_the_link_and_stay_chosen(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1))
    app = open_page("jobs", columns="trainer,loss,colour")
    assert list(app.dataframe[0].value) == ["Name", "Loss", "Trainer"]
    assert "columns=colour" in texts(app).replace("\\", "")
    app.multiselect(key="chosen-columns").set_value(["config", "sample"]).run()
    assert app.query_params == {"columns": "sample,config"}
    assert list(app.dataframe[0].value) == ["Sample", "Name", "Configuration"]
    # The plain list in the same visit, as later in the same browser.
    app.query_params = {}
    assert list(app.run().dataframe[0].value) == ["Sample", "Name", "Configuration"]


def test_the_page_size_lands_in_the_url(source: MemorySource, open_page: OpenPage) -> None:
    source.add(*(make_job(number) for number in range(60)))
    app = open_page("jobs", skip="20")
    app.selectbox(key="page-size").select(50).run()
    assert app.query_params == {"take": "50"}
    assert len(shown(app)) == 50
    assert open_page("jobs", take="7").selectbox(key="page-size").value == 7


def test_chips_count_jobs_and_combine(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1, JobStatus.FAILED), make_job(2, JobStatus.LOST), make_job(3), make_job(4))
    app = open_page("jobs")
    chips = app.button_group(key="filter-status")
    assert chips.options == [
        "All statuses 4",
        ":gray[●] Pending 0",
        ":blue[●] Running 0",
        ":green[●] Succeeded 2",
        ":red[●] Failed 1",
        ":orange[●] Cancelled 0",
        ":orange[●] Lost 1",
    ]
    chips.set_value(["", "failed"]).run()
    app.button_group(key="filter-status").set_value(["failed", "lost"]).run()
    assert app.query_params == {"status": "failed,lost"}
    assert shown(app) == ["Aria v1", "Aria v2"]
    app.button_group(key="filter-status").set_value(["failed", "lost", ""]).run()
    assert app.query_params == {}
    source.add(make_job(5, JobStatus.UNKNOWN))
    services.forget_reads()
    assert ":violet[●] Unknown 1" in app.run().button_group(key="filter-status").options


def test_days_of_creation_land_in_the_url(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1), make_job(2, created_at=NOW - timedelta(days=3)))
    app = open_page("jobs", skip="0")
    app.date_input(key="filter-days").set_value((date(2026, 11, 20), date(2026, 11, 22))).run()
    assert app.query_params["createdFrom"] == "2026-11-20T00:00:00Z"
    assert app.query_params["createdUntil"] == "2026-11-23T00:00:00Z"
    assert shown(app) == ["Aria v2"]
    assert "Remove time filter" not in labels(app)
    app.date_input(key="filter-days").set_value(()).run()
    assert shown(app) == ["Aria v1", "Aria v2"]


def test_every_name_is_a_link_to_its_job(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1, name="![](http://x.test/y.png)"), make_job(2))
    app = open_page("jobs", q="")
    links = [each.proto for each in app.get("page_link") if each.proto.page == "job"]
    assert [(link.query_string, link.label) for link in links] == [
        ("id=job-001", "\\!\\[\\]\\(http\u2060\\:\\/\\/x\\.test\\/y\\.png\\)"),
        ("id=job-002", "Aria v2"),
    ]


class PartialSource(MemorySource):
    """A source that could not read everything."""

    def list_jobs(self, query: JobQuery) -> JobPage:
        return replace(super().list_jobs(query), skipped_rows=2, incomplete="Still counting *old* jobs.")


def test_what_is_missing_is_said(source: MemorySource, open_page: OpenPage) -> None:
    partial = PartialSource(now=lambda: NOW)
    partial.add(make_job(1))
    services.connect(partial)
    app = open_page("jobs")
    said = [each.value for each in app.warning]
    assert said == [
        "Still counting \\*old\\* jobs\\.",
        "2 rows of the source could not be understood and cannot be shown.",
    ]


def test_nothing_read_yet_is_not_said_to_be_nothing(source: MemorySource, open_page: OpenPage) -> None:
    services.connect(PartialSource(now=lambda: NOW))
    app = open_page("jobs")
    assert [each.value for each in app.header] == ["No jobs to show"]
    assert len(app.warning) == 2
    assert not app.dataframe
    assert [each.value for each in open_page("jobs", q="nobody").header] == ["No jobs found so far"]


def test_actions_fit_what_is_selected_and_say_why_not(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1, JobStatus.RUNNING), make_job(2))
    app = open_page("jobs")
    assert "Delete" not in labels(app)
    select(app, "job-001")
    assert "**Selected:** Aria v1" in texts(app)
    assert (button(app, "Retry").disabled, button(app, "Delete").disabled) == (True, True)
    assert button(app, "Retry").help == "Only a job of the dashboard that has ended can be retried."
    assert not button(app, "Cancel").disabled


def test_a_source_that_cannot_do_it_says_why(source: MemorySource, open_page: OpenPage) -> None:
    source.refused = {Action.DELETE: "This source keeps everything."}
    source.add(make_job(1))
    app = select(open_page("jobs"), "job-001")
    assert button(app, "Delete").disabled
    assert button(app, "Delete").help == "This source keeps everything."


def test_deleting_asks_names_and_sizes_and_then_says_so(source: MemorySource, open_page: OpenPage) -> None:
    half = {"size_bytes": 524_288_000}
    source.add(make_job(1, **half), make_job(2, name="**Bold** v2", **half), make_job(3, JobStatus.RUNNING))
    app = select(open_page("jobs"), "job-001", "job-002", "job-003")
    button(app, "Delete").click().run()
    said = markdown(app)
    assert "**Aria v1** (job\\-001, 500 MB)" in said
    assert "**\\*\\*Bold\\*\\* v2**" in said
    assert "job\\-003" not in said
    assert "2 jobs, 1000 MB. The log, the samples and the trained files are deleted, too." in said
    assert len(source.jobs) == 3
    button(app, "Delete 2 jobs").click().run()
    assert list(source.jobs) == ["job-003"]
    assert app.toast[0].value == "Deleted 2 jobs"


def test_cancel_asks_and_retry_does_not(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1, JobStatus.RUNNING), make_job(2, JobStatus.FAILED))
    app = select(open_page("jobs"), "job-001", "job-002")
    button(app, "Cancel").click().run()
    assert source.jobs["job-001"].status is JobStatus.RUNNING
    button(app, "Cancel 1 job").click().run()
    assert source.jobs["job-001"].status is JobStatus.CANCELLED
    button(app, "Retry").click().run()
    assert {job.status for job in source.jobs.values()} == {JobStatus.PENDING}
    assert app.toast[0].value == "Retried 2 jobs"


def test_a_retry_of_what_succeeded_asks_and_says_that_it_trains_again(
    source: MemorySource, open_page: OpenPage
) -> None:
    source.add(make_job(1), make_job(2, JobStatus.FAILED))
    app = select(open_page("jobs"), "job-001")
    button(app, "Retry").click().run()
    assert source.jobs["job-001"].status is JobStatus.SUCCEEDED
    assert "It has succeeded. A retry trains again. " in texts(app)
    button(app, "Keep as it is").click().run()
    app = select(app, "job-001", "job-002")
    button(app, "Retry").click().run()
    assert "1 of them succeeded. A retry trains again. " in texts(app)
    button(app, "Retry 2 jobs").click().run()
    assert {job.status for job in source.jobs.values()} == {JobStatus.PENDING}
    assert app.toast[0].value == "Retried 2 jobs"


def test_a_waiting_job_goes_to_the_front_in_one_click(source: MemorySource, open_page: OpenPage) -> None:
    source.add(*(make_job(number, JobStatus.PENDING) for number in (3, 2, 1)), make_job(4))
    app = select(open_page("jobs"), "job-001")
    button(app, "Move to front").click().run()
    assert [job.id for job in source.queued_jobs(3)] == ["job-001", "job-003", "job-002"]
    assert app.toast[0].value == "Moved Aria v1 to the front of the queue"
    button(app, "Move down").click().run()
    assert [job.id for job in source.queued_jobs(3)] == ["job-003", "job-001", "job-002"]
    # Several keep their order.
    app = select(app, "job-001", "job-002", "job-004")
    assert "Move up" not in labels(app)
    button(app, "Move to front").click().run()
    assert [job.id for job in source.queued_jobs(3)] == ["job-002", "job-001", "job-003"]
    assert "Move to front" not in labels(select(app, "job-004"))


def test_the_newest_sample_is_shown_small_and_what_has_none_stays_empty(
    source: MemorySource, open_page: OpenPage
) -> None:
    samples = (
        Artifact(id="1/a 1.png", name="a 1.png", kind=ArtifactKind.SAMPLE, epoch=1),
        Artifact(id="1/a 2.png", name="a 2.png", kind=ArtifactKind.SAMPLE, epoch=2),
    )
    source.add(make_job(1, artifacts=samples), make_job(2))
    app = open_page("jobs")
    assert list(app.dataframe[0].value["Sample"]) == ["/download/job-001/1/a%202.png?inline=1&small=1", ""]
    source.calls.clear()
    source.lists_samples = False  # one request per job would be too many
    services.forget_reads()
    assert list(app.run().dataframe[0].value["Sample"]) == ["", ""]
    assert source.calls["get_job"] == 0


class NewJobSource(MemorySource):
    """A source whose retry is a new job, as InfluencerAI's; a cancelled job takes a while to end."""

    def retry_job(self, job_id: str) -> Job:
        self.add(replace(self.jobs[job_id], id=f"{job_id}-again", status=JobStatus.PENDING))
        return self.jobs[f"{job_id}-again"]

    def cancel_job(self, job_id: str) -> None:
        self.add(replace(self.jobs[job_id], cancelling=True))


def test_a_retry_that_is_a_new_job_says_so_and_leads_there(source: MemorySource, open_page: OpenPage) -> None:
    attempts = "It has no attempts; a retry makes a new job."
    services.connect(NewJobSource(now=lambda: NOW, refused={Action.RETRY_IN_PLACE: attempts}))
    services.source().add(make_job(1, JobStatus.FAILED), make_job(2, JobStatus.FAILED))  # type: ignore[attr-defined]
    app = select(open_page("jobs"), "job-001", "job-002")
    assert button(app, "Retry").help == f"{attempts} It trains from step 0."
    button(app, "Retry").click().run()
    assert app.toast[0].value == "Started as 2 new jobs: job\\-001\\-again, job\\-002\\-again"
    app = select(open_page("jobs", status="failed"), "job-001")
    button(app, "Retry").click().run()
    # The browser follows it by itself, and the next page shows the toast.
    (way_on,) = [each.proto for each in app.get("page_link") if each.proto.label == "Open"]
    assert (way_on.page, way_on.query_string) == ("job", "id=job-001-again")
    assert app.query_params == {"status": "failed"}
    assert app.run().toast[0].value == "Started as a new job: job\\-001\\-again"


def test_a_job_that_is_being_cancelled_says_so_and_is_not_cancelled_twice(
    source: MemorySource, open_page: OpenPage
) -> None:
    services.connect(NewJobSource(now=lambda: NOW))
    services.source().add(make_job(1, JobStatus.RUNNING, raw_status="running"))  # type: ignore[attr-defined]
    app = select(open_page("jobs"), "job-001")
    button(app, "Cancel").click().run()
    button(app, "Cancel 1 job").click().run()
    assert app.toast[0].value == "Cancelling Aria v1"
    assert list(app.dataframe[0].value["Status"][0]) == ["Cancelling"]
    assert button(app, "Cancel").disabled


class StubbornSource(MemorySource):
    """A source that refuses to delete."""

    def delete_job(self, job_id: str) -> None:
        raise InvalidRequest("The *folder* is in use.", hint="Close it first.")


def test_a_failed_action_is_no_success(source: MemorySource, open_page: OpenPage) -> None:
    stubborn = StubbornSource(now=lambda: NOW)
    stubborn.add(make_job(1))
    services.connect(stubborn)
    app = select(open_page("jobs"), "job-001")
    button(app, "Delete").click().run()
    button(app, "Delete 1 job").click().run()
    assert "The \\*folder\\* is in use" in app.error[0].value
    assert not app.toast


def test_an_unknown_word_and_a_nan_loss_are_shown(source: MemorySource, open_page: OpenPage) -> None:
    source.add(make_job(1, JobStatus.UNKNOWN, raw_status="exploded", progress=Progress(loss=float("nan"))))
    table = open_page("jobs").dataframe[0].value
    assert list(table["Status"][0]) == ["Unknown (exploded)", "NaN loss"]
    assert math.isnan(table["Loss"][0])
