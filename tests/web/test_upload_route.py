"""The upload route, called as the server calls it: who may send, what is kept, and what a broken upload leaves."""

import asyncio
import errno
import io
import json
import threading
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from anyio import to_thread
from anyio.from_thread import start_blocking_portal
from PIL import Image
from starlette.routing import Router

from lib import services
from lib.embedded.datasets import importing
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.memory import MemorySource
from lib.web.routes import own_routes
from lib.web.upload_route import DISK_FULL, UPLOAD_HEADER, Uploads

OURS = {"host": "localhost:8501", "sec-fetch-site": "same-origin", UPLOAD_HEADER: "1"}


@pytest.fixture
def source(embedded: EmbeddedSource) -> EmbeddedSource:
    return embedded


@pytest.fixture
def dataset_id(source: EmbeddedSource) -> str:
    return source.datasets.create("red").id


def png(color: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(content, "PNG")
    return content.getvalue()


def put(
    path: str,
    *chunks: bytes,
    headers: Mapping[str, str] = OURS,
    aborted: bool = False,
    gone_after: threading.Event | None = None,
    uploads: Uploads | None = None,
):
    """Send a request whose body comes in these chunks; the status and the answer's JSON."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    end = {"type": "http.disconnect"} if aborted else {"type": "http.request", "body": b"", "more_body": False}
    incoming = iter([*messages, end])
    sent: list[dict] = []

    async def receive():
        if (message := next(incoming, None)) is not None:
            return message
        if gone_after is None:
            return await asyncio.Event().wait()  # nothing more comes
        await to_thread.run_sync(gone_after.wait)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "PUT",
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    # In a thread of its own: once Playwright was used here, this one has an event loop already.
    with start_blocking_portal() as portal:
        portal.call(Router(routes=own_routes(uploads)), scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    is_json = (b"content-type", b"application/json") in sent[0]["headers"]
    return sent[0]["status"], json.loads(body) if is_json else {}


def files(source: EmbeddedSource) -> set[str]:
    """Everything below the data folder that is no database and no description of a dataset."""
    found = {path.name for path in source.data_dir.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(("lora.db", ".dataset"))} - {
        "summary.json",
        "datasets.lock",
        "import.lock",
    }


def test_good_files_are_kept_and_bad_ones_refused_by_name(source, dataset_id):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("a.png", png())
        content.writestr("a.txt", "red, square")
        content.writestr("../evil.png", png())
        content.writestr("run.exe", b"MZ")
    data = archive.getvalue()
    status, answer = put(f"/upload/{dataset_id}/set.zip", data[:100], data[100:])
    assert status == 200
    assert set(answer["kept"]) == {"a.png", "a.txt"}
    assert set(answer["refused"]) == {"../evil.png", "run.exe"}
    assert answer["captions"] == 1
    assert files(source) == {"a.png", "a.txt"}


def test_a_body_larger_than_a_piece_arrives_whole(source, dataset_id):
    content = png()
    chunks = (content[at : at + 7] for at in range(0, len(content), 7))
    status, _ = put(f"/upload/{dataset_id}/a.png", *chunks, uploads=Uploads(write_bytes=16))
    assert status == 200
    assert Path(source.datasets.get(dataset_id).path, "a.png").read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "", "origin": "http://evil.example"},
        {"sec-fetch-site": "", "origin": "null"},
        {"sec-fetch-site": ""},
        {UPLOAD_HEADER: None},
    ],
)
def test_a_foreign_page_may_not_upload(source, dataset_id, change):
    headers = {name: value for name, value in {**OURS, **change}.items() if value is not None}
    status, answer = put(f"/upload/{dataset_id}/a.png", png(), headers=headers)
    assert status == 403
    assert "own pages" in answer["error"]
    assert files(source) == set()


def test_a_foreign_name_that_was_turned_to_this_address_may_not_upload(source, dataset_id, set_option):
    set_option("server.allowedHosts", ["localhost"])
    path, headers = f"/upload/{dataset_id}/a.png", {**OURS, "host": "evil.example:8501"}
    assert put(path, png(), headers=headers) == (403, {})
    assert files(source) == set()
    assert put(path, png())[0] == 200


def test_a_browser_that_only_says_its_origin_may(source, dataset_id):
    headers = {"host": "localhost:8501", "origin": "http://localhost:8501", UPLOAD_HEADER: "1"}
    assert put(f"/upload/{dataset_id}/a.png", png(), headers=headers)[0] == 200


def test_an_aborted_upload_leaves_nothing(source, dataset_id):
    status, _ = put(f"/upload/{dataset_id}/a.png", png()[:20], aborted=True)
    assert status == 499
    assert files(source) == set()


@pytest.mark.parametrize("declared", [True, False])
def test_a_file_over_the_limit_is_refused(source, dataset_id, declared):
    headers = {**OURS, "content-length": "31"} if declared else OURS
    chunks, uploads = (b"x" * 20, b"x" * 11), Uploads(most_bytes=30)
    status, answer = put(f"/upload/{dataset_id}/a.png", *chunks, headers=headers, uploads=uploads)
    assert status == 413
    assert "larger" in answer["error"]
    assert files(source) == set()


def test_a_file_that_does_not_fit_on_the_disk_is_refused_first(source, dataset_id):
    headers = {**OURS, "content-length": "1000"}
    status, answer = put(f"/upload/{dataset_id}/a.png", headers=headers, uploads=Uploads(kept_free_bytes=1 << 60))
    assert (status, answer["error"]) == (507, DISK_FULL)


def test_a_disk_that_fills_up_meanwhile_is_said(source, dataset_id):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    uploads = Uploads(open_file=lambda **_: full.open("r+b", buffering=0))
    status, answer = put(f"/upload/{dataset_id}/a.png", png(), uploads=uploads)
    assert (status, answer["error"]) == (507, DISK_FULL)
    assert files(source) == set()


def test_an_unknown_dataset_is_said(source):
    status, answer = put("/upload/nowhere/a.png", png())
    assert status == 409
    assert "no dataset" in answer["error"]


def test_an_id_that_leads_elsewhere_is_unknown(source, dataset_id):
    assert put("/upload/../a.png", png())[0] == 409
    status, answer = put(f"/upload/{dataset_id}/../../evil.png", png())
    assert status == 200
    assert set(answer["refused"]) == {"../../evil.png"}
    assert files(source) == set()


def test_a_source_without_datasets_refuses(dataset_id):
    services.connect(MemorySource())
    status, answer = put(f"/upload/{dataset_id}/a.png", png())
    assert status == 403
    assert "in-memory" in answer["error"]


def test_an_upload_lies_on_the_disk_of_the_connected_source(source, dataset_id, tmp_path, monkeypatch):
    elsewhere = tmp_path / "of the settings"
    monkeypatch.setenv("LORA_DATA_DIR", str(elsewhere))
    assert put(f"/upload/{dataset_id}/a.png", png())[0] == 200
    assert source.datasets.upload_folder() == source.data_dir
    assert not elsewhere.exists()


def test_whoever_is_gone_is_not_worked_for(source, dataset_id, monkeypatch):
    begun = threading.Event()

    def slowly(self: object, path: Path, *_: object) -> str:
        begun.set()
        time.sleep(0.05)
        return ""

    monkeypatch.setattr(importing, "check_picture", slowly)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for number in range(200):
            zipped.writestr(f"{number}.png", png())
    status, _ = put(f"/upload/{dataset_id}/a.zip", archive.getvalue(), gone_after=begun)
    assert status == 499
    assert 0 < len(source.datasets.image_names(dataset_id)) < 100, "the rest was not decoded"
    assert put(f"/upload/{dataset_id}/b.png", png())[0] == 200, "and the dataset is free again"


def test_an_error_number_of_a_full_quota_counts_as_full(source, dataset_id):
    def no_room(**_: object) -> object:
        raise OSError(errno.EDQUOT, "quota")

    assert put(f"/upload/{dataset_id}/a.png", png(), uploads=Uploads(open_file=no_room))[0] == 507
