"""What foreign metadata say: words in order of trust, tags, settings, base model; wrong types are left out."""

import json

import pytest

from lib.artifacts.lora.metadata import base_model_of, setting_rows, tags_of, trained_words_of, training_settings_of

FOLDERS = {"ss_dataset_dirs": json.dumps({"10_aria woman": {"n_repeats": 10, "img_count": 5}})}


def words(metadata: dict[str, str], *tensors: str) -> list[tuple[tuple[str, ...], bool]]:
    return [(each.words, each.are_proven) for each in trained_words_of(metadata, tensors)]


def test_words_come_in_order_of_trust() -> None:
    datasets = [{"subsets": [{"class_tokens": "zxc", "img_count": 3}, {"class_tokens": "woman", "is_reg": True}]}]
    metadata = {
        **FOLDERS,
        "ss_datasets": json.dumps(datasets),
        "ssmd_keywords": "kw, kw2",
        "trained_words": "one, two,one",
        "modelspec.trigger_phrase": "a phrase, whole",
    }
    assert [each for each, _ in words(metadata, "bundle_emb.<x>.clip_l", "bundle_emb.<x>.clip_g")] == [
        ("a phrase, whole",),
        ("one", "two"),
        ("kw", "kw2"),
        ("<x>",),
        ("zxc",),
        ("aria woman",),
    ]


@pytest.mark.parametrize(("count", "is_proven"), [(5, True), (4, False)])
def test_folder_words_are_proven_by_a_tag_on_every_image(count: int, is_proven: bool) -> None:
    tags = {"ss_tag_frequency": json.dumps({"10_aria woman": {"aria woman": count}})}
    assert words({**FOLDERS, **tags}) == [(("aria woman",), is_proven)]


def test_regularization_folders_and_folders_without_repeats_give_no_words() -> None:
    regularization = {"ss_reg_dataset_dirs": json.dumps({"10_aria woman": {"n_repeats": 1, "img_count": 5}})}
    assert words({**FOLDERS, **regularization}) == []
    assert words({"ss_dataset_dirs": json.dumps({"aria": {"n_repeats": 1, "img_count": 5}})}) == []


def test_the_word_none_is_no_word() -> None:
    assert words({"modelspec.trigger_phrase": "None", "trained_words": "none, ,", "ssmd_keywords": "null"}) == []


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "7", "null", '{"a": {"b": [' + "1," * 9 + "1]}}", '{"a": 1e999}'])
def test_json_of_any_shape_is_left_out(text: str) -> None:
    keys = "ss_tag_frequency ss_dataset_dirs ss_datasets ss_reg_dataset_dirs software ot_config ss_bucket_info".split()
    metadata = dict.fromkeys(keys, text)
    assert words(metadata) == []
    assert dict(tags_of(metadata).counts) == {}
    assert training_settings_of(metadata) == {}
    assert setting_rows(metadata) == []
    assert base_model_of(metadata, "", "") == {}


def test_tags_of_several_datasets_add_up() -> None:
    datasets = [{"tag_frequency": {"a": {"x": 1, "y": 2}}}, {"tag_frequency": {"a": {"x": 3}}}]
    assert dict(tags_of({"ss_datasets": json.dumps(datasets)}).counts) == {"x": 4, "y": 2}


def test_a_tag_that_cannot_be_encoded_can_be_shown() -> None:
    tags = tags_of({"ss_tag_frequency": '{"a": {"x\\ud800": 1, "\\u3042": 2}}'})
    assert dict(tags.counts) == {"x?": 1, "あ": 2}


def test_settings_have_names_and_units() -> None:
    onetrainer = {"ot_config": json.dumps({"learning_rate": 0.0003, "epochs": 40, "lora_rank": 4})}
    rows = {(each.label, each.value, each.unit) for each in setting_rows({"ss_unet_lr": "1e-4", **onetrainer})}
    assert {("Learning rate of the denoiser", "1e-4", "per step"), ("Epochs planned", "40", "epochs")} <= rows


def test_the_base_model_s_file_is_trusted_most() -> None:
    said = {"modelspec.architecture": "flux-1-dev/lora", "ss_sd_model_name": "flux1.safetensors"}
    assert list(base_model_of(said, "org/model", "adapter_config.json")) == [
        "ss_sd_model_name",
        "adapter_config.base_model_name_or_path",
        "modelspec.architecture",
    ]
