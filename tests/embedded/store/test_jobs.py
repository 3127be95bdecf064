"""The embedded source's database and files: what survives, what is refused, what stays fast."""

import math
import re
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lib.embedded.store import job_queries
from lib.embedded.store.connection import DiskFullError
from lib.embedded.store.database import Database
from lib.embedded.store.elsewhere import new_job_id
from lib.embedded.store.jobs import Store
from lib.embedded.store.migrations import MIGRATIONS
from lib.embedded.store.runs import AttemptEnd, CannotRun, Claim
from lib.embedded.trainers.recipe import FoundFile
from lib.errors import ArtifactError, InvalidRequest, StoreError
from lib.jobs.annotations import PICKED_KINDS, Annotations
from lib.jobs.cluster import NEEDED, needs_of
from lib.jobs.failures.judge import Verdict
from lib.jobs.highlights import highlights_of
from lib.jobs.job import ArtifactKind, Failure, Job, JobStatus, Progress
from lib.jobs.job_request import JobRequest
from lib.jobs.query import JobQuery, SortBy
from lib.jobs.resume import Start
from lib.jobs.training_settings import TrainingSettings
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.protocol import LocalFile
from tests.contract.houses import NOW, EmbeddedHouse
from tests.contract.test_changing import request_for
from tests.contract.test_reading import known_jobs
from tests.embedded.known_jobs import put_jobs
from tests.jobs.test_highlights import LORAS, SAMPLES


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "data", lambda: NOW)) as opened:
        yield opened


@pytest.fixture
def house(tmp_path: Path) -> Iterator[EmbeddedHouse]:
    built = EmbeddedHouse(tmp_path / "house")
    yield built
    built.close()


def submit(store: Store, number: int = 0, **settings: Any) -> Job:
    request = JobRequest(
        submission_id=str(number),
        name=f"job {number}",
        dataset_id="cats",
        config_id=None,
        settings=TrainingSettings(**{"extra": {"a": [1]}, **settings}),
    )
    return store.submit(request, dataset_name="Cats", config_name=None)


def claimed(store: Store) -> Claim:
    claim = store.runs.claim_next()
    assert claim is not None
    return claim


def ending(
    status: JobStatus = JobStatus.SUCCEEDED, at: float = NOW.timestamp() + 60, failure: Failure | None = None
) -> AttemptEnd:
    return AttemptEnd(
        verdict=Verdict(status=status, failure=failure),
        progress=Progress(step=5, loss=float("nan")),
        finished_at=at,
        exit_code=-9,
        size_bytes=7,
    )


# The file


@pytest.mark.parametrize("damage", ["text", "header kept", "newer", "foreign"])
def test_a_file_that_cannot_be_used_is_named_and_left_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "lora.db"
    if damage == "text":
        path.write_bytes(b"these are my notes, not a database" * 200)
    elif damage == "header kept":
        with closing(Store(tmp_path)) as store:
            submit(store)
        with path.open("r+b") as file:
            file.seek(100)
            file.write(b"\xff" * 40_000)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute(f"PRAGMA user_version = {MIGRATIONS[-1].number + 1 if damage == 'newer' else 0}")
            other.execute("CREATE TABLE recipes (cake)")
    before = path.read_bytes()
    with pytest.raises(StoreError) as refused, closing(Store(tmp_path)) as store:
        store.list_jobs(JobQuery())
    assert str(path) in str(refused.value)
    assert refused.value.hint
    assert damage == "newer" or f"mv '{path}'" in refused.value.hint
    assert (".recover" in refused.value.hint) == (damage in ("text", "header kept"))
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    for folder in (in_the_way, in_the_way / "data", Path("/proc/nowhere")):
        with pytest.raises(StoreError, match=re.escape(str(folder))) as refused:
            Store(folder)
        assert "LORA_DATA_DIR" in refused.value.hint


def test_many_first_starts_at_once_make_one_database(tmp_path: Path) -> None:
    def start(number: int) -> None:
        with closing(Store(tmp_path)) as store:
            submit(store, number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(start, range(8)))
    with closing(Store(tmp_path)) as store:
        assert store.list_jobs(JobQuery()).total == 8


def test_a_full_disk_is_said_and_harms_nothing(store: Store) -> None:
    submit(store)
    with pytest.raises(DiskFullError, match="full"), store.database.writing() as connection:  # noqa: PT012
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        connection.execute("INSERT INTO configs VALUES ('a', 'a', 'a', ?, '', 0, 0, 0)", ("x" * 1_000_000,))
    with store.database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert store.list_jobs(JobQuery()).total == 1
    submit(store, 1)


def test_connections_are_given_back_and_closed(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.reading() as first, database.reading() as second:
        assert first is not second
    with database.reading() as again:
        assert again in (first, second)
    database.close()
    for connection in (first, second):
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")


# The queue


def test_a_job_is_claimed_once_however_many_ask(store: Store) -> None:
    ids = [submit(store, number).id for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        claims = [claim for claim in pool.map(lambda _: store.runs.claim_next(), range(24)) if claim]
    assert sorted(claim.job_id for claim in claims) == sorted(ids)
    assert {claim.attempt for claim in claims} == {1}
    assert claims[0].settings == TrainingSettings(extra={"a": [1]})


def test_those_that_cannot_run_hide_nobody_and_the_others_keep_their_order(store: Store) -> None:
    def room(settings: TrainingSettings) -> tuple[str, ...]:
        if settings.cluster_resources:
            raise CannotRun
        return ()

    for number in range(120):
        submit(store, number, seed=number, cluster_resources=(f"NOPE={1 + number % 2}",))
    kinds = ({"gpus": 2}, {}, {"gpus": 2}, {"extra": {"x": math.nan}}, {"gpus": 1})
    others = [submit(store, 200 + number, **kind).id for number, kind in enumerate(kinds)]
    assert [claim.job_id for claim in iter(lambda: store.runs.claim_next(room), None)] == others
    assert store.count_by_status()[JobStatus.PENDING] == 120


def test_what_a_job_needs_is_told_by_the_settings_that_the_queue_looks_at() -> None:
    read: set[str] = set()

    class Read(TrainingSettings):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return super().__getattribute__(name)

    needs_of(Read(), uses_gpu=True)
    assert read - {"__class__"} == {*NEEDED}


def test_one_submission_makes_one_job_however_many_send_it(store: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert len({job.id for job in pool.map(lambda _: submit(store), range(12))}) == 1


def test_a_claim_given_back_keeps_its_place(store: Store) -> None:
    first, second = submit(store, 1), submit(store, 2)
    claim = claimed(store)
    store.runs.unclaim(claim)
    assert [store.get_job(job.id).queue_position for job in (first, second)] == [1, 2]
    assert store.get_job(first.id).attempts == ()
    assert claimed(store) == claim


def test_a_retried_job_waits_behind_the_others(store: Store) -> None:
    first, second = submit(store, 1), submit(store, 2)
    store.runs.finish(claimed(store), ending(JobStatus.FAILED))
    assert store.retry(first.id).queue_position == 2
    assert [claimed(store).job_id for _ in range(2)] == [second.id, first.id]
    assert store.get_job(first.id).attempt == 2


def test_what_goes_on_by_itself_comes_first_unless_somebody_cancelled_it_meanwhile(store: Store) -> None:
    start = Start(attempt=1, path="v1-000002-state", step=24, epoch=2, by_itself=True)
    lost = replace(ending(JobStatus.LOST), goes_on=start)
    jobs = [submit(store, number) for number in range(3)]
    claims = [claimed(store), claimed(store)]
    store.cancel(jobs[1].id)
    assert [store.runs.finish(claim, lost) for claim in claims] == [True, True]
    assert [store.get_job(job.id).status for job in jobs] == [JobStatus.PENDING, JobStatus.LOST, JobStatus.PENDING]
    assert not store.runs.finish(claims[0], lost), "told twice, it is queued once"
    again = claimed(store)
    assert (again.job_id, again.attempt, again.start) == (jobs[0].id, 2, start)
    assert store.get_job(jobs[0].id).attempts[0].status is JobStatus.LOST


# Running and ending


def test_progress_is_kept_until_the_end_and_not_after(store: Store) -> None:
    job = submit(store)
    claim = claimed(store)
    assert not store.runs.record_progress(claim, Progress(step=3, loss=0.5, eta_s=9), ["nan_loss"], NOW.timestamp())
    running = store.get_job(job.id)
    assert (running.status, running.progress.step, running.alarms) == (JobStatus.RUNNING, 3, ("nan_loss",))
    assert running.last_output_at == NOW
    assert store.cancel(job.id) == 1
    stopping = store.get_job(job.id)
    assert (stopping.cancelling, stopping.progress) == (True, Progress(step=3, loss=0.5))  # and no ETA
    assert store.runs.record_progress(claim, Progress(step=4), [], None)
    assert store.runs.finish(claim, ending(JobStatus.CANCELLED))
    assert not store.runs.finish(claim, ending(JobStatus.SUCCEEDED))
    store.runs.record_progress(claim, Progress(step=9), [], None)
    ended = store.get_job(job.id)
    assert (ended.status, ended.progress.step, ended.size_bytes) == (JobStatus.CANCELLED, 5, 7)
    (attempt,) = ended.attempts
    assert (attempt.exit_code, attempt.status) == (-9, JobStatus.CANCELLED)
    assert math.isnan(attempt.progress.loss or 0)


def test_attempts_keep_what_they_were(store: Store) -> None:
    job = submit(store)
    failure = Failure(cause="killed", message="Killed.", evidence=("x",), traceback="t")
    store.runs.finish(claimed(store), ending(JobStatus.FAILED, failure=failure))
    store.retry(job.id)
    assert store.get_job(job.id).failure is None
    file = FoundFile(path="a/lora.safetensors", kind=ArtifactKind.LORA, size_bytes=3, modified_at=NOW, epoch=2)
    second = claimed(store)
    store.runs.record_command(second, ["train", "--name", "a b"])
    store.runs.record_artifacts(second, [file], {})
    store.runs.finish(second, ending())
    got = store.get_job(job.id)
    assert [(each.number, each.status, each.failure) for each in got.attempts] == [
        (1, JobStatus.FAILED, failure),
        (2, JobStatus.SUCCEEDED, None),
    ]
    assert got.command == ("train", "--name", "a b")
    (artifact,) = got.artifacts
    assert artifact.download_name == "a_lora.safetensors"
    assert (artifact.id, artifact.name, artifact.attempt, artifact.epoch) == (
        "2/a/lora.safetensors",
        "a/lora.safetensors",
        2,
        2,
    )


def test_a_clock_set_back_makes_no_negative_duration(tmp_path: Path) -> None:
    times = [NOW]
    with closing(Store(tmp_path, lambda: times[-1])) as store:
        first = submit(store, 1)
        claim = claimed(store)
        times.append(NOW - timedelta(hours=3))
        second = submit(store, 2)
        store.runs.record_progress(claim, Progress(), [], None)
        assert store.list_jobs(JobQuery(sort_by=SortBy.DURATION)).jobs[0].id == first.id
        store.runs.finish(claim, ending(at=times[-1].timestamp()))
        assert store.get_job(first.id).duration_s(times[-1]) == 0
        assert claimed(store).job_id == second.id


def test_ids_sort_by_time_and_cannot_be_guessed() -> None:
    ids = [new_job_id(NOW + timedelta(seconds=second)) for second in range(50)]
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"\d{8}-\d{6}-[a-z2-9]{8}", job_id) for job_id in ids)
    assert len({new_job_id(NOW) for _ in range(200)}) == 200


# Lists


def test_no_list_reads_rows_it_does_not_show(store: Store) -> None:
    put_jobs(store, known_jobs())
    failed, both = frozenset({JobStatus.FAILED}), frozenset({JobStatus.FAILED, JobStatus.LOST})
    filters = [{}, {"statuses": failed}, {"statuses": both}, {"search": "a"}, {"search": "a", "statuses": failed}]
    statements: list[str] = []
    with store.database.reading() as connection:
        connection.set_trace_callback(statements.append)
        for values, by, down in product(filters, SortBy, (True, False)):
            job_queries.list_jobs(connection, JobQuery(sort_by=by, descending=down, **values))  # type: ignore[arg-type]
        job_queries.outcome_counts(connection, NOW, 3600, 24)
        connection.set_trace_callback(None)
        walks = [
            statement for statement in statements if "status_counts" not in statement and "LEFT JOIN" not in statement
        ]
        assert len(walks) > 40
        for statement in walks:
            plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            few = "jobs_status" in statement and "jobs_finished" not in statement
            assert any("COVERING INDEX" in step for step in plan) or few, (statement, plan)


def test_a_traceback_comes_with_its_job_and_not_with_lists(store: Store) -> None:
    submit(store)
    failure = Failure(cause="unknown", message="Ünknown.", evidence=("a", "b"), traceback="long\n" * 10_000)
    claim = claimed(store)
    store.runs.finish(claim, ending(JobStatus.FAILED, failure=failure))
    (listed,) = store.list_jobs(JobQuery()).jobs
    assert listed.failure == replace(failure, traceback="")
    assert store.get_job(claim.job_id).failure == failure


# Files


def with_file(house: EmbeddedHouse, name: str = "lora.safetensors") -> tuple[str, Path]:
    """A job with one file in its first attempt."""
    job = house.source.create_job(request_for(house))
    claim = claimed(house.source._store)
    output = house.source.data_dir / "jobs" / job.id / "1" / "output"
    (output / name).parent.mkdir(parents=True)
    (output / name).write_bytes(b"weights")
    (output.parent / "log").write_bytes(b"trained\n")
    file = FoundFile(path=name, kind=ArtifactKind.LORA, size_bytes=7, modified_at=NOW)
    house.source._store.runs.record_artifacts(claim, [file], {})
    house.source._store.runs.finish(claim, ending())
    return job.id, output


def test_files_are_found_also_in_a_moved_data_folder(tmp_path: Path) -> None:
    house = EmbeddedHouse(tmp_path / "before")
    job_id, _ = with_file(house, "deep/größe #1.safetensors")
    house.close()
    shutil.move(tmp_path / "before", tmp_path / "after")
    with closing(EmbeddedSource(tmp_path / "after", launcher=house.launcher)) as source:
        (artifact, log) = source.artifacts(source.get_job(job_id))
        found = source.locate_artifact(job_id, artifact.id)
        assert isinstance(found, LocalFile)
        assert (found.path.read_bytes(), found.name) == (b"weights", "deep_größe #1.safetensors")
        found_log = source.locate_artifact(job_id, log.id)
        assert isinstance(found_log, LocalFile)
        assert (log.kind, log.size_bytes, found_log.name) == (ArtifactKind.LOG, 8, "Aria v1-attempt-1.log")
        assert found_log.path.read_bytes() == b"trained\n"
        assert source.read_log(job_id, attempt=1, offset=2).data == b"ained\n"


def test_a_link_out_of_the_job_is_refused(house: EmbeddedHouse, tmp_path: Path) -> None:
    job_id, output = with_file(house, "deep/lora.safetensors")
    secret = tmp_path / "lora.safetensors"
    secret.write_bytes(b"secret")
    (output / "deep" / "lora.safetensors").unlink()
    with pytest.raises(ArtifactError, match="gone"):
        house.source.locate_artifact(job_id, "1/deep/lora.safetensors")
    (output / "deep" / "lora.safetensors").symlink_to(secret)
    with pytest.raises(ArtifactError, match="own files"):
        house.source.locate_artifact(job_id, "1/deep/lora.safetensors")
    shutil.rmtree(output / "deep")
    (output / "deep").symlink_to(tmp_path)
    with pytest.raises(ArtifactError, match="own files"):
        house.source.locate_artifact(job_id, "1/deep/lora.safetensors")


def test_delete_takes_the_files_and_only_those(house: EmbeddedHouse) -> None:
    first, first_output = with_file(house)
    house.source.create_job(request_for(house, "two"))
    house.source.delete_job(first)
    assert not first_output.exists()
    assert list((house.source.data_dir / "trash").iterdir()) == []
    assert house.source.list_jobs(JobQuery()).total == 1


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.PENDING])
def test_nobody_starts_a_job_that_is_being_deleted(house: EmbeddedHouse, status: JobStatus) -> None:
    store = house.source._store
    job_id, _ = with_file(house)
    if status is JobStatus.PENDING:
        store.retry(job_id)

    def delete_copies() -> None:
        with store.deleting(job_id):
            assert store.runs.claim_next() is None
            with pytest.raises(InvalidRequest):
                store.retry(job_id)
            raise ArtifactError("the object store does not answer")

    with pytest.raises(ArtifactError):
        delete_copies()
    assert house.source.get_job(job_id).status is status
    assert dict(store.count_by_status()) == {status: 1}


def test_a_deletion_cut_short_is_listed_as_it_is_counted_and_ended_at_the_next_start(house: EmbeddedHouse) -> None:
    job_id, output = with_file(house)
    house.source.create_job(request_for(house, "two"))
    deleting = house.source._store.deleting(job_id)
    deleting.__enter__()  # and then the process is killed
    shutil.rmtree(output.parents[1])
    assert dict(house.source.count_by_status()) == {JobStatus.PENDING: 1, JobStatus.UNKNOWN: 1}
    (left,) = house.source.list_jobs(JobQuery(statuses=frozenset({JobStatus.UNKNOWN}))).jobs
    assert (left.id, left.status, left.raw_status) == (job_id, JobStatus.UNKNOWN, "deleting")
    both = frozenset({JobStatus.UNKNOWN, JobStatus.PENDING})
    assert house.source.list_jobs(JobQuery(statuses=both)).total == 2
    with closing(EmbeddedSource(house.source.data_dir, launcher=house.launcher)) as source:
        assert dict(source.count_by_status()) == {JobStatus.PENDING: 1}
        assert source.list_jobs(JobQuery()).total == 1
    assert list((house.source.data_dir / "jobs").iterdir()) == []


def test_a_deletion_that_another_process_ended_is_no_error(house: EmbeddedHouse) -> None:
    job_id, _ = with_file(house)
    with house.source._store.deleting(job_id):
        EmbeddedSource(house.source.data_dir, launcher=house.launcher).close()
    assert house.source.list_jobs(JobQuery()).total == 0


def test_a_deletion_that_fails_twice_gives_back_what_the_job_was(house: EmbeddedHouse) -> None:
    store = house.source._store
    job_id, _ = with_file(house)
    first, second = store.deleting(job_id), store.deleting(job_id)
    first.__enter__()
    second.__enter__()
    assert not first.__exit__(ArtifactError, ArtifactError("no answer"), None)
    assert house.source.get_job(job_id).status is JobStatus.SUCCEEDED
    with pytest.raises(InvalidRequest, match="Another process"):
        second.__exit__(None, None, None)
    assert house.source.list_jobs(JobQuery()).total == 1


def test_a_name_with_blanks_is_known_as_taken(house: EmbeddedHouse) -> None:
    house.source.create_job(replace(request_for(house), name="Aria  v1"))
    assert house.source._store.has_name("aria  V1")
    assert house.source._store.has_name("Aria v1")
    assert not house.source._store.has_name("Aria")


def test_files_that_stay_keep_their_job(house: EmbeddedHouse) -> None:
    job_id, output = with_file(house)
    (house.source.data_dir / "trash").write_bytes(b"in the way")
    with pytest.raises(StoreError, match="could not be deleted"):
        house.source.delete_job(job_id)
    assert house.source.get_job(job_id).status is JobStatus.SUCCEEDED
    assert (output / "lora.safetensors").exists()


# Configurations, preview, worker


def test_a_job_keeps_its_own_copy_of_its_settings(house: EmbeddedHouse) -> None:
    job = house.source.create_job(request_for(house))
    config = house.source.configs.get(house.config_id)
    house.source.configs.save(replace(config, name="Other", settings=replace(config.settings, epochs=99)))
    kept = house.source.get_job(job.id)
    assert (kept.settings["epochs"], kept.config_name) == (3, "Quick")


def test_preview_says_what_would_run_and_how_long(house: EmbeddedHouse) -> None:
    request = request_for(house)
    first = house.source.preview(request)
    assert first.problems == ()
    assert first.warnings == ()
    assert (first.estimate_s, first.estimate_basis) == (None, "")
    assert "--max_train_epochs=3" in first.command
    former = house.source.create_job(request)
    claim = claimed(house.source._store)
    end = replace(ending(), progress=Progress(total_steps=6))
    house.source._store.runs.finish(claim, end)
    second = house.source.preview(replace(request, settings=replace(request.settings, epochs=10)))
    assert second.warnings == ("There is already a job with this name.",)
    assert second.estimate_s == pytest.approx(100)
    assert second.estimate_basis == "Median pace of 1 former job with this configuration, for 10 steps."
    assert former.name == request.name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "n" * 5000}, "5,000 characters"),
        ({"dataset_id": "nobody"}, "no such dataset"),
        ({"settings": TrainingSettings(trainer="none")}, "no trainer named 'none'"),
        ({"settings": TrainingSettings(trainer="sd-scripts", base_model="sdxl")}, "SD_SCRIPTS_DIR"),
        ({"settings": TrainingSettings(trainer="sd-scripts", epochs=1000, network_dim=512)}, "only"),
        ({"settings": TrainingSettings(sample_prompts=("x",) * 10_000)}, "at most 200 lines, not 10,000"),
        ({"time_limit_s": 0.0}, "time limit"),
    ],
)
def test_preview_says_what_stands_against_a_job(house: EmbeddedHouse, values: dict[str, object], words: str) -> None:
    request = request_for(house, **values)
    problems = " ".join(house.source.preview(request).problems)
    assert words in problems
    with pytest.raises(InvalidRequest) as caught:
        house.source.create_job(request)
    assert words in " ".join((str(caught.value), caught.value.hint, *caught.value.fields.values()))
    assert house.source.list_jobs(JobQuery()).total == 0


def test_a_secret_is_refused_before_it_is_stored_and_never_shown_where_an_old_job_has_one(house: EmbeddedHouse) -> None:
    secret = TrainingSettings(trainer="sd-scripts", base_model="m", extra={"huggingface_token": "S3CRET"})
    with pytest.raises(InvalidRequest) as caught:
        house.source.create_job(request_for(house, settings=secret))
    assert "LORA_TRAINER_ENV_HF_TOKEN" in caught.value.fields["extra"]
    assert "S3CRET" not in repr(caught.value.fields)
    job = house.source.create_job(request_for(house))
    house.source._store.runs.record_command(claimed(house.source._store), ["train", "--huggingface_token=S3CRET"])
    assert house.source.get_job(job.id).command == ("train", "--huggingface_token=(not shown)")


def test_whoever_submits_or_finds_active_jobs_wants_a_worker(house: EmbeddedHouse) -> None:
    house.source.list_jobs(JobQuery())
    assert house.launcher.starts == 0
    job: JobRequest = request_for(house)
    house.source.create_job(job)
    assert house.launcher.starts == 1
    house.launcher._looked_at = -1e9
    house.source.get_job(house.source.create_job(job).id)
    assert house.launcher.starts == 3
    worker = {check.name: check for check in house.source.health()}["Worker"]
    assert worker.ok is False
    assert "no worker is running" in worker.message


def test_sqlite_picks_the_same_highlights_as_the_one_rule(store: Store) -> None:
    """A job per list of ``SAMPLES`` and ``LORAS``, one with all of them, and one without files."""
    jobs = [
        *(("sample", files) for files in SAMPLES.values()),
        *(("lora", files) for files in LORAS.values()),
        ("both", [*SAMPLES["the newest attempt"], *LORAS["the last checkpoint"]]),
        ("none", []),
    ]
    ids = [submit(store, number).id for number in range(len(jobs))]
    with store.database.writing() as connection:
        for job_id, (_, files) in zip(ids, jobs, strict=True):
            connection.executemany(
                """
                INSERT INTO artifacts (job_id, attempt, path, kind, size_bytes, created_at, epoch, step, prompt_index)
                VALUES (?, ?, ?, ?, 1, 0, ?, ?, ?)
                """,
                [(job_id, f.attempt, f.name, f.kind.value, f.epoch, f.step, f.prompt_index) for f in reversed(files)],
            )
    found = store.highlights(ids)
    assert ids[-1] not in found
    for job_id in ids[:-1]:
        assert found[job_id] == highlights_of(store.artifacts(job_id))
    assert [found[each].lora is not None for each in ids[:-1]] == [what != "sample" for what, _ in jobs[:-1]]
    assert store.highlights([]) == {}
    (both,) = (each for each, (what, _) in zip(ids, jobs, strict=True) if what == "both")
    files = store.artifacts(both)
    for file in files:
        if file.kind in PICKED_KINDS:
            store.annotate(both, Annotations(best=file.id))
            assert store.highlights([both])[both] == highlights_of(files, file.id)
            assert highlights_of(files, file.id).lora == file
    sample = next(file for file in files if file.kind not in PICKED_KINDS)
    with pytest.raises(InvalidRequest):
        store.annotate(both, Annotations(best=sample.id))
    assert "jobs_tagged" in index_of_tag(store)


def index_of_tag(store: Store) -> str:
    """How SQLite counts the jobs of a tag."""
    statements: list[str] = []
    with store.database.reading() as connection:
        connection.set_trace_callback(statements.append)
        job_queries.list_jobs(connection, JobQuery(tag="fox"))
        connection.set_trace_callback(None)
        count = next(each for each in statements if "count(*)" in each)
        return str(connection.execute(f"EXPLAIN QUERY PLAN {count}").fetchone()["detail"])


def test_times_come_back_to_the_microsecond(store: Store) -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
    put_jobs(store, [replace(known_jobs()[0], created_at=at)])
    assert store.list_jobs(JobQuery()).jobs[0].created_at == at
