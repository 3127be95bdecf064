"""Headers: what the safetensors library refuses is refused, nothing is read or built before its bounds are checked."""

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from lib.artifacts.lora.byte_source import FirstBlock, MemoryBytes
from lib.artifacts.lora.file import read_lora
from lib.artifacts.lora.header import FIRST_READ_BYTES, MAX_TENSORS, BrokenFile, Header, read_header
from lib.artifacts.lora.inspect import facts_of
from lib.artifacts.lora.norms import compute_norms
from lib.errors import ArtifactError
from tests.artifacts.lora.files import RECORDED, framed, pair

INNER = '"dtype":"F32","shape":[2],"data_offsets":[0,8]'
EIGHT = bytes(8)


def file_of(header: str, data: bytes) -> bytes:
    """A file whose header is given with ENTRY for a tensor of two values, INNER for what stands in its braces."""
    return framed(header.replace("ENTRY", "{INNER}").replace("INNER", INNER).encode(), data)


def header_of(data: bytes) -> Header:
    return read_header(FirstBlock(MemoryBytes(data), FIRST_READ_BYTES))


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ('{"a":ENTRY,"a":ENTRY}', EIGHT),
        ('{"a":{"dtype":"F32",INNER}}', EIGHT),
        ('{"__metadata__":{"a":1},"a":ENTRY}', EIGHT),
        ('{"__metadata__":{"a":null},"a":ENTRY}', EIGHT),
        ('{"__metadata__":["a"],"a":ENTRY}', EIGHT),
        ('{"__metadata__":{"a":"1"},"__metadata__":{"a":"2"},"a":ENTRY}', EIGHT),
        ('{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', EIGHT),
        ('{"a":{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}', EIGHT),
        ('{"a":{"dtype":"F32","shape":[true,2],"data_offsets":[0,8]}}', EIGHT),
        ('{"a":{"dtype":"F32","shape":"xy","data_offsets":[0,8]}}', EIGHT),
        ('{"a":{"dtype":"F32","shape":{},"data_offsets":[0,4]}}', bytes(4)),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[false,8]}}', EIGHT),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}', EIGHT),
        ('{"a":{"dtype":"F32","shape":[2]}}', EIGHT),
        ('{"a":{"dtype":null,"shape":[2],"data_offsets":[0,8]}}', EIGHT),
        ('{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}', EIGHT),
        ('{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', EIGHT),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', EIGHT),
        ('{"a":ENTRY,"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', EIGHT),
        ('{"a":ENTRY,"b":ENTRY}', EIGHT),
        ('{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', EIGHT),
        ('{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}', bytes(2)),
        ('{"a":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}', b""),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551616,18446744073709551620]}}', b""),
        ('{"a":' + "1" * 5000 + "}", b""),
        ('{"\\ud800":ENTRY}', EIGHT),
        ('\ufeff{"a":ENTRY}', EIGHT),
        ('{"a":ENTRY}\0\0', EIGHT),
        ('{"a":NaN}', b""),
        ("ENTRY", EIGHT),
        ("[1]", b""),
        ("[" * 100_000, b""),
        ('{"a":ENTRY}', bytes(7)),
        ('{"a":ENTRY}', bytes(9)),
    ],
)
def test_what_makes_no_sense_is_broken(header: str, data: bytes) -> None:
    with pytest.raises(BrokenFile):
        header_of(file_of(header, data))


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ('  {"a":ENTRY}  ', EIGHT),
        ('{"a":{"shape":[2],"x":{"y":1},"dtype":"F32","data_offsets":[0,8]}}', EIGHT),
        ('{"__metadata__":null,"a":ENTRY}', EIGHT),
        ('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"b":ENTRY}', EIGHT),
        ('{"b":{"dtype":"U8","shape":[],"data_offsets":[8,9]},"a":ENTRY}', bytes(9)),
        ('{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}', bytes(2)),
        ('{"\\u0430":ENTRY}', EIGHT),
        ("{}", b""),
    ],
)  # fmt: skip
def test_what_the_library_accepts_is_accepted(header: str, data: bytes) -> None:
    whole = file_of(header, data)
    assert set(header_of(whole).tensors) == {name for name, _ in deserialize(whole)}


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_the_rooms_own_error(data: bytes) -> None:
    for each in (data, framed(data), framed(b'{"a":' + data + b"}")):
        try:
            header_of(each)
        except BrokenFile:
            continue


SMALL = [path.read_bytes() for path in (RECORDED / "metadata").glob("*.safetensors") if path.stat().st_size < 10_000]
WORDS = [b"F32", b"BF16", b"-1", b"0", b"1e9", b"null", b"[]", b"{}", b'"', b"18446744073709551615", b"true", b"alpha"]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 20), st.sampled_from(WORDS)), max_size=4),
)
def test_mutated_headers_raise_nothing_but_the_rooms_own_error(data: bytes, cuts: list[tuple[int, int, bytes]]) -> None:
    (length,) = struct.unpack("<Q", data[:8])
    header, rest = data[8 : 8 + length], data[8 + length :]
    for place, size, word in cuts:
        header = header[:place] + word + header[place + size :]
    mutated = framed(header, rest)
    try:
        deserialize(mutated)
    except SafetensorError:
        with pytest.raises(BrokenFile):
            header_of(mutated)
        return
    source = MemoryBytes(mutated)
    try:
        lora = read_lora(source)
        json.dumps(facts_of(lora, compute_norms(lora, source)), allow_nan=False)
    except ArtifactError:
        return


def test_a_small_file_that_claims_a_long_header_allocates_nothing() -> None:
    data = struct.pack("<Q", 100_000_000) + b'{"a":' + bytes(3000)
    tracemalloc.start()
    with pytest.raises(BrokenFile, match="was not written completely"):
        header_of(data)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_too_many_tensors_are_refused_before_they_are_built() -> None:
    header = b"{" + b'"a":{"data_offsets":[' * (MAX_TENSORS + 1)
    with pytest.raises(BrokenFile, match="more than 500,000 tensors"):
        header_of(framed(header))


class Counted(MemoryBytes):
    is_near = False

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        return super().read(offset, size)


def test_one_read_is_enough_and_a_long_header_takes_two() -> None:
    short, long = (
        Counted(save(pair("lora_unet_a"))),
        Counted((RECORDED / "metadata/huge_tag_frequency.safetensors").read_bytes()),
    )
    read_lora(short)
    assert short.reads == [(0, FIRST_READ_BYTES)]
    lora = read_lora(long)
    assert len(long.reads) == 2
    assert {module.alpha for module in lora.modules.values()} == {4.0}


def far_alphas(count: int, dtype: type[np.generic]) -> Counted:
    weights = {f"lora_unet_{i}.lora_down.weight": np.zeros((4, 20_000), np.float32) for i in range(count)}
    ups = {f"lora_unet_{i}.lora_up.weight": np.zeros((8, 4), np.float32) for i in range(count)}
    return Counted(save({**weights, **ups, **{f"lora_unet_{i}.alpha": np.array(2, dtype) for i in range(count)}}))


def test_alphas_that_lie_together_take_one_more_read_and_scattered_ones_none() -> None:
    together = far_alphas(5, np.float16)
    assert {module.alpha for module in read_lora(together).modules.values()} == {2.0}
    assert len(together.reads) == 2
    scattered = far_alphas(5, np.float32)
    assert [module.alpha_from for module in read_lora(scattered).modules.values()].count("tensor, not read") == 3
    assert len(scattered.reads) == 1
    lora = read_lora(scattered)
    assert {module.alpha for module in compute_norms(lora, scattered).modules.values()} == {2.0}


def test_a_file_the_tiny_trainer_writes_is_a_lora(tmp_path: Path) -> None:
    from lib.artifacts.lora.file import read_local
    from lib.tiny_trainer.lora_file import write_lora

    path = tmp_path / "кот.safetensors"
    write_lora(path, {**pair("lora_unet_a"), "lora_unet_a.alpha": np.array(2.5, np.float32)}, {"ss_output_name": "кот"})
    (module,) = read_local(path).modules.values()
    assert (module.rank, module.alpha, module.scale) == (4, 2.5, 0.625)
