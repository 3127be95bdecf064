"""The object store against rclone's S3 server, which checks signatures and expiry."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from lib.artifacts.object_store import CHECK_TIMEOUT_S, ObjectStore
from lib.errors import ArtifactError
from tests.artifacts.s3_server import BUCKET, SECRET, S3Server, s3_server
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def store(server: S3Server) -> Iterator[ObjectStore]:
    opened = ObjectStore(server.settings)
    yield opened
    opened.close()


def test_a_file_goes_in_is_listed_measured_downloaded_and_deleted(store: ObjectStore, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"weights" * 1000)
    store.upload(file, "jobs/a/ключ 1.safetensors")
    store.upload(file, "jobs/a/samples/1.png")
    store.upload(file, "jobs/ab/other")
    assert store.head("jobs/a/ключ 1.safetensors") == 7000
    assert [(each.key, each.size_bytes) for each in store.list("jobs/a/")] == [
        ("jobs/a/samples/1.png", 7000),
        ("jobs/a/ключ 1.safetensors", 7000),
    ]
    link = store.sign("jobs/a/ключ 1.safetensors", "ключ 1.safetensors")
    answer = requests.get(link.url, timeout=30)
    assert answer.content == b"weights" * 1000
    assert store.delete_prefix("jobs/a/") == 2
    assert [each.key for each in store.list("jobs/")] == ["jobs/ab/other"]
    with pytest.raises(ArtifactError, match="not in the store"):
        store.head("jobs/a/samples/1.png")


def test_the_name_of_the_download_is_signed_into_the_link(store: ObjectStore, server: S3Server) -> None:
    server.put("named")
    link = store.sign("named", "ключ.safetensors")
    assert "response-content-disposition=attachment" in link.url
    forged = link.url.replace("safetensors", "exe")
    assert requests.get(link.url, timeout=30).status_code == 200
    assert requests.get(forged, timeout=30).status_code in (400, 403)


def test_an_expired_link_is_refused(store: ObjectStore, server: S3Server) -> None:
    server.put("short")
    link = store.sign("short", "short", timedelta(seconds=1))
    wait_for(lambda: requests.get(link.url, timeout=30).status_code != 200, "the link does not expire", poll_s=0.1)
    answer = requests.get(link.url, timeout=30)
    assert answer.status_code in (400, 403)
    assert "AccessDenied" in answer.text
    assert requests.get(store.sign("short", "short").url, timeout=30).content == b"content"


@pytest.mark.parametrize("life", [timedelta(days=7, seconds=1), timedelta(0), timedelta(seconds=-1)])
def test_links_that_live_too_long_or_not_at_all_are_refused(store: ObjectStore, life: timedelta) -> None:
    with pytest.raises(ArtifactError, match="7 days"):
        store.sign("a", "a", life)


def test_the_whole_bucket_is_never_deleted(store: ObjectStore) -> None:
    for prefix in ("", "/"):
        with pytest.raises(ArtifactError, match="whole bucket"):
            store.delete_prefix(prefix)


def test_errors_are_plain_words_without_secrets(server: S3Server) -> None:
    good = server.settings
    cases = {
        "refused the credentials": replace(good, secret="another-secret"),
        "no such bucket": replace(good, bucket="nowhere"),
        "does not answer": replace(good, endpoint="http://127.0.0.1:9"),
        "no credentials": replace(good, key="", secret=""),
    }
    for words, settings in cases.items():
        store = ObjectStore(settings)
        with pytest.raises(ArtifactError, match=words) as caught:
            store.list("a/")
        assert caught.value.hint
        assert SECRET not in repr(caught.value) + repr(store) + repr(settings)
        assert BUCKET in repr(store) or "nowhere" in repr(store)
        store.close()


def test_the_check_tells_whether_the_bucket_answers(store: ObjectStore, server: S3Server) -> None:
    assert store.check().ok
    down = ObjectStore(replace(server.settings, endpoint="http://127.0.0.1:9"))
    found = down.check()
    assert (found.ok, "does not answer" in found.message) == (False, True)
    down.close()


def test_a_check_of_a_store_that_hangs_is_given_up_at_once(server: S3Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        hanging = ObjectStore(replace(server.settings, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        found = hanging.check(timeout_s=0.2)
        hanging.close()
        assert (found.ok, "does not answer" in found.message) == (False, True)
        silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):  # there was no second try
            silent.accept()
    assert found.latency_ms < 10_000
    assert CHECK_TIMEOUT_S <= 3


def test_a_file_that_is_not_there_cannot_be_uploaded(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        store.upload(tmp_path / "missing", "a")
