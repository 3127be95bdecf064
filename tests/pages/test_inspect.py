"""The page that says what a LoRA file is and holds: of a job, below an open folder, sent by a browser, and broken."""

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from streamlit.testing.v1 import AppTest

from lib import services
from lib.errors import ArtifactError, SourceUnavailable
from lib.jobs.job import Artifact, ArtifactKind, PresignedUrl
from lib.jobs.lora_report import LoraPlace
from lib.sources.memory import MemorySource
from lib.ui.parts.text import plain
from tests.artifacts.file_server import Shelf
from tests.artifacts.lora.files import RECORDED, framed, pair
from tests.making import NOW, make_job
from tests.monitor_jobs import HOSTILE, fill
from tests.pages.reading import button, labels, markdown, texts
from tests.pages.reading import plain as plain_text
from tests.waiting import wait_for

SERIES = "aria_v2.safetensors"
OpenPage = Callable[..., AppTest]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: MemorySource) -> Path:
    """A folder whose files may be read by their path."""
    opened = tmp_path / "loras"
    opened.mkdir()
    monkeypatch.setenv("LORA_MODEL_DIRS", str(opened))
    return opened


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    opened = Shelf((RECORDED / "series" / SERIES).read_bytes())
    yield opened
    opened.close()


def open_bytes(folder: Path, open_page: OpenPage, data: bytes) -> AppTest:
    (folder / "a.safetensors").write_bytes(data)
    return open_page("inspect", path="a.safetensors")


def chips(app: AppTest) -> list[str]:
    """What can be copied, in order."""
    bodies = "".join(each.proto.body for each in app.get("html"))
    return [unescape(text) for text in re.findall("<button[^>]* data-copy [^>]*>(.*?)</button>", bodies)]


def test_without_a_file_there_is_a_choice(open_page: OpenPage, source: MemorySource) -> None:
    app = open_page("inspect")
    assert app.title[0].value == "Inspect a LoRA"
    assert app.text_input(key="inspect-path").disabled
    assert "LORA_MODEL_DIRS" in texts(app)


def test_a_file_of_a_job(open_page: OpenPage, source: MemorySource, tmp_path: Path) -> None:
    fill(source, NOW, tmp_path)
    app = open_page("inspect", job="done", artifact="1/aria-000003.safetensors")
    shown = texts(app)
    assert app.title[0].value.replace("\\", "") == "aria-000003.safetensors"
    for fact in (
        "Type]]  \n**LoRA",
        "Written by]]  \n**kohya sd-scripts**",
        "Rank]]  \n**4**",
        "Alpha]]  \n**2**",
        "Effective scale]]  \n**0.5**",
        "Epoch]]  \n**3**",
        "Job Aria done => job?id=done",
        "Download -> /download/done/1/aria-000003.safetensors",
    ):
        assert fact in shown
    assert chips(app)[:1] == ["aria_chr woman"]
    assert "BlockModules" in shown
    assert not app.get("progress")
    assert not app.get("vega_lite_chart") + app.get("dataframe") + app.get("arrow_data_frame"), "scripts of a megabyte"


def test_every_artifact_that_may_be_a_lora_leads_to_the_page(
    open_page: OpenPage, source: MemorySource, tmp_path: Path
) -> None:
    fill(source, NOW, tmp_path)
    shown = texts(open_page("job", id="done"))
    assert "Inspect => inspect?job=done&artifact=1%2Faria.safetensors" in shown


def test_a_job_without_a_file_lists_its_loras(open_page: OpenPage, source: MemorySource, tmp_path: Path) -> None:
    fill(source, NOW, tmp_path)
    app = open_page("inspect", job="done")
    files = [plain_text(label).strip("*") for label in labels(app) if "safetensors" in label]
    assert files == ["aria.safetensors", *(f"aria-{epoch:06d}.safetensors" for epoch in range(7, 0, -1))]
    assert "LoRA · 500 MB" in texts(app)
    button(app, "**aria-000003.safetensors**").click().run()
    assert "1/aria-000003.safetensors" in app.query_params["artifact"]
    assert app.title[0].value.replace("\\", "") == "aria-000003.safetensors"
    assert "The job has no LoRA file yet." in texts(open_page("inspect", job="run"))
    source.add(replace(source.jobs["done"], attempt=2))
    services.forget_reads()
    assert "Checkpoint · 500 MB · epoch 7 · attempt 1" in texts(open_page("inspect", job="done"))
    source.failing = SourceUnavailable("No answer within 10 s.")
    services.forget_reads()
    assert "The LoRA files of the job cannot be listed" in texts(open_page("inspect", job="cancelled"))


def test_the_best_file_is_picked_where_it_is_inspected(
    open_page: OpenPage, source: MemorySource, tmp_path: Path
) -> None:
    fill(source, NOW, tmp_path)
    app = button(open_page("inspect", job="done", artifact="1/aria-000003.safetensors"), "☆").click().run()
    assert source.jobs["done"].best == "1/aria-000003.safetensors"
    assert "★" in labels(app)
    assert plain_text(labels(open_page("inspect", job="done"))[0]) == "**★ aria-000003.safetensors**"


def test_a_path_below_an_open_folder(open_page: OpenPage, folder: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir()
    shutil.copyfile(RECORDED / "series" / SERIES, folder / "sub" / "mine.safetensors")
    app = open_page("inspect", path="sub/mine.safetensors")
    assert app.title[0].value.replace("\\", "") == "mine.safetensors"
    assert "Compare with the other checkpoints" not in texts(app)


@pytest.mark.parametrize("given", ["../secret.safetensors", "/etc/passwd", "link.safetensors", "", "a\0b", ".", "~/x"])
def test_a_path_elsewhere_is_refused_like_one_that_is_not_there(folder: Path, tmp_path: Path, given: str) -> None:
    (tmp_path / "secret.safetensors").write_bytes(save(pair("lora_unet_a")))
    (folder / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(ArtifactError, match="There is no such file below the folders"):
        services.lora_report(LoraPlace(path=given or "nothing"))


@pytest.mark.parametrize("name", sorted(path.name for path in (RECORDED / "broken").iterdir()))
def test_a_broken_file_is_a_sentence(open_page: OpenPage, folder: Path, name: str) -> None:
    app = open_bytes(folder, open_page, (RECORDED / "broken" / name).read_bytes())
    assert app.title[0].value == "The file cannot be inspected"
    assert len(app.error) == 1
    assert "unexpected" not in texts(app)


@pytest.mark.parametrize("name", sorted(path.name for path in (RECORDED / "not_lora").glob("*.safetensors")))
def test_a_file_that_is_no_lora_says_what_it_is(open_page: OpenPage, folder: Path, name: str) -> None:
    app = open_bytes(folder, open_page, (RECORDED / "not_lora" / name).read_bytes())
    assert "This is no LoRA: the file holds a" in texts(app)
    assert "Compute norms" not in labels(app)


def test_hostile_metadata_is_shown_as_text(open_page: OpenPage, folder: Path) -> None:
    tags = '{"![](http://evil.test/{})": {"![](http://evil.test/a.png)": 3, "<img src=http://evil.test/b>": 2}}'
    metadata = {
        "modelspec.trigger_phrase": HOSTILE[:250],
        "ss_tag_frequency": tags,
        "ss_sd_model_name": "![](http://evil.test/model.png)",
        "ss_output_name": HOSTILE[:200],
        "![](http://evil.test/key.png)": "<script>fetch('http://evil.test')</script>",
        "modelspec.thumbnail": "data:image/svg+xml,<svg onload=alert(1)>",
    }
    tensors = pair("lora_unet_![](http://evil.test/module.png)") | {
        "lora_unet_x.lora_down.weight": np.zeros((2, 3), np.float32)
    }
    app = open_bytes(folder, open_page, save(tensors, metadata))
    assert not app.exception
    bodies = [str(each.proto.body) for each in app.get("html") if "<style" not in each.proto.body]
    assert len(bodies) > 2
    assert plain(HOSTILE[:250]) in chips(app)
    assert not any("<img" in body or "<script" in body for body in bodies)
    shown = markdown(app)
    for body in bodies:  # HTML, in which Markdown means nothing
        shown = shown.replace(re.sub("<[^>]+>", "", body), "")
    assert "](http" not in shown
    assert "evil.test/model.png" in texts(app).replace("\u2060", "")


def test_contradictions_are_named_and_the_tensors_count(open_page: OpenPage, folder: Path) -> None:
    data = (RECORDED / "metadata/lying_rank_alpha.safetensors").read_bytes()
    shown = texts(open_bytes(folder, open_page, data))
    assert "Before you use it" in shown
    assert "The tensors count." in shown


def test_a_file_of_another_machine_is_read_by_ranges(open_page: OpenPage, source: MemorySource, shelf: Shelf) -> None:
    link = PresignedUrl(url=f"{shelf.address}/x?X-Amz-Signature=secret", expires_at=None)
    file = Artifact(id="out/x.safetensors", name="x.safetensors", kind=ArtifactKind.LORA, frozen_link=link)
    source.add(make_job(1, artifacts=(file,)))
    source.files["job-001", file.id] = link
    app = open_page("inspect", job="job-001", artifact=file.id)
    assert app.title[0].value.replace("\\", "") == "x.safetensors"
    assert shelf.ranges == ["bytes=0-524287"]
    app.run()
    assert len(shelf.ranges) == 1
    shelf.mode = "403"
    services.forget_reads()
    shown = texts(app.run())
    assert "Could not refresh: 127.0.0.1 answered 403" in shown
    assert "secret" not in shown


def test_norms_are_computed_on_request_and_shown(open_page: OpenPage, folder: Path) -> None:
    app = open_bytes(folder, open_page, (RECORDED / "series" / SERIES).read_bytes())
    button(app, "Compute norms").click().run()
    place = LoraPlace(path="a.safetensors")
    version = services.lora_report(place).value.version
    wait_for(lambda: (state := services.norms_state(place, version)) and state.is_over, "no norms")
    shown = texts(app.run())
    assert "Norm of the whole change: **0.4608**" in shown
    assert "No value is NaN or infinite." in shown
    assert shown.count("BlockNorm") == 1
    assert any('class="bars"' in each.proto.body and ">Norm<" in each.proto.body for each in app.get("html"))


def test_nan_is_an_error_on_the_page(open_page: OpenPage, folder: Path) -> None:
    tensors = pair("lora_unet_a")
    tensors["lora_unet_a.lora_up.weight"][0, 0] = np.nan
    app = open_bytes(folder, open_page, save(tensors))
    button(app, "Compute norms").click().run()
    place = LoraPlace(path="a.safetensors")
    version = services.lora_report(place).value.version
    wait_for(lambda: (state := services.norms_state(place, version)) and state.is_over, "no norms")
    assert "1 NaN value, as in lora_unet_a.lora_up.weight. The file is damaged" in texts(app.run())


def test_a_file_that_changes_is_not_taken_for_the_one_shown(folder: Path, source: MemorySource) -> None:
    (folder / "a.safetensors").write_bytes(save(pair("lora_unet_a")))
    place = LoraPlace(path="a.safetensors")
    version = services.lora_report(place).value.version
    (folder / "a.safetensors").write_bytes(save(pair("lora_unet_b", rank=2)))
    services.start_norms(place, version)
    wait_for(lambda: (state := services.norms_state(place, version)) and state.is_over, "no end")
    state = services.norms_state(place, version)
    assert state is not None
    assert "changed while it was read" in str(state.problem)
    (folder / "a.safetensors").unlink()
    services.start_norms(place, version)
    wait_for(lambda: "no such file" in str((services.norms_state(place, version) or state).problem), "no end")


def test_the_checkpoints_of_a_job_beside_each_other(open_page: OpenPage, source: MemorySource, tmp_path: Path) -> None:
    fill(source, NOW, tmp_path)
    app = open_page("inspect", job="done", artifact="1/aria-000003.safetensors")
    app.toggle[0].set_value(True).run()
    assert texts(app).count("Norm not computed") == 8
    start = next(each for each in app.button if each.label.startswith("Compute norms of 8 checkpoints"))
    start.click().run()

    def all_known() -> bool:
        return texts(app.run()).count("no NaN") == 8

    wait_for(all_known, "not all norms")
    assert "Norm 0.4608, no NaN" in texts(app)
    button(app, "Epoch 7: aria-000007.safetensors").click().run()
    assert app.title[0].value.replace("\\", "") == "aria-000007.safetensors"


def test_only_the_header_of_a_visitors_file_is_read(open_page: OpenPage, source: MemorySource) -> None:
    data = (RECORDED / "series" / SERIES).read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    start = base64.b64encode(data[:length]).decode()
    report = services.sent_report("mine.safetensors", {"size": len(data), "start": start, "alphas": []})
    assert report.parameters > 0
    with pytest.raises(ArtifactError, match="something else"):
        services.sent_report("x", {"size": 1, "start": "?", "alphas": []})
    pickle = base64.b64encode(b"PK\x03\x04" + bytes(60)).decode()
    with pytest.raises(ArtifactError, match="pickle"):
        services.sent_report("x", {"size": 10_000, "start": pickle, "alphas": []})
    app = open_page("inspect")
    app.session_state["report of a sent header"] = report
    shown = texts(app.run())
    assert "Written by]]  \n**kohya sd-scripts**" in shown
    assert "lib.artifacts.lora.inspect FILE --norms" in shown


def test_endless_metadata_is_cut(open_page: OpenPage, folder: Path) -> None:
    tensors = pair("lora_unet_a")
    report_of = open_bytes(folder, open_page, save(tensors, {"a": "x" * 3_000_000, "b": "y"}))
    assert "3,000,000 characters" not in texts(report_of)  # the beginning is shown in a table
    metadata = services.lora_report(LoraPlace(path="a.safetensors")).value.metadata
    assert sum(map(len, metadata.values())) < 100_000
    assert metadata["b"] == "y"
    assert metadata["a"].endswith("(3,000,000 characters)")


def test_a_header_alone_claims_nothing(open_page: OpenPage, folder: Path) -> None:
    app = open_bytes(folder, open_page, framed({"__metadata__": {}}))
    assert "This is no LoRA" in texts(app)
