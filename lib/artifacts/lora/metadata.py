"""What a LoRA file's metadata say: trained words, tags, base model, settings. All of it is foreign text.

Every value is a text; "None" stands for nothing (sd-scripts writes ``str(None)``). What cannot be understood is left
out, never guessed.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lib.artifacts.lora.adapter_config import number, parsed, parsed_object
from lib.jobs.lora_report import Setting, Tags, Words

AI_TOOLKIT_NOTE = "ai-toolkit: a trigger word, not a frequency; must not be drawn as a frequency"
FROM_PHRASE, FROM_WORDS, FROM_KEYWORDS = "modelspec.trigger_phrase", "trained_words", "ssmd_keywords"
FROM_AI_TOOLKIT = "ai-toolkit trigger word (ss_tag_frequency '1_<trigger>')"
FROM_EMBEDDING = "bundled embedding placeholder (bundle_emb.*)"
FROM_CLASS_TOKENS = "ss_datasets class_tokens"
FROM_FOLDERS = "ss_dataset_dirs folder names <repeats>_<words>"
EMBEDDING_START = "bundle_emb."
# Longest text and most words of one source: what a person can still read.
_MOST_WORDS, _LONGEST_WORD = 100, 300
_FOLDER = re.compile(r"\d{1,6}_(.+)", re.DOTALL)
_NOTHING = frozenset({"", "none", "null"})

# Settings as they stand in the file: name of the value, its unit.
SETTINGS: Mapping[str, tuple[str, str]] = {
    "ss_output_name": ("Name", ""),
    "modelspec.title": ("Title", ""),
    "modelspec.author": ("Author", ""),
    "modelspec.date": ("Date", ""),
    "modelspec.license": ("License", ""),
    "modelspec.usage_hint": ("Usage hint", ""),
    "modelspec.tags": ("Tags by the author", ""),
    "ss_network_module": ("Network module", ""),
    "ss_network_args": ("Network arguments", ""),
    "ss_learning_rate": ("Learning rate", "per step"),
    "ss_unet_lr": ("Learning rate of the denoiser", "per step"),
    "ss_text_encoder_lr": ("Learning rate of the text encoder", "per step"),
    "ss_optimizer": ("Optimizer", ""),
    "ss_lr_scheduler": ("Learning rate schedule", ""),
    "ss_steps": ("Steps so far", "steps"),
    "ss_max_train_steps": ("Steps planned", "steps"),
    "ss_epoch": ("Epoch", "epochs"),
    "ss_num_epochs": ("Epochs planned", "epochs"),
    "ss_num_train_images": ("Images × repeats", "images"),
    "ss_batch_size_per_device": ("Batch size per device", "images"),
    "ss_resolution": ("Resolution", "pixels"),
    "modelspec.resolution": ("Resolution (modelspec)", "pixels"),
    "ss_mixed_precision": ("Mixed precision", ""),
    "ss_clip_skip": ("Clip skip", "layers"),
    "ss_noise_offset": ("Noise offset", ""),
    "ss_min_snr_gamma": ("Min-SNR gamma", ""),
    "ss_seed": ("Seed", ""),
    "ss_training_comment": ("Comment", ""),
    "training_info": ("Progress (ai-toolkit)", ""),
}
# Of OneTrainer's configuration, which it stores whole: name in it, name of the value, unit.
ONETRAINER_SETTINGS = (
    ("training_method", "Training method", ""),
    ("model_type", "Model type", ""),
    ("learning_rate", "Learning rate", "per step"),
    ("epochs", "Epochs planned", "epochs"),
    ("batch_size", "Batch size", "images"),
    ("resolution", "Resolution", "pixels"),
    ("lora_rank", "Rank (configured)", ""),
    ("lora_alpha", "Alpha (configured)", ""),
)
HASHES = ("sshs_model_hash", "sshs_legacy_hash", "ss_sd_model_hash", "ss_new_sd_model_hash", "modelspec.hash_sha256")
_BASE_MODEL_KEYS = ("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture", "ss_v2")


def said(metadata: Mapping[str, str], key: str) -> str:
    """A value without "None" and blanks; empty when there is none."""
    text = metadata.get(key, "").strip()
    return "" if text.lower() in _NOTHING else text


def is_ai_toolkit(metadata: Mapping[str, str]) -> bool:
    """Whether ai-toolkit wrote the file."""
    return parsed_object(metadata.get("software", "")).get("name") == "ai-toolkit"


def tags_of(metadata: Mapping[str, str]) -> Tags:
    """The tag frequencies, summed over all folders of the dataset."""
    if is_ai_toolkit(metadata):
        return Tags(counts={}, note=AI_TOOLKIT_NOTE)
    folders = parsed_object(metadata.get("ss_tag_frequency", "")) or _tags_of_datasets(metadata)
    counts: dict[str, int] = {}
    unusable = 0
    for folder in folders.values():
        if not isinstance(folder, dict):
            unusable += 1
            continue
        for tag, value in folder.items():
            if (count := _count(value)) is None:
                unusable += 1
            else:
                counts[tag] = counts.get(tag, 0) + count
    return Tags(counts=counts, unusable_entries=unusable)


def trained_words_of(metadata: Mapping[str, str], tensors: Iterable[str]) -> list[Words]:
    """Words that call this LoRA, most trusted place first."""
    found = [
        Words(words=_words([said(metadata, FROM_PHRASE)]), origin=FROM_PHRASE),
        Words(words=_words(said(metadata, FROM_WORDS).split(",")), origin=FROM_WORDS),
        Words(words=_words(said(metadata, FROM_KEYWORDS).split(",")), origin=FROM_KEYWORDS),
        Words(words=_words(_ai_toolkit_words(metadata)), origin=FROM_AI_TOOLKIT),
        Words(words=_words(_embeddings(tensors)), origin=FROM_EMBEDDING),
        _likely(metadata, list(_class_tokens(metadata)), FROM_CLASS_TOKENS),
        _likely(metadata, list(_folder_words(metadata)), FROM_FOLDERS),
    ]
    return [each for each in found if each.words]


def base_model_of(metadata: Mapping[str, str], configured: str, configured_in: str) -> dict[str, str]:
    """What is said on the base model, by key, most trusted first.

    Args:
        metadata: The file's metadata.
        configured: ``base_model_name_or_path`` of peft's settings; may be empty.
        configured_in: Where that stands.
    """
    onetrainer = parsed_object(metadata.get("ot_config", "")).get("base_model_name")
    named = {
        _BASE_MODEL_KEYS[0]: said(metadata, _BASE_MODEL_KEYS[0]),
        f"{configured_in.removesuffix('.json')}.base_model_name_or_path": configured,
        "ot_config.base_model_name": onetrainer if isinstance(onetrainer, str) else "",
        **{key: said(metadata, key) for key in _BASE_MODEL_KEYS[1:]},
    }
    return {key: value for key, value in named.items() if value}


def training_settings_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The settings as they stand in the file, with folders of the dataset and duration in seconds."""
    settings: dict[str, Any] = {key: value for key in SETTINGS if (value := said(metadata, key))}
    if folders := dataset_folders_of(metadata):
        settings["dataset_folders"] = folders
    start, end = (number(metadata.get(f"ss_training_{word}_at")) for word in ("started", "finished"))
    if start is not None and end is not None and end >= start:
        settings["training_seconds"] = end - start
    return settings


def dataset_folders_of(metadata: Mapping[str, str], key: str = "ss_dataset_dirs") -> dict[str, list[int]]:
    """Repeats and images by folder."""
    found = {}
    for folder, content in parsed_object(metadata.get(key, "")).items():
        if isinstance(content, dict):
            repeats, images = _count(content.get("n_repeats")), _count(content.get("img_count"))
            if repeats is not None and images is not None:
                found[folder] = [repeats, images]
    return found


def setting_rows(metadata: Mapping[str, str]) -> list[Setting]:
    """The settings for people: with names and units, OneTrainer's own included."""
    rows = [
        Setting(key=key, label=label, value=said(metadata, key), unit=unit)
        for key, (label, unit) in SETTINGS.items()
        if said(metadata, key)
    ]
    onetrainer = parsed_object(metadata.get("ot_config", ""))
    rows += [
        Setting(key=f"ot_config.{name}", label=label, value=str(onetrainer[name]), unit=unit)
        for name, label, unit in ONETRAINER_SETTINGS
        if isinstance(onetrainer.get(name), (str, int, float))
    ]
    seconds = training_settings_of(metadata).get("training_seconds")
    if seconds is not None:
        rows.append(Setting(key="ss_training_finished_at", label="Duration", value=f"{seconds:.0f}", unit="seconds"))
    return rows


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    found = number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def _words(texts: Iterable[str]) -> tuple[str, ...]:
    words = (text.strip() for text in texts)
    kept = dict.fromkeys(word for word in words if word.lower() not in _NOTHING and len(word) <= _LONGEST_WORD)
    return tuple(kept)[:_MOST_WORDS]


def _ai_toolkit_words(metadata: Mapping[str, str]) -> Iterable[str]:
    if is_ai_toolkit(metadata):
        for folder, words in parsed_object(metadata.get("ss_tag_frequency", "")).items():
            if isinstance(words, dict):
                yield from (word for word in words if folder == f"1_{word}")


def _embeddings(tensors: Iterable[str]) -> Iterable[str]:
    for name in tensors:
        if name.startswith(EMBEDDING_START):
            yield name.removeprefix(EMBEDDING_START).rpartition(".")[0]


def _datasets(metadata: Mapping[str, str]) -> list[Mapping[str, Any]]:
    content = parsed(metadata.get("ss_datasets", ""))
    return [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []


def _tags_of_datasets(metadata: Mapping[str, str]) -> dict[str, Any]:
    folders: dict[str, Any] = {}
    for place, dataset in enumerate(_datasets(metadata)):
        if isinstance(frequency := dataset.get("tag_frequency"), dict):
            folders |= {f"{place} {folder}": tags for folder, tags in frequency.items()}
    return folders


def _class_tokens(metadata: Mapping[str, str]) -> Iterable[tuple[str, int | None]]:
    for dataset in _datasets(metadata):
        subsets = dataset.get("subsets")
        for subset in subsets if isinstance(subsets, list) else ():
            if isinstance(subset, dict) and not subset.get("is_reg") and isinstance(subset.get("class_tokens"), str):
                yield subset["class_tokens"], _count(subset.get("img_count"))


def _folder_words(metadata: Mapping[str, str]) -> Iterable[tuple[str, int | None]]:
    regularization = parsed_object(metadata.get("ss_reg_dataset_dirs", ""))
    for folder, content in parsed_object(metadata.get("ss_dataset_dirs", "")).items():
        if (found := _FOLDER.fullmatch(folder)) and folder not in regularization:
            yield found[1], _count(content.get("img_count")) if isinstance(content, dict) else None


def _likely(metadata: Mapping[str, str], found: list[tuple[str, int | None]], origin: str) -> Words:
    """Words that a trainer uses only for images without a caption: proven only by a tag on every image.

    sd-scripts ``library/train_util.py``: class tokens are the caption where no caption file lies.
    """
    counts = tags_of(metadata).counts
    proven = all(images is not None and counts.get(words, 0) >= images > 0 for words, images in found)
    return Words(words=_words(words for words, _ in found), origin=origin, are_proven=proven)
