"""Files in a store and behind web addresses: few requests, and plain words for all that goes wrong."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib.artifacts.lora.byte_source import ByteSource, FileChanged
from lib.artifacts.lora.far_bytes import StoredBytes, WebBytes
from lib.artifacts.lora.file import read_lora
from lib.artifacts.lora.inspect import main
from lib.artifacts.lora.norms import compute_norms
from lib.artifacts.object_store import ObjectStore
from lib.errors import ArtifactError
from lib.settings import S3Settings
from tests.artifacts.lora.files import RECORDED
from tests.artifacts.s3_server import BUCKET, KEY, SECRET, S3Server, s3_server

LORA = (RECORDED / "kohya/sd15_lora_fp16_full_metadata.safetensors").read_bytes()
LONG = (RECORDED / "metadata/huge_tag_frequency.safetensors").read_bytes()


class Shelf:
    """A web server, and an S3 server that checks no signatures, with one file; it can misbehave."""

    def __init__(self) -> None:
        self.data, self.etag, self.mode, self.ranges = LORA, '"1"', "", [""]
        shelf = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                shelf.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.ranges.clear()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.ranges.append(request.headers.get("Range", ""))
        begin, end = (int(each) for each in self.ranges[-1].removeprefix("bytes=").split("-"))
        if self.mode == "slow":
            time.sleep(1.5)
        if self.mode.isdigit():
            return self._send(request, int(self.mode), b"<Error><Code>Refused</Code></Error>")
        if begin >= len(self.data):
            return self._send(request, 416, b"")
        if self.mode == "whole":
            return self._send(request, 200, self.data)
        part = self.data[begin : end + 1]
        place = f"bytes {begin}-{begin + len(part) - 1}/{len(self.data)}"
        return self._send(request, 206, part, {"Content-Range": place})

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "ETag": self.etag, **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        try:
            request.wfile.write(body)
        except OSError:
            request.close_connection = True


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    opened = Shelf()
    yield opened
    opened.server.shutdown()
    opened.server.server_close()


@pytest.fixture(params=["web", "store"])
def far(request: pytest.FixtureRequest, shelf: Shelf) -> Iterator[ByteSource]:
    if request.param == "web":
        yield WebBytes(f"{shelf.address}/secret-token.safetensors", timeout_s=1)
        return
    settings = S3Settings(endpoint=shelf.address, bucket="b", region="us-east-1", key="k", secret="s")
    store = ObjectStore(settings)
    yield StoredBytes(store, "secret-token.safetensors")
    store.close()


def test_a_header_takes_one_request(far: ByteSource, shelf: Shelf) -> None:
    assert len(read_lora(far).modules) == 210
    assert shelf.ranges == ["bytes=0-524287"]


def test_a_long_header_takes_two_requests(far: ByteSource, shelf: Shelf) -> None:
    shelf.data = LONG
    assert len(read_lora(far).modules) == 2
    assert len(shelf.ranges) == 2


def test_norms_read_in_large_blocks(far: ByteSource, shelf: Shelf) -> None:
    lora = read_lora(far)
    found = compute_norms(lora, far)
    assert found.total is not None
    assert len(shelf.ranges) == 2


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("403", "refused the credentials|answered 403"),
        ("404", "not in the store|answered 404"),
        ("500", "failed|answered 500"),
    ],
)
def test_a_refusal_is_said_in_words_without_the_address(far: ByteSource, shelf: Shelf, mode: str, words: str) -> None:
    shelf.mode = mode
    with pytest.raises(ArtifactError, match=words) as refused:
        read_lora(far)
    assert "secret-token" not in str(refused.value)


def test_an_answer_with_the_whole_file_serves_for_the_beginning_only(far: ByteSource, shelf: Shelf) -> None:
    shelf.mode = "whole"
    assert len(read_lora(far).modules) == 210
    with pytest.raises(ArtifactError, match="ignores ranged reads"):
        far.read(100, 10)


def test_a_file_that_changes_in_between_is_an_error(far: ByteSource, shelf: Shelf) -> None:
    lora = read_lora(far)
    shelf.etag = '"2"'
    with pytest.raises(FileChanged):
        compute_norms(lora, far)


def test_an_empty_file_is_broken_not_missing(far: ByteSource, shelf: Shelf) -> None:
    shelf.data = b""
    with pytest.raises(ArtifactError, match="empty"):
        read_lora(far)


def test_a_slow_web_server_is_given_up(shelf: Shelf) -> None:
    shelf.mode = "slow"
    with pytest.raises(ArtifactError, match="does not answer"):
        read_lora(WebBytes(shelf.address, timeout_s=0.3))


def test_a_slow_store_is_given_up(shelf: Shelf) -> None:
    settings = S3Settings(endpoint=shelf.address, bucket="b", region="us-east-1", key="k", secret="s")
    store = ObjectStore(settings)
    with pytest.raises(ArtifactError, match="too slow"):
        store.read_range("a", 0, 10, deadline_s=-1)
    store.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.mark.slow
def test_the_command_line_reads_from_a_real_store(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RECORDED / "peft/llama_rslora_r16_a16"
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        server.put(f"run/{name}", (folder / name).read_bytes())
    for name, value in (("S3_ENDPOINT", server.settings.endpoint), ("S3_KEY", KEY), ("S3_SECRET", SECRET)):
        monkeypatch.setenv(name, value)
    assert main([f"s3://{BUCKET}/run/adapter_model.safetensors", "--norms"]) == 0
    shown = capsys.readouterr().out
    assert "Format: peft, LoRA\nRank: 16\nAlpha: 16\nAlpha from: adapter_config.json\nScale: 4\n" in shown
    assert main([f"s3://{BUCKET}/nothing.safetensors"]) == 1
    assert "not in the store" in capsys.readouterr().out


def test_the_command_line_reads_from_the_web(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{shelf.address}/a.safetensors?token=1"]) == 0
    assert "Trained words: aria_chr woman (ss_dataset_dirs folder names <repeats>_<words>)" in capsys.readouterr().out
    assert main(["ftp://127.0.0.1/a"]) == 1


def test_a_path_that_is_not_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.safetensors")]) == 1
    assert capsys.readouterr().out == "The file cannot be read: No such file or directory.\n"
