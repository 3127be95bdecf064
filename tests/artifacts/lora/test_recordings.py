"""Every recorded file against its expected values: computed densely, in 64 bits, by other code."""

import json
from typing import Any

import pytest

from lib.artifacts.lora.file import LoraFile, read_lora
from lib.artifacts.lora.header import BrokenFile
from lib.artifacts.lora.inspect import facts_of, main, opened
from lib.artifacts.lora.norms import Norms, compute_norms
from lib.artifacts.lora.remarks import remarks_on
from tests.artifacts.lora.files import INDEX, RECORDED

LORAS = [each for each in INDEX if each["is_lora"]]
OTHERS = [each for each in INDEX if each["valid_safetensors"] and not each["is_lora"]]
BROKEN = [each for each in INDEX if not each["valid_safetensors"]]
MODULES = json.loads((RECORDED / "modules.json").read_text())
SAME_KEYS = (
    "network_type ranks alphas alpha_from scales dtypes modules modules_per_block parameters base_model trained_words "
    "trained_words_from tags training_settings nan_values inf_values problems"
).split()


def path_of(each: dict[str, Any]) -> str:
    return str(each["path"])


def read(path: str) -> tuple[LoraFile, Norms]:
    with opened(str(RECORDED / path)) as (source, config):
        lora = read_lora(source, config)
        return lora, compute_norms(lora, source)


@pytest.mark.parametrize("each", LORAS, ids=path_of)
def test_a_lora_reads_as_expected(each: dict[str, Any]) -> None:
    lora, norms = read(each["path"])
    facts, expected = facts_of(lora, norms), each["expect"]
    assert {key: facts[key] for key in SAME_KEYS} == {key: expected[key] for key in SAME_KEYS}
    if expected["format"] != "hand-made":  # nothing in such a file tells that a hand made it
        assert facts["format"] == expected["format"]
    is_exact = set(expected["dtypes"]) <= {"F32", "F64", "I64"}
    close = {"rel": 1e-6 if is_exact else 5e-3, "abs": 0}
    assert facts["norm_total"] == (expected["norm_total"] and pytest.approx(expected["norm_total"], **close))
    assert facts["norm_by_block"] == pytest.approx(expected["norm_by_block"], **close)
    assert list(norms.not_finite_tensors) == expected["nonfinite_tensors"]
    for name, (rank, alpha, scale, norm) in MODULES[each["path"]].items():
        module = norms.modules[name]
        assert (module.rank, module.alpha, module.scale) == (rank, alpha, scale), name
        assert norms.by_module[name] == (norm and pytest.approx(norm, **close)), name


@pytest.mark.parametrize("each", OTHERS, ids=path_of)
def test_another_safetensors_file_is_no_lora(each: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECORDED / each["path"])]) == 0
    assert "not a LoRA" in capsys.readouterr().out
    assert main([str(RECORDED / each["path"]), "--norms", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_lora"] is False


@pytest.mark.parametrize("each", BROKEN, ids=path_of)
def test_a_broken_file_is_refused_with_a_sentence(each: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenFile):
        read(each["path"])
    assert main([str(RECORDED / each["path"])]) == 1
    sentence = capsys.readouterr().out.strip()
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Traceback" not in sentence


def test_contradictions_are_named() -> None:
    lora, _ = read("metadata/lying_rank_alpha.safetensors")
    assert remarks_on(lora) == [
        "ss_network_dim says rank 128; the tensors of 2 modules say 4. The tensors count.",
        "ss_network_alpha says alpha 64; the tensors of 2 modules say 4. The tensors count.",
        "The metadata name sd_v1 as the base model; the names of the tensors are those of FLUX.",
    ]


def test_an_unknown_alpha_stays_unknown() -> None:
    lora, _ = read("peft_orphan/adapter_model_without_config.safetensors")
    assert {module.alpha for module in lora.modules.values()} == {None}
    assert remarks_on(lora) == ["The alpha of 16 modules is unknown: the file holds none. Loaders then use scale 1."]
