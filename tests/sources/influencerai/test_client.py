"""The client against a real server: error shapes, sign-in, limits, and that no secret ever shows."""

import json
import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lib.errors import AccessDenied, BadPayload, InvalidRequest, SourceError, SourceUnavailable
from lib.sources.influencerai.api_errors import (
    AnswerTooLarge,
    Conflict,
    NotFound,
    NotSent,
    ServerFailed,
    TooSlow,
    parse_json,
    refusal,
)
from lib.sources.influencerai.client import InfluencerClient, path_of
from tests.sources.influencerai.api_server import EMAIL, PASSWORD, ApiServer, recorded
from tests.sources.influencerai.conftest import IMPATIENT, PATIENT

JSON = "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("name", "kind", "words", "fields"),
    [
        ("jobs/30-get-404", NotFound, "Job not found.", {}),
        ("jobs-list/14-take-101", InvalidRequest, "take: Number must be less than or equal to 100.", {"take"}),
        ("jobs-list/38-multiple-errors", InvalidRequest, "skip:", {"status", "type", "take", "skip"}),
        ("lora-configs/07-create-bad-epochs-0", InvalidRequest, "Validation failed.", {"epochs"}),
        ("datasets/18-take-101", InvalidRequest, "take", {}),
        ("datasets/23-many-errors", InvalidRequest, "status: Invalid enum value", {}),
        ("jobs/21-create-body-over-1MiB", InvalidRequest, "Request body is too large.", {}),
        ("jobs/22-create-nul-char", ServerFailed, "status 500: Internal server error.", {}),
        ("jobs/36-get-bad-percent", InvalidRequest, "is not a valid url component.", {}),
        ("auth/02-login-bad-password", AccessDenied, "Invalid credentials.", {}),
        ("auth/40-expired-token", AccessDenied, "Invalid token.", {}),
        ("lora-configs/04-create-duplicate-409", Conflict, 'with name "SDXL base" already exists.', {}),
    ],
)
def test_every_recorded_error_is_a_sentence(name: str, kind: type, words: str, fields: set[str]) -> None:
    response = recorded(name)["response"]
    error = refusal(response["status"], json.dumps(response["body"]).encode(), JSON, host="api.test")
    assert type(error) is kind
    assert words in str(error)
    assert str(error)[-1] in ".…"
    assert set(getattr(error, "fields", {})) == set(fields)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"Too many requests", "text/plain", ": Too many requests."),
        (b"", "text/plain", "status 503."),
        (b"<html><script>alert(1)</script>", "text/html", "status 503."),
        (b'<?xml version="1.0"?><Error><Code>A</Code><Message>Gone</Message></Error>', "application/xml", ": Gone."),
        (b'{"message":["a","b"]}', JSON, ": a; b."),
        (b'{"message":"no eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ.x-y_z here"}', JSON, ": no … here."),
        (b'{"message":"a\\u0007\\nb"}', JSON, ": a b."),
        (b"[1,2]", JSON, "status 503."),
        (b'"text"', JSON, ": text."),
    ],
)
def test_errors_in_no_known_shape_are_sentences_too(body: bytes, kind: str, words: str) -> None:
    error = refusal(503, body, kind, host="api.test")
    assert isinstance(error, SourceUnavailable)
    assert str(error).endswith(words)


@pytest.mark.parametrize(
    ("trouble", "kind", "words", "calls"),
    [
        ("500", ServerFailed, "status 500", 2),
        ("502", SourceUnavailable, "status 502", 2),
        ("504", TooSlow, "status 504", 2),
        ("reset", SourceUnavailable, "broke the connection", 2),
        ("hang", TooSlow, "takes too long", 2),
        ("drip", TooSlow, "takes too long", 1),
        ("drip headers", TooSlow, "takes too long", 2),
        ("cut", SourceUnavailable, "broke the connection", 1),
        ("truncated", BadPayload, "cut off or garbled", 1),
        ("html", BadPayload, "a web page instead of data", 1),
        ("flood", AnswerTooLarge, "more than 1 MB", 1),
        ("redirect", BadPayload, "redirect (302)", 1),
    ],
)
def test_trouble_becomes_an_error_that_names_the_host(
    api: ApiServer, connect: Callable[..., InfluencerClient], trouble: str, kind: type, words: str, calls: int
) -> None:
    api.tokens.add("given-token")
    limits = IMPATIENT if trouble in ("hang", "drip", "drip headers") else replace(PATIENT, list_bytes=1 << 20)
    client = connect(limits, token="given-token")
    api.trouble("GET /jobs", trouble)
    with pytest.raises(kind, match=r"127\.0\.0\.1:\d+") as caught:
        client.get_list("/jobs", {"take": 1})
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert api.count("GET /jobs") == calls  # what changes nothing is tried once more, where that may help
    api.calm()
    assert connect().get_list("/jobs").data == []


@pytest.mark.parametrize("trouble", ["500", "reset", "hang"])
def test_what_changes_something_is_sent_once(
    api: ApiServer, connect: Callable[..., InfluencerClient], trouble: str
) -> None:
    api.tokens.add("given-token")
    client = connect(IMPATIENT if trouble == "hang" else PATIENT, token="given-token")
    api.trouble("POST /jobs", trouble)
    with pytest.raises(SourceUnavailable) as caught:
        client.send("POST", "/jobs", {"type": "lora-training", "payload": {}})
    assert not isinstance(caught.value, NotSent)
    assert api.count("POST /jobs") == 1


@pytest.mark.parametrize("settings", [{}, {"token": "given-token"}])
def test_nobody_listens(api: ApiServer, connect: Callable[..., InfluencerClient], settings: dict[str, str]) -> None:
    client = connect(**settings)
    api.stop()
    with pytest.raises(NotSent, match=r"127\.0\.0\.1:\d+ cannot be reached: the connection was refused\."):
        client.get("/jobs")


def test_a_lone_surrogate_is_no_text_and_the_rest_stays() -> None:
    body = rb'{"a\ud800": ["x\uDFFF", "\ud83d\ude00", "\\ud800", {"b": 1.5}], "c": null}'
    assert parse_json(body, JSON, host="api.test") == {"a?": ["x?", "😀", "\\ud800", {"b": 1.5}], "c": None}
    assert "\ud800" not in parse_json(b'["\xed\xa0\x80"]', JSON, host="api.test")[0]
    assert list(refusal(400, rb'{"errors": {"a\ud800": ["b"]}}', JSON, host="api.test").fields) == ["a?"]  # type: ignore[attr-defined]


def test_an_expired_token_is_replaced_by_one_sign_in_however_many_threads_need_it(
    api: ApiServer, client: InfluencerClient
) -> None:
    client.get("/jobs")
    api.tokens.clear()
    start, failures = threading.Barrier(12), []

    def read() -> None:
        start.wait()
        try:
            client.get("/jobs")
        except SourceError as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert api.count("POST /auth/login") == 2


def test_a_token_alone_is_used_and_its_end_is_explained(
    api: ApiServer, connect: Callable[..., InfluencerClient]
) -> None:
    api.tokens.add("given-token")
    client = connect(token="given-token")
    assert client.get("/jobs") == []
    assert api.count("POST /auth/login") == 0
    api.tokens.clear()
    with pytest.raises(AccessDenied, match="INFLUENCERAI_TOKEN") as caught:
        client.get("/jobs")
    assert "INFLUENCERAI_EMAIL" in caught.value.hint
    assert api.count("GET /jobs") == 2


def test_a_wrong_password_is_not_tried_again_and_again(
    api: ApiServer, connect: Callable[..., InfluencerClient]
) -> None:
    client = connect(email=EMAIL, password="wrong")
    for _ in range(3):
        with pytest.raises(AccessDenied, match="Invalid credentials"):
            client.get("/jobs")
    assert api.requests == [("POST", "/auth/login")]


def test_no_secret_is_ever_shown(
    api: ApiServer, connect: Callable[..., InfluencerClient], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client, shown = connect(), []
    client.get("/jobs")
    for kind in ("500", "reset", "html", "401"):
        api.trouble("GET /jobs", kind, times=2)
        with pytest.raises(SourceError) as caught:
            client.get("/jobs")
        api.calm()
        shown.append("".join(traceback.format_exception(caught.value)) + caught.value.hint)
    shown += [repr(client), repr(vars(client)["_settings"]), caplog.text]
    secrets = [PASSWORD, *(given.removeprefix("Bearer ") for given in api.authorizations if given)]
    assert len(secrets) > 3
    assert not [secret for secret in secrets for text in shown if secret in text]


def test_a_netrc_file_does_not_replace_the_token(
    api: ApiServer, client: InfluencerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert client.get("/jobs") == []
    assert api.authorizations[-1].startswith("Bearer ")


@pytest.mark.parametrize("job_id", ["a/b", "../lora-configs", "a?b#c", "ключ 🌸", "%2e%2e"])
def test_ids_are_quoted_whole(api: ApiServer, client: InfluencerClient, job_id: str) -> None:
    api.add_job(job_id)
    assert client.get(path_of("jobs", job_id))["id"] == job_id


@pytest.mark.parametrize("job_id", ["", ".", ".."])
def test_an_id_that_would_mean_another_path_is_not_found(job_id: str) -> None:
    with pytest.raises(NotFound):
        path_of("lora-configs", job_id)


def test_the_total_of_a_list_is_read_where_there_is_one(client: InfluencerClient) -> None:
    assert client.get_list("/datasets").total == 2
    assert client.get_list("/jobs").total is None
