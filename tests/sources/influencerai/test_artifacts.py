"""The files of a deployment's jobs against rclone's S3 server, and a drill: both stop and come back."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from lib.artifacts.object_store import ObjectStore
from lib.errors import ArtifactError, SourceUnavailable
from lib.jobs.job import ArtifactKind, JobStatus, PresignedUrl
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.source import InfluencerSource
from tests.artifacts.s3_server import S3Server, s3_server
from tests.sources.influencerai.api_server import ApiServer
from tests.sources.influencerai.conftest import AT_ONCE
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

PREFIX = "lora-training/a/"
SAMPLE = "samples/aria_e000001_00_20261123150700.png"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        for name in (
            "aria.safetensors",
            "aria-000001.safetensors",
            "samples/aria_e000001_00_20261123150700.png",
            "logs/train.log",
        ):
            running.put(PREFIX + name, name.encode())
        running.put("elsewhere/b.safetensors", b"elsewhere")
        running.put("lora-training/ab/not-ours", b"")
        yield running


@pytest.fixture
def stored(s3: S3Server, connect: Callable[..., InfluencerClient]) -> Iterator[InfluencerSource]:
    """The source with credentials for the store."""
    opened = InfluencerSource(connect(), files=ObjectStore(s3.settings), intervals=AT_ONCE, background=False)
    yield opened
    opened.close()


def ended_job(api: ApiServer, artifacts: list[dict[str, object]]) -> None:
    api.add_job("a")
    api.patch("a", "succeeded", {"artifacts": artifacts}, at=datetime.now(UTC) - timedelta(minutes=1))


def test_named_files_and_everything_under_the_prefix_are_listed_with_sizes(
    api: ApiServer, s3: S3Server, stored: InfluencerSource
) -> None:
    link = f"{s3.settings.endpoint}/assets/elsewhere/b.safetensors?X-Amz-Date=20261123T150700Z&X-Amz-Expires=60"
    ended_job(
        api,
        [
            {"key": f"{PREFIX}aria.safetensors", "url": "http://127.0.0.1:9/x", "filename": "aria.safetensors"},
            {"type": "lora", "url": link},
            {"key": f"{PREFIX}gone.safetensors", "filename": "gone.safetensors"},
        ],
    )
    found = {artifact.id: artifact for artifact in stored.artifacts(stored.get_job("a"))}
    assert {name: artifact.size_bytes for name, artifact in found.items()} == {
        "aria.safetensors": 16,
        "b.safetensors": 9,
        "gone.safetensors": None,
        "aria-000001.safetensors": 23,
        SAMPLE: 42,
        "logs/train.log": 14,
    }
    assert found["aria.safetensors"].frozen_link is None  # the store has something better
    assert found[SAMPLE].kind is ArtifactKind.SAMPLE
    for name, content in (("logs/train.log", b"logs/train.log"), ("b.safetensors", b"elsewhere")):
        located = stored.locate_artifact("a", name)
        assert isinstance(located, PresignedUrl)
        assert requests.get(located.url, timeout=30).content == content
    for name in ("gone.safetensors", "never.txt", "../ab/not-ours", ""):
        with pytest.raises(ArtifactError):
            stored.locate_artifact("a", name)


def test_files_belong_to_the_last_attempt(api: ApiServer, stored: InfluencerSource) -> None:
    """All attempts write below the same prefix; a page that shows the last one would else show no file."""
    api.add_job("a")
    named = {"artifacts": [{"key": f"{PREFIX}aria.safetensors", "filename": "aria.safetensors"}]}
    for ago_s, status, result in (
        (70, "running", {}),
        (60, "failed", {}),
        (50, "running", {}),
        (40, "succeeded", named),
    ):
        api.patch("a", status, result, at=datetime.now(UTC) - timedelta(seconds=ago_s))
        job = stored.get_job("a")
    assert (job.attempt, len(job.attempts), [file.attempt for file in job.artifacts]) == (2, 2, [2])
    assert [file.attempt for file in stored.artifacts(job)] == [2] * 4


def test_an_expired_link_is_refused_and_the_button_still_downloads(
    api: ApiServer, s3: S3Server, stored: InfluencerSource, connect: Callable[..., InfluencerClient]
) -> None:
    signer = ObjectStore(s3.settings)
    frozen = signer.sign(f"{PREFIX}aria.safetensors", "aria.safetensors", timedelta(seconds=1))
    signer.close()
    ended_job(api, [{"key": f"{PREFIX}aria.safetensors", "url": frozen.url, "filename": "aria.safetensors"}])
    wait_for(lambda: requests.get(frozen.url, timeout=30).status_code != 200, "the link does not expire", poll_s=0.1)
    answer = requests.get(frozen.url, timeout=30)
    assert "AccessDenied" in answer.text
    located = stored.locate_artifact("a", "aria.safetensors")
    assert isinstance(located, PresignedUrl)
    assert requests.get(located.url, timeout=30).content == b"aria.safetensors"
    assert located.expires_at is not None
    assert timedelta(minutes=1) < located.expires_at - datetime.now(UTC) <= timedelta(minutes=15)

    without_store = InfluencerSource(connect(), files=None, intervals=AT_ONCE, background=False)
    with pytest.raises(ArtifactError, match="expired at") as caught:
        without_store.locate_artifact("a", "aria.safetensors")
    assert "S3_KEY" in caught.value.hint
    assert "X-Amz" not in str(caught.value) + caught.value.hint
    without_store.close()


def test_without_credentials_the_frozen_link_is_used_while_it_lasts(api: ApiServer, source: InfluencerSource) -> None:
    expires = (datetime.now(UTC) + timedelta(minutes=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended_job(
        api,
        [
            {"url": "https://cdn.test/x.safetensors", "expiresAt": expires},
            {"url": "mock/loras/y.safetensors", "name": "y.safetensors", "size": 5},
        ],
    )
    job = source.get_job("a")
    assert [artifact.size_bytes for artifact in source.artifacts(job)] == [None, 5]
    assert source.locate_artifact("a", "x.safetensors") == job.artifacts[0].frozen_link
    with pytest.raises(ArtifactError, match="no link"):
        source.locate_artifact("a", "y.safetensors")
    with pytest.raises(ArtifactError, match="no such file"):
        source.locate_artifact("a", "z")


def test_the_files_of_a_job_that_never_says_how_it_ended_are_found(api: ApiServer, stored: InfluencerSource) -> None:
    api.add_job("a")
    ended_at = datetime.now(UTC) - timedelta(minutes=2)
    api.patch("a", "succeeded", {}, at=ended_at)
    api.patch("a", "running", {"progress": {"stage": "uploading"}}, at=ended_at + timedelta(seconds=0.1))
    job = stored.get_job("a")
    assert job.status is JobStatus.LOST
    assert "aria.safetensors" in [file.name for file in stored.artifacts(job)]


def test_a_store_that_refuses_does_not_hide_a_link_that_still_works(
    api: ApiServer, s3: S3Server, connect: Callable[..., InfluencerClient]
) -> None:
    wrong = ObjectStore(replace(s3.settings, secret="wrong"))
    source = InfluencerSource(connect(), files=wrong, intervals=AT_ONCE, background=False)
    signer = ObjectStore(s3.settings)
    link = signer.sign(f"{PREFIX}aria.safetensors", "aria.safetensors")
    signer.close()
    ended_job(api, [{"key": f"{PREFIX}aria.safetensors", "url": link.url}])
    located = source.locate_artifact("a", "aria.safetensors")
    assert isinstance(located, PresignedUrl)
    assert located.url == link.url
    with pytest.raises(ArtifactError, match="refused the credentials"):
        source.artifacts(source.get_job("a"))
    source.close()


def test_a_drill_api_and_store_stop_and_come_back(
    api: ApiServer, tmp_path: Path, connect: Callable[..., InfluencerClient]
) -> None:
    with s3_server(tmp_path / "s3") as s3:
        source = InfluencerSource(connect(), files=ObjectStore(s3.settings), intervals=AT_ONCE, background=False)
        s3.put(f"{PREFIX}aria 1.safetensors", b"weights")
        api.add_job("a")
        api.patch("a", "running", {"progress": {"stage": "running", "percent": 40, "logs": ["one", "two"]}})
        assert source.get_job("a").progress.fraction == 0.4
        assert len(source.artifacts(source.get_job("a"))) == 1

        api.stop()
        s3.stop()
        with pytest.raises(SourceUnavailable):
            source.get_job("a")
        with pytest.raises(SourceUnavailable):
            source.locate_artifact("a", "aria 1.safetensors")
        assert source.read_log("a", attempt=1, offset=0).data == b"one\ntwo\n"
        api.start()
        with pytest.raises(ArtifactError, match="does not answer"):
            source.locate_artifact("a", "aria 1.safetensors")
        assert [check.ok for check in source.health() if check.name == "Artifact store"] == [False]

        s3.start()
        api.tokens.clear()  # a restarted deployment may have forgotten its tokens
        logs = ["two", "three"]
        api.patch("a", "running", {"progress": {"stage": "running", "logs": logs}})
        job = source.get_job("a")
        assert (job.status, job.progress.fraction, job.attempt) == (JobStatus.RUNNING, 0.4, 1)
        assert source.read_log("a", attempt=1, offset=0).data == b"one\ntwo\nthree\n"
        located = source.locate_artifact("a", "aria 1.safetensors")
        assert isinstance(located, PresignedUrl)
        assert quote("aria 1.safetensors") in located.url
        assert requests.get(located.url, timeout=30).content == b"weights"
        source.close()
