"""Every page as a viewer meets it: everything can be seen, controls say why they do nothing, and services refuse."""

import ast
import operator
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib import services
from lib.access import NO_ACCESS, ONLY_LOOKING, Role, Visitor
from lib.audit import CHANGES
from lib.embedded.datasets.sample import prepare
from lib.errors import NotAllowed
from lib.jobs.job import Job, JobStatus
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.memory import MemorySource
from tests.pages.reading import labels, texts
from tests.test_sign_in_settings import PROXY

ROOT = Path(__file__).parents[2]
VERA = Visitor(name="vera@corp.example", role=Role.VIEWER)


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Visitor | None], None]]:
    """Be somebody: whatever runs from now on runs for this visitor."""
    for name, value in {**PROXY, "LORA_SETTINGS_FILE": str(tmp_path / "none.toml")}.items():
        monkeypatch.setenv(name, value)
    services.access.cache_clear()

    def visit(visitor: Visitor | None) -> None:
        services.identify_with(lambda: visitor)

    visit(VERA)
    yield visit
    visit(None)


def disabled(app) -> dict[str, str]:
    """Label -> help of each disabled button."""
    return {button.label: button.help for button in app.button if button.disabled}


@pytest.fixture
def job(source: MemorySource, visit: object) -> Job:
    source.add(Job(id="j1", name="one", status=JobStatus.RUNNING, attempt=1))
    return source.jobs["j1"]


def test_a_job_s_controls_say_why(job, open_page):
    app = open_page("job", id="j1")
    assert "vera@corp.example · viewer" in texts(app).replace("\u2060", "")
    assert ONLY_LOOKING in texts(app)
    assert not {"Retry", "Cancel", "Delete"} & {label for label in labels(app) if label not in disabled(app)}


def test_a_job_says_who_did_what_to_it(source, visit, open_page):
    names = {"submitted_by": "ann@corp.example", "cancelled_by": "![](http://x.example/y.png)"}
    source.add(Job(id="j2", name="two", status=JobStatus.CANCELLED, attempt=1, **names))
    shown = texts(open_page("job", id="j2")).replace("\u2060", "")
    assert "Submitted by ann@corp.example" in shown
    assert "Cancelled by !" in shown
    assert "Retried by" not in shown


def test_the_wizard_says_why(job, open_page):
    assert ONLY_LOOKING in texts(open_page("new_job"))


def test_a_viewer_sees_pictures_and_captions_and_changes_none(embedded: EmbeddedSource, visit, open_page):
    prepare(embedded.datasets, embedded.configs.save)
    (dataset,) = embedded.datasets.list()
    app = open_page("datasets", id=dataset.id)
    assert ONLY_LOOKING in texts(app)
    labels = {button.label for button in app.button}
    assert not labels & {"Delete dataset", "Create dataset"}
    name = embedded.datasets.image_names(dataset.id)[0]
    app = next(button for button in app.button if name in button.label.replace("\\", "")).click().run()
    assert app.text_area[0].disabled
    assert disabled(app)["Save caption"] == disabled(app)["Delete image"] == ONLY_LOOKING
    app = open_page("datasets")
    assert "Create dataset" not in {button.label for button in app.button}


def test_a_viewer_sees_configurations_and_changes_none(embedded: EmbeddedSource, visit, open_page):
    prepare(embedded.datasets, embedded.configs.save)
    for params in ({}, {"id": embedded.configs.list()[0].id}):
        app = open_page("configs", **params)
        assert ONLY_LOOKING in texts(app)
        assert not {button.label for button in app.button} & {"Save", "Duplicate", "Make default", "Delete"}


def test_somebody_without_access_sees_nothing(job, visit, open_page):
    visit(None)
    for page, params in (("overview", {}), ("jobs", {}), ("job", {"id": "j1"}), ("datasets", {}), ("configs", {})):
        app = open_page(page, **params)
        assert [each.value for each in app.error] == [NO_ACCESS]
        assert "one" not in texts(app).split()
        assert not app.title


@pytest.mark.parametrize("change", sorted(CHANGES))
@pytest.mark.parametrize("visitor", [VERA, None])
def test_services_refuse_whatever_the_page_let_through(
    job: Job, visit: Callable[..., None], change: str, visitor: Visitor | None
) -> None:
    visit(visitor)
    with pytest.raises(NotAllowed):
        services.act(lambda source: operator.attrgetter(change)(source)("j1"))
    assert job.status is JobStatus.RUNNING


def test_every_change_that_is_written_down_is_one_that_pages_must_not_call() -> None:
    assert {change.rpartition(".")[2] for change in CHANGES} == CHANGING


CHANGING = frozenset(
    "create_job create_sweep cancel_job retry_job continue_job move_job delete_job annotate_job watch_job start_check "
    "create import_file set_caption delete_image delete_stray_captions delete save".split()
)


def test_every_change_goes_through_act() -> None:
    """Nothing calls ``services.source().….delete(…)``: a change is what ``act`` hands the source to."""
    for file in [
        *(ROOT / "pages").glob("*.py"),
        *(ROOT / "lib" / "ui").rglob("*.py"),
        *(ROOT / "lib/web").glob("*.py"),
    ]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in CHANGING:
                assert "services.source()" not in ast.unparse(node), f"{file.name} line {node.lineno}"
