"""Hostile addresses and hostile names: every page answers without a traceback, and nothing of it becomes markup."""

import re

import pytest

from lib import services
from lib.jobs.dataset import Dataset
from lib.jobs.job import Artifact, ArtifactKind, Attempt, Failure, Job, JobStatus
from lib.jobs.more_data import MoreData
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.sources.memory import MemorySource
from lib.ui.parts.links import PAGES
from tests.making import NOW

# Every parameter that any page reads, and a few that none does.
PARAMETERS = (
    *("id", "ids", "q", "status", "sortBy", "asc", "skip", "take", "page", "window", "outcome", "step", "datasetId"),
    *("configId", "from", "name", "draft", "view", "attempt", "smooth", "epoch", "artifact", "path", "all", "show"),
    *("log", "find", "epochs", "learning_rate", "seed", "sample_prompts", "base_model", "timeLimit", "trainer"),
    *("where", "tag", "sweep", "a", "b", "job", "file", "mark", "max_steps", "network_dim", "batch_size", "gpus"),
    *("dataset", "config", "createdFrom", "createdTo", "extra", "more", "__class__", "constructor"),
)
VALUES = {
    "nothing": "",
    "a path": "../../../../etc/passwd",
    "a page's markup": "<script>alert(1)</script><img src=http://evil.test/x onerror=alert(1)>",
    "markdown": "![x](http://evil.test/y.png) [a](javascript:alert(1)) :material/home: $x^2$ http://evil.test/z",
    "control characters": "a\x00b\x1b[31m\r\n\u202ec\u2028d\ufeff",
    "an SQL statement": "'; DROP TABLE jobs; -- %_*\"",
    "a huge number": "9" * 400,
    "no number": "nan",
    "a negative number": "-1",
    "the end of numbers": "1e999",
    "very long": "x" * 1_000,
    "ten thousand values": ",".join(map(str, range(1, 10_001))),
    "a list": "running,failed,,'',failed",
    "a date": "9999-99-99T99:99:99+99:99",
    "other digits": "٣²½",
}
NAMES = {
    **{kind: VALUES[kind] for kind in ("a path", "a page's markup", "markdown", "control characters", "very long")},
    "a formula": '=HYPERLINK("http://evil.test")',
}
MARKUP = re.compile(r"http://evil\.test|(?<!\\)\]\((?!/)|(?<!\\)<(?:script|img)|[\u202e\x00]")
DRAWN = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error", "success", "toast")


def drawn(app) -> str:
    """What the page draws as Markdown, and its labels."""
    found = [str(each.value) for kind in DRAWN for each in app.get(kind)]
    found += [each.label for each in (*app.button, *app.text_input, *app.selectbox, *app.metric, *app.expander)]
    found += [each.proto.label for kind in ("page_link", "link_button") for each in app.get(kind)]
    return "\n".join(found)


def assert_harmless(app) -> None:
    assert not app.exception
    text = drawn(app)
    assert not MARKUP.search(text), MARKUP.search(text)


def hostile_source(source: MemorySource, name: str) -> None:
    """A job, a dataset and a configuration whose every text is hostile."""
    settings = TrainingSettings(base_model=name, sample_prompts=(name,), extra={name[:30]: name})
    source.configs.kept = {"c1": TrainingConfig(id="c1", name=name, description=name, settings=settings)}
    source.datasets.kept = {"d1": Dataset(id="d1", name=name, image_count=2, tag_counts={name: 2}, uncaptioned=(name,))}
    artifact = Artifact(id=f"1/{name[:40]}", name=name, kind=ArtifactKind.LORA, key=name, size_bytes=1, attempt=1)
    failure = Failure(cause="unknown", message=name, hint=name, evidence=(name,))
    attempt = Attempt(number=1, status=JobStatus.FAILED, started_at=NOW, finished_at=NOW, failure=failure)
    job = Job(
        id="j1",
        name=name,
        status=JobStatus.FAILED,
        raw_status=name,
        created_at=NOW,
        started_at=NOW,
        finished_at=NOW,
        attempt=1,
        dataset_id="d1",
        dataset_name=name,
        more_data=(MoreData(dataset_id="d2", name=name, class_tokens=name),),
        config_id="c1",
        config_name=name,
        failure=failure,
        alarms=(name[:30],),
        settings={"base_model": name, "extra": {name[:30]: name}, name[:30]: name},
        attempts=(attempt,),
        artifacts=(artifact,),
        command=(name, f"--x={name}"),
        submitted_by=name,
        payload={"name": name, name[:30]: name},
    )
    source.add(job)


@pytest.mark.parametrize("turn", range(0, len(VALUES), 3))
@pytest.mark.parametrize("page", [page.file.split("/")[-1].removesuffix(".py") for page in PAGES])
def test_a_hostile_address_is_answered(source: MemorySource, open_page, page: str, turn: int) -> None:
    """Every turn gives each parameter another value, or the id of something that exists."""
    hostile_source(source, "a usual name")
    values = list(VALUES.values())
    address = {name: values[(place + turn) % len(values)] for place, name in enumerate(PARAMETERS)}
    real = {"id": {"job": "j1", "configs": "c1", "datasets": "d1"}.get(page, "j1"), "datasetId": "d1", "configId": "c1"}
    assert_harmless(open_page(page, **{**address, **(real if turn % 2 else {})}))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize(
    ("page", "parameters"),
    [
        ("overview", {}),
        ("jobs", {}),
        ("job", {"id": "j1"}),
        ("job", {"id": "j1", "view": "logs"}),
        ("configs", {}),
        ("configs", {"id": "c1"}),
        ("datasets", {"id": "d1"}),
        ("new_job", {"datasetId": "d1", "configId": "c1", "step": "2"}),
        ("new_job", {"datasetId": "d1", "configId": "c1", "step": "3"}),
        ("new_job", {"from": "j1"}),
    ],
    ids=str,
)
def test_hostile_names_are_only_text(source: MemorySource, open_page, page: str, parameters: dict, name: str) -> None:
    hostile_source(source, name)
    services.forget_reads()
    assert_harmless(open_page(page, **parameters))
