"""Who did what: kept with the job, and one line of JSON per action."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib import services
from lib.access import Role, Visitor, acting_as
from lib.embedded.datasets.sample import prepare
from lib.errors import DashboardError, NotAllowed
from lib.jobs.job import Job
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.sources.embedded.source import EmbeddedSource
from tests.test_sign_in_settings import PROXY

ANN = Visitor(name="ann@corp.example", role=Role.OPERATOR)
BOB = Visitor(name="bob@corp.example", role=Role.OPERATOR)
VERA = Visitor(name="vera@corp.example", role=Role.VIEWER)
CAPTION = "a caption that is nobody's business"


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Visitor | None], None]]:
    """Be somebody, where people sign in."""
    for name, value in {**PROXY, "LORA_SETTINGS_FILE": str(tmp_path / "none.toml")}.items():
        monkeypatch.setenv(name, value)
    services.access.cache_clear()

    def visit(visitor: Visitor | None) -> None:
        services.identify_with(lambda: visitor)

    visit(ANN)
    yield visit
    visit(None)


def submit(source: EmbeddedSource) -> Job:
    (dataset,) = source.datasets.list()
    request = JobRequest(
        name="one",
        dataset_id=dataset.id,
        config_id=None,
        settings=TrainingSettings(trainer="tiny"),
        submission_id="s1",
    )
    return services.act(lambda source: source.create_job(request))


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """What the audit file says."""
    return lambda: [json.loads(line) for line in (tmp_path / "data" / "audit.jsonl").read_text().splitlines()]


@pytest.fixture
def prepared(embedded: EmbeddedSource, monkeypatch: pytest.MonkeyPatch) -> EmbeddedSource:
    prepare(embedded.datasets, embedded.configs.save)
    monkeypatch.setattr(embedded, "start_worker", lambda: None)
    return embedded


def test_a_job_keeps_who_did_what_to_it(prepared: EmbeddedSource, visit: Callable[..., None]) -> None:
    job = submit(prepared)
    visit(BOB)
    services.act(lambda source: source.cancel_job(job.id))
    found = prepared.get_job(job.id)
    assert (found.submitted_by, found.cancelled_by, found.retried_by) == (ANN.name, BOB.name, None)
    services.act(lambda source: source.retry_job(job.id))
    found = prepared.get_job(job.id)
    assert (found.submitted_by, found.cancelled_by, found.retried_by) == (ANN.name, None, BOB.name)
    assert acting_as.get() == ""


def test_nobody_is_named_where_nobody_signs_in(prepared: EmbeddedSource, tmp_path: Path) -> None:
    job = submit(prepared)
    assert (job.submitted_by, job.cancelled_by, job.retried_by) == (None, None, None)
    assert not (tmp_path / "data" / "audit.jsonl").exists()


def test_each_action_is_one_line(
    prepared: EmbeddedSource, visit: Callable[..., None], lines: Callable[[], list[dict[str, Any]]]
) -> None:
    job = submit(prepared)
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    dataset = services.act(lambda source: source.datasets.create("red"))
    services.act(lambda source: source.datasets.import_file(dataset.id, "a.png", io.BytesIO(content.getvalue())))
    services.act(lambda source: source.datasets.set_caption(dataset.id, "a.png", CAPTION))
    services.act(lambda source: source.configs.delete(source.configs.list()[0].id))
    services.act(lambda source: source.delete_job(job.id))
    with pytest.raises(DashboardError):
        services.act(lambda source: source.start_check(TrainingSettings(trainer="tiny")))
    visit(VERA)
    with pytest.raises(NotAllowed):
        services.act(lambda source: source.delete_job(job.id))
    visit(BOB)
    with pytest.raises(DashboardError):
        services.act(lambda source: source.delete_job(job.id))
    found = lines()
    assert [(line["who"], line["action"], line["outcome"].partition(":")[0]) for line in found] == [
        (ANN.name, "create_job", "done"),
        (ANN.name, "datasets.create", "done"),
        (ANN.name, "datasets.import_file", "done"),
        (ANN.name, "datasets.set_caption", "done"),
        (ANN.name, "configs.delete", "done"),
        (ANN.name, "delete_job", "done"),
        (ANN.name, "start_check", "failed"),
        (VERA.name, "change", "refused"),
        (BOB.name, "delete_job", "failed"),
    ]
    assert found[0]["on"] == ["one", job.id]
    assert found[3]["on"] == [dataset.id, "a.png"]
    assert found[6]["on"] == ["tiny"]
    assert CAPTION not in json.dumps(found)


def test_the_file_is_for_its_owner_and_is_never_a_link(
    prepared: EmbeddedSource, visit: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "data" / "audit.jsonl"
    services.act(lambda source: source.datasets.create("red"))
    assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    services.act(lambda source: source.datasets.create("blue"))
    assert not (tmp_path / "elsewhere").exists()
    assert "The audit file cannot be written" in caplog.text


def test_names_cannot_add_lines(
    prepared: EmbeddedSource, visit: Callable[..., None], lines: Callable[[], list[dict[str, Any]]]
) -> None:
    visit(Visitor(name='eve"}\n{"who": "ann', role=Role.OPERATOR))
    with pytest.raises(DashboardError):
        services.act(lambda source: source.delete_job('x"}\n\u2028{"who": "ann"}'))
    assert len(lines()) == 1
