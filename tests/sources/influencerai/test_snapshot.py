"""Rows of the API as snapshots: every recorded one, and whatever else may come."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import BadPayload
from lib.jobs.job import ArtifactKind, JobStatus, PresignedUrl
from lib.sources.influencerai.snapshot import read_artifacts, read_snapshot, read_snapshots
from tests.sources.influencerai.api_server import RECORDINGS, recorded

ROWS = [
    pytest.param(row, id=f"{file.parent.name}/{file.stem}")
    for file in sorted(RECORDINGS.glob("jobs*/*.json"))
    for body in [json.loads(file.read_text()).get("response", {}).get("body")]
    for row in (body if isinstance(body, list) else [body])[:3]
    if isinstance(row, dict) and "tenantId" in row
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
KEYS = "id type status payload result startedAt finishedAt createdAt updatedAt name".split()
RESULT_KEYS = "progress artifacts message stack error command percent step totalSteps logs stage".split()
RESULTS = st.dictionaries(st.sampled_from(RESULT_KEYS), JSON_VALUES, max_size=6)


@pytest.mark.parametrize("row", ROWS)
def test_every_recorded_job_is_understood(row: dict[str, Any]) -> None:
    snapshot = read_snapshot(row)
    assert snapshot.id == row["id"]
    assert snapshot.status is not JobStatus.UNKNOWN
    assert snapshot.raw_status == row["status"]
    assert snapshot.created_at is not None
    assert snapshot.created_at.tzinfo is UTC


@settings(deadline=None, max_examples=60)
@given(
    row=st.dictionaries(st.sampled_from(KEYS), JSON_VALUES, max_size=8),
    result=RESULTS | st.fixed_dictionaries({"progress": RESULTS, "artifacts": st.lists(JSON_VALUES | RESULTS)}),
)
def test_no_json_breaks_a_row(row: dict[str, Any], result: Any) -> None:
    snapshot = read_snapshot({**row, "result": result, "id": "a"})
    assert snapshot.fraction is None or 0 <= snapshot.fraction <= 1
    assert all(artifact.id and artifact.name for artifact in snapshot.artifacts)


@pytest.mark.parametrize("row", [None, 1, "x", [], {}, {"id": None}, {"id": ""}, {"id": " "}, {"id": []}])
def test_a_row_without_an_id_is_skipped_and_counted(row: object) -> None:
    with pytest.raises(BadPayload):
        read_snapshot(row)
    assert [each.id for each in read_snapshots([{"id": "a"}, row])[0]] == ["a"]
    assert read_snapshots([{"id": "a"}, row])[1] == 1


def test_the_end_of_a_recorded_job() -> None:
    snapshot = read_snapshot(recorded("jobs/50-5-patch-succeeded")["response"]["body"])
    assert (snapshot.name, snapshot.dataset_id, snapshot.config_id) == ("Aria v1", "ds_123", "cfg_123")
    assert snapshot.command[:3] == ("accelerate", "launch", "train_network.py")
    assert (snapshot.fraction, snapshot.stage, snapshot.logs) == (1.0, "finished", ("step 2000/2000",))
    assert snapshot.settings == {
        "base_model": "stabilityai/sdxl",
        "epochs": 10,
        "learning_rate": 1e-4,
        "batch_size": 1,
        "resolution": 1024,
        "network_dim": 32,
        "network_alpha": 16,
        "trainer": "sd-scripts",
    }
    (artifact,) = snapshot.artifacts
    assert (artifact.id, artifact.name, artifact.kind) == ("last.safetensors", "last.safetensors", ArtifactKind.LORA)
    assert artifact.key == "lora-training/cmwteayp000009n7d84ruw9wy/last.safetensors"
    assert artifact.frozen_link is not None
    assert artifact.frozen_link.expires_at == datetime(2026, 11, 30, 15, tzinfo=UTC)


def test_the_dry_run_has_a_file_but_no_link() -> None:
    snapshot = read_snapshot(recorded("jobs/13-create-dryrun-in-payload")["response"]["body"])
    (artifact,) = snapshot.artifacts
    assert artifact.name.startswith("mock_lora_")
    assert (artifact.kind, artifact.size_bytes, artifact.key) == (ArtifactKind.LORA, 144_000_000, None)
    assert artifact.frozen_link is None  # mock/loras/… is no address a browser can open


@pytest.mark.parametrize(
    ("payload", "name", "expected"),
    [
        ({"trainingName": "a", "name": "b"}, "c", "a"),
        ({"trainingName": " ", "name": "b"}, "c", "b"),
        ({"name": 7}, None, "7"),
        ({}, "c", "c"),
        ({}, None, "the-id"),
        ([], {}, "the-id"),
        ({"trainingName": "<b>ألف</b>" * 500}, None, "<b>ألف</b>" * 500),
    ],
)
def test_names(payload: object, name: object, expected: str) -> None:
    assert read_snapshot({"id": "the-id", "payload": payload, "name": name}).name == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"configId": "a", "loraConfigId": "b"}, "a"),
        ({"loraConfigId": "b"}, "b"),
        ({"config": {"id": "c"}}, "c"),
        ({"config": {}}, None),
    ],
)
def test_configuration_keys(payload: dict[str, Any], expected: str | None) -> None:
    assert read_snapshot({"id": "a", "payload": payload}).config_id == expected


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("succeeded", JobStatus.SUCCEEDED),
        ("completed", JobStatus.SUCCEEDED),
        ("aborted", JobStatus.UNKNOWN),
        (None, JobStatus.UNKNOWN),
    ],
)
def test_unknown_words_are_kept(word: str | None, status: JobStatus) -> None:
    snapshot = read_snapshot({"id": "a", "status": word})
    assert (snapshot.status, snapshot.raw_status) == (status, word or "")


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("0001-01-01T00:00:00Z", None),
        ("1969-12-31T23:59:59Z", None),
        ("1970-01-01T00:00:00Z", 1970),
        ("9000-12-31T23:59:59Z", 9000),
        ("9999-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        (0, None),
    ],
)
def test_a_year_that_no_clock_says_is_unknown(text: object, year: int | None) -> None:
    link = "https://s3/b/a?X-Amz-Date=99991231T230000Z&X-Amz-Expires=60"
    files = [{"filename": "a", "url": link}, {"filename": "b", "url": "https://s3/b/b", "expiresAt": text}]
    snapshot = read_snapshot({"id": "a", "createdAt": text, "finishedAt": text, "result": {"artifacts": files}})
    links = [artifact.frozen_link for artifact in snapshot.artifacts]
    assert all(links)
    times = [snapshot.created_at, snapshot.finished_at, links[1].expires_at if links[1] else None]
    assert [at.year if at else None for at in times] == [year] * 3
    assert links[0] == PresignedUrl(url=link, expires_at=None)


def test_artifacts_come_in_three_shapes_and_each_file_once() -> None:
    expiry = datetime(2026, 12, 1, tzinfo=UTC)
    found = read_artifacts(
        "j1",
        [
            {
                "key": "lora-training/j1/a.safetensors",
                "url": "https://s3/b/a?X-Amz-Date=20261123T150700Z",
                "filename": "a",
            },
            {"key": "lora-training/j1/a.safetensors", "filename": "again"},
            {"type": "lora", "name": "b-000012.safetensors", "url": "javascript:alert(1)", "path": "x/b", "size": 5},
            {
                "id": "x1",
                "type": "sample",
                "url": "https://cdn/c_e000002_01_20261123150700_42.png?sig=1",
                "expiresAt": "2026-12-01T00:00:00Z",
                "metadata": {"size": 9},
            },
            {"url": "https://cdn/only%20the%20path.safetensors?X-Amz-Date=20261123T150700Z&X-Amz-Expires=604800"},
            {"size": 3},
            "text",
            None,
        ],
    )
    assert [(each.id, each.name) for each in found] == [
        ("a.safetensors", "a"),
        ("b-000012.safetensors", "b-000012.safetensors"),
        ("c_e000002_01_20261123150700_42.png", "c_e000002_01_20261123150700_42.png"),
        ("only the path.safetensors", "only the path.safetensors"),
    ]
    assert found[0].frozen_link is not None
    assert found[0].frozen_link.expires_at is None  # no X-Amz-Expires: it does not say
    assert (found[1].kind, found[1].epoch, found[1].size_bytes) == (ArtifactKind.CHECKPOINT, 12, 5)
    assert found[1].frozen_link is None
    assert (found[2].kind, found[2].epoch, found[2].prompt_index, found[2].size_bytes) == (ArtifactKind.SAMPLE, 2, 1, 9)
    assert found[2].frozen_link is not None
    assert found[2].frozen_link.expires_at == expiry
    assert found[3].frozen_link is not None
    assert found[3].frozen_link.expires_at == datetime(2026, 11, 23, 15, 7, tzinfo=UTC) + timedelta(days=7)
