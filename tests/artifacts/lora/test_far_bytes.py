"""Files in a store and behind web addresses: few requests, and plain words for all that goes wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.artifacts.lora.byte_source import ByteSource, FileChanged
from lib.artifacts.lora.far_bytes import StoredBytes
from lib.artifacts.lora.file import read_lora
from lib.artifacts.lora.inspect import main
from lib.artifacts.lora.norms import compute_norms
from lib.artifacts.lora.web_bytes import WebBytes
from lib.artifacts.object_store import ObjectStore
from lib.errors import ArtifactError
from lib.settings import S3Settings
from tests.artifacts.file_server import Shelf
from tests.artifacts.lora.files import RECORDED
from tests.artifacts.s3_server import BUCKET, KEY, SECRET, S3Server, s3_server

LORA = (RECORDED / "kohya/sd15_lora_fp16_full_metadata.safetensors").read_bytes()
LONG = (RECORDED / "metadata/huge_tag_frequency.safetensors").read_bytes()


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    opened = Shelf(LORA)
    yield opened
    opened.close()


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


def test_a_file_that_vanishes_in_between_is_an_error(far: ByteSource, shelf: Shelf) -> None:
    lora = read_lora(far)
    shelf.mode = "404"
    with pytest.raises(ArtifactError, match=r"not in the store|answered 404"):
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


def test_a_web_server_that_drips_is_given_up(shelf: Shelf) -> None:
    with pytest.raises(ArtifactError, match="too slow"):
        read_lora(WebBytes(shelf.address, deadline_s=-1))


def test_a_link_is_asked_for_again_before_it_expires(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    links = iter((f"{shelf.address}/first", f"{shelf.address}/second"))
    far = WebBytes(lambda: next(links))
    far.read(0, 10)
    far.read(10, 10)
    assert next(links).endswith("second")  # one link was enough for two reads
    links = iter((f"{shelf.address}/third",))
    monkeypatch.setattr("lib.artifacts.lora.web_bytes.LINK_USED_S", -1)
    assert far.read(20, 10) == LORA[20:30]
    assert next(links, "used") == "used"
