import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from lib.artifacts.safetensors_header import SafetensorsHeader, damage, read_header
from lib.errors import ArtifactError


class Recorder:
    """Bytes behind ranged reads; remembers what was asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads: list[tuple[int, int]] = []

    def __call__(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        return self.data[offset : offset + size]


def header_of(data: bytes) -> SafetensorsHeader:
    return read_header(Recorder(data))


KOHYA = {
    "lora_unet_a.lora_down.weight": np.zeros((4, 32), np.float32),
    "lora_unet_a.lora_up.weight": np.zeros((64, 4), np.float32),
    "lora_unet_a.alpha": np.array(2.5, np.float32),
}


def test_two_reads_tell_rank_and_alpha_of_a_kohya_file() -> None:
    data = save(KOHYA, {"ss_network_dim": "16", "ss_network_alpha": "8.0", "ss_seed": "None"})
    read = Recorder(data)
    header = read_header(read)
    assert (header.rank, header.alpha, header.metadata["ss_seed"]) == (16, 8.0, "None")
    assert header.tensors["lora_unet_a.lora_down.weight"].shape == (4, 32)
    assert read.reads == [(0, 8), (8, header.size_bytes - 8)]


def test_without_metadata_the_tensors_tell() -> None:
    assert (header_of(save(KOHYA)).rank, header_of(save(KOHYA)).alpha) == (4, 2.5)
    half = {**KOHYA, "lora_unet_a.alpha": np.array(1.5, np.float16)}
    assert header_of(save(half)).alpha == 1.5


def test_peft_and_diffusers_names() -> None:
    down = np.zeros((6, 8), np.float32)
    assert header_of(save({"unet.x.lora_A.weight": down}, {"format": "pt"})).rank == 6
    assert header_of(save({"unet.x.lora.down.weight": down})).rank == 6
    adapter = json.dumps({"transformer.r": 12, "transformer.lora_alpha": 24})
    header = header_of(save({"unet.x.lora_A.weight": down}, {"lora_adapter_metadata": adapter}))
    assert (header.rank, header.alpha) == (12, 24.0)
    nothing = header_of(save({"model.weight": down}))
    assert (nothing.rank, nothing.alpha) == (None, None)


def test_a_file_the_tiny_trainer_writes_opens_with_the_library(tmp_path: Path) -> None:
    from safetensors import safe_open

    from lib.tiny_trainer.lora_file import write_lora

    path = tmp_path / "кот.safetensors"
    write_lora(path, KOHYA, {"ss_network_dim": "4", "ss_output_name": "кот"})
    with safe_open(path, framework="numpy") as file:
        assert set(file.keys()) == set(KOHYA)
        assert float(file.get_tensor("lora_unet_a.alpha")) == 2.5
        assert file.metadata()["ss_output_name"] == "кот"
    assert header_of(path.read_bytes()).rank == 4


def framed(content: object) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<Q", 2**63) + b"{}",
        framed({"a": 1})[:-2],
        framed(b"<html>"),
        framed([1]),
        framed({"a": {"dtype": "F32"}}),
        framed({"a": {"dtype": "F32", "shape": "xy", "data_offsets": [0, 4]}}),
        framed({"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 2**70]}}),
        framed({"a": {"dtype": "F32", "shape": [], "data_offsets": [-8, 4]}}),
        framed({"a": {"dtype": "F32", "shape": [float("inf")], "data_offsets": [0, 4]}}),
        framed({"__metadata__": ["x"]}),
        framed(b"[" * 100_000),
    ],
)
def test_what_is_no_safetensors_file_is_an_artifact_error(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        header_of(data)


def test_an_alpha_behind_the_end_of_the_file_is_unknown() -> None:
    entry = {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}
    assert header_of(framed({"x.alpha": entry})).alpha is None


def test_a_file_that_ends_too_early_is_damaged_and_a_whole_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    whole = save(KOHYA)
    path.write_bytes(whole)
    assert damage(path) == ""
    path.write_bytes(whole[:-10])
    assert damage(path) == "Its last 10 bytes are missing: it was not written completely."
    path.write_bytes(whole[:20])
    assert "within its safetensors header" in damage(path)
    path.write_bytes(framed({}))
    assert damage(path) == ""
