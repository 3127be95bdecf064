"""Norms against dense products in 64 bits: one pass, bounded memory, progress, cancelling, NaN and Inf."""

import math
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import save

from lib.artifacts.lora.adapter_config import AdapterConfig
from lib.artifacts.lora.byte_source import MemoryBytes
from lib.artifacts.lora.file import read_lora
from lib.artifacts.lora.norms import (
    NEEDS_BASE_WEIGHTS,
    NOT_FINITE,
    TOO_LARGE,
    Norms,
    NormsCancelled,
    compute_norms,
)
from lib.errors import ArtifactError
from tests.artifacts.lora.files import RANDOM, bf16, framed, norms, pair


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def only(found: Norms) -> float:
    (norm,) = found.by_module.values()
    assert norm is not None, found.without
    return norm


@pytest.mark.parametrize(
    ("rank", "rows", "columns"), [(1, 1, 1), (4, 7, 9), (16, 5, 40), (16, 40, 5), (64, 1200, 9000)]
)
def test_lora_is_the_norm_of_the_product(rank: int, rows: int, columns: int) -> None:
    tensors = pair("m", rank, rows, columns)
    down, up = (each.astype(np.float64) for each in tensors.values())
    found = norms({**tensors, "m.alpha": np.array(3, np.int64)})
    assert only(found) == pytest.approx(np.linalg.norm(up @ down) * 3 / rank, rel=1e-6 if rows > 1000 else 1e-9)
    assert found.total == only(found)


def test_opposite_directions_cancel_precisely() -> None:
    down = np.concatenate([np.ones((1, 64_000)), np.ones((1, 64_000)) * (1 + 1e-6)]).astype(np.float32)
    up = np.concatenate([np.ones((64_000, 1)), -np.ones((64_000, 1))], axis=1).astype(np.float32)
    found = norms({"m.lora_down.weight": down, "m.lora_up.weight": up})
    dense = abs(float(down[1, 0]) - float(down[0, 0])) * 64_000
    assert only(found) == pytest.approx(dense, rel=1e-3)


def test_a_conv_with_a_tucker_core() -> None:
    up, mid, down = random(8, 3, 1, 1), random(3, 2, 3, 3), random(2, 5, 1, 1)
    found = norms({"m.lora_up.weight": up, "m.lora_mid.weight": mid, "m.lora_down.weight": down})
    dense = np.einsum("oa,abkl,bi->oikl", up[:, :, 0, 0], mid, down[:, :, 0, 0], dtype=np.float64)
    assert only(found) == pytest.approx(np.linalg.norm(dense), rel=1e-6)


@pytest.mark.parametrize(("rank", "size"), [(2, 60), (24, 60)])
def test_loha_is_the_norm_of_the_elementwise_product(rank: int, size: int) -> None:
    parts = {f"m.hada_w{n}_{ab}": random(*((size, rank) if ab == "a" else (rank, 50))) for n in "12" for ab in "ab"}
    a1, b1, a2, b2 = (parts[f"m.hada_w{n}_{ab}"].astype(np.float64) for n in "12" for ab in "ab")
    assert only(norms(parts)) == pytest.approx(np.linalg.norm((a1 @ b1) * (a2 @ b2)), rel=1e-9)


def test_lokr_of_factors_and_a_tucker_core() -> None:
    parts = {
        "m.lokr_w1": random(3, 2),
        "m.lokr_t2": random(2, 2, 3, 3),
        "m.lokr_w2_a": random(2, 6),
        "m.lokr_w2_b": random(2, 5),
    }
    core, a, b = (parts[f"m.lokr_{name}"] for name in ("t2", "w2_a", "w2_b"))
    second = np.einsum("ijkl,ip,jr->prkl", core, a, b, dtype=np.float64)
    expected = np.linalg.norm(parts["m.lokr_w1"].astype(np.float64)) * np.linalg.norm(second)
    assert only(norms(parts)) == pytest.approx(expected, rel=1e-6)


def test_peft_scales_a_full_lokr_by_its_configured_rank() -> None:
    parts = {"base_model.model.x.lokr_w1": random(2, 2), "base_model.model.x.lokr_w2": random(3, 3)}
    config = AdapterConfig.from_payload({"r": 8, "alpha": 4}, "adapter_config.json")
    expected = np.linalg.norm(np.kron(*(each.astype(np.float64) for each in parts.values()))) / 2
    assert only(norms(parts, config)) == pytest.approx(expected, rel=1e-6)


def test_norms_without_base_weights_are_none_and_say_so() -> None:
    found = norms({"m.oft_blocks": random(2, 3, 3), "n.a1.weight": random(4, 2), "n.a2.weight": random(2, 4),
                   "n.b1.weight": random(4, 2), "n.b2.weight": random(2, 4)})  # fmt: skip
    assert found.without == {"m": NEEDS_BASE_WEIGHTS, "n": NEEDS_BASE_WEIGHTS}
    assert (found.total, found.by_block) == (None, {})


def test_nan_and_inf_are_counted_everywhere_and_spoil_only_their_module() -> None:
    tensors = {**pair("m"), **pair("n"), "lm_head.weight": random(3, 3), "n.dora_scale": random(6, 1)}
    tensors["m.lora_up.weight"][0, :2] = math.nan
    tensors["lm_head.weight"][1, 1] = -math.inf
    tensors["n.dora_scale"][2] = math.inf
    found = norms(tensors)
    assert (found.nan_values, found.inf_values) == (2, 2)
    assert set(found.not_finite_tensors) == {"m.lora_up.weight", "lm_head.weight", "n.dora_scale"}
    assert found.without == {"m": NOT_FINITE}
    assert found.by_module["n"] == found.total


def test_large_16_bit_values_do_not_overflow() -> None:
    values = np.full((4, 8), 3e30, np.float32)
    entry = {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]}
    header = {"m.lora_down.weight": entry, "m.lora_up.weight": {**entry, "shape": [8, 4], "data_offsets": [64, 128]}}
    source = MemoryBytes(framed(header, bf16(values) * 2))
    found = compute_norms(read_lora(source), source)
    assert only(found) == pytest.approx(4 * 8 * 9e60, rel=1e-2)
    assert (found.nan_values, found.inf_values) == (0, 0)


def test_an_alpha_that_is_no_number_leaves_no_norm() -> None:
    found = norms({**pair("m"), "m.alpha": np.array(math.nan, np.float32)})
    assert (found.by_module, found.without) == ({"m": None}, {"m": "its scale is not known"})
    assert found.nan_values == 1


def test_progress_goes_up_to_1_and_cancelling_stops() -> None:
    source = MemoryBytes(save({**pair("m"), **pair("n"), "other": random(4, 4)}))
    lora = read_lora(source)
    fractions: list[float] = []
    compute_norms(lora, source, progress=fractions.append)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    with pytest.raises(NormsCancelled):
        compute_norms(lora, source, is_cancelled=lambda: True)


def test_a_file_that_becomes_shorter_is_an_error() -> None:
    whole = save(pair("m"))
    lora = read_lora(MemoryBytes(whole))
    with pytest.raises(ArtifactError, match="changed"):
        compute_norms(lora, MemoryBytes(whole[:-4]))


def test_memory_is_bounded_by_the_largest_module_not_by_its_product() -> None:
    tensors: dict[str, np.ndarray] = {}
    for place in range(8):
        tensors |= pair(f"m{place}", 8, 6000, 6000)
    tensors["lm_head.weight"] = np.zeros((4000, 1000), np.float32)
    source = MemoryBytes(save(tensors))
    lora = read_lora(source)
    tracemalloc.start()
    compute_norms(lora, source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000  # a module has 384 kB, the head 16 MB, one product would have 144 MB


def test_shapes_that_no_trainer_writes_cost_neither_memory_nor_time() -> None:
    core = {
        "m.lokr_w1": random(1, 1),
        "m.lokr_t2": random(100_000, 1, 1),
        "m.lokr_w2_a": random(100_000, 1),
        "m.lokr_w2_b": random(1, 1),
    }
    halves = {
        f"m.hada_w{n}_{ab}": random(*((100_000, 40) if ab == "a" else (40, 100_000))) for n in "12" for ab in "ab"
    }
    for tensors in (core, halves):
        assert norms(tensors).without == {"m": TOO_LARGE}
