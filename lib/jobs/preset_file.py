"""Presets of other programs as configurations: kohya_ss' JSON (its ``presets/lora``) and sd-scripts' ``--config_file``.

What a preset says and no setting here means is named in the configuration's description, never dropped silently.
"""

import contextlib
import json
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from lib.errors import InvalidRequest
from lib.jobs.readable import character_problem
from lib.jobs.secret_options import is_secret_option
from lib.jobs.setting_kinds import Lines, Number, Setting, Switch, toml_reason
from lib.jobs.training_settings import (
    MAX_NAME_LENGTH,
    SETTINGS,
    Parameter,
    TrainingConfig,
    settings_from_payload,
)

MOST_NAMED_CHARS, MOST_NAMED_FOLDERS = 400, 8
_MOST_ARGUMENTS_CHARS, _MOST_SIZE_CHARS = 10_000, 100
# kohya_ss' own names, beside sd-scripts' options.
_KOHYA_SS = {"epoch": "epochs", "optimizer": "optimizer", "LoRA_type": "", "max_resolution": ""}
# sd-scripts counts these steps, and the setting counts files.
_NOT_OURS = frozenset({"save_last_n_steps"})
# A 0 there is a value; in other optional numbers it means that they are off.
_MAY_BE_ZERO = frozenset({"loader_workers", "unet_lr", "text_encoder_lr"})
_OPTIONS = {"train_batch_size": "batch_size", "dataset_repeats": "repeats", "resolution": ""}
_NETWORKS = {
    "Standard": "LoRA",
    "Kohya LoCon": "LoCon",
    "LyCORIS/LoCon": "LoCon",
    "LyCORIS/LoHa": "LoHa",
    "LyCORIS/LoKr": "LoKr",
    "Kohya DyLoRA": "",
    "Flux1": "LoRA",
}
_ALGORITHMS = {"algo=locon": "LoCon", "algo=lora": "LoCon", "algo=loha": "LoHa", "algo=lokr": "LoKr"}
_MODULES = {"networks.lora": "LoRA", "networks.lora_flux": "LoRA", "networks.lora_sd3": "LoRA"}
# What only says where things lie or how the program's window looks.
_NOT_SETTINGS = frozenset(
    {
        *("output_dir", "output_name", "logging_dir", "train_data_dir", "reg_data_dir", "model_list", "save_model_as"),
        *("folders", "dataset_config", "log_with", "xformers", "sdpa", "mem_eff_attn"),
        "training_comment",
        *("no_half_vae", "pretrained_model_name_or_path_list", "num_cpu_threads_per_process", "dynamo_backend"),
        *("num_processes", "num_machines", "main_process_port", "gpu_ids", "multi_gpu"),
    }
)  # fmt: skip

# kohya_ss' switches of LyCORIS, which no setting here means.
_LYCORIS = ("use_cp", "decompose_both", "train_norm")
# Keys that are understood together with others, and LyCORIS' own, which say nothing about another network.
_TOGETHER = frozenset(
    {
        *("sdxl", "v2", "flux1_checkbox", "sd3_checkbox", "sdxl_no_half_vae", "conv_dim", "conv_alpha", "factor"),
        *("unit", "use_cp", "decompose_both", "train_on_input", "train_norm", "LyCORIS_preset", "lr_warmup"),
        *(
            f"{kind}_cache_text_encoder_outputs{place}"
            for kind in ("sdxl", "flux1", "sd3")
            for place in ("", "_to_disk")
        ),
        "noise_offset_type",
    }
)
# Kind of model -> the field that says to cache its text encoder outputs; another one with _to_disk says where.
_TEXT_CACHES = {
    "sdxl": "sdxl_cache_text_encoder_outputs",
    "flux1_checkbox": "flux1_cache_text_encoder_outputs",
    "sd3_checkbox": "sd3_cache_text_encoder_outputs",
}
# Values that change nothing.
_USUAL = {
    **{
        "max_token_length": 75,
        "max_timestep": 1000,
        "min_timestep": 0,
        "prior_loss_weight": 1,
        "lr_scheduler_power": 1,
    },
    **{"max_grad_norm": 1, "loss_type": "l2", "dynamo_mode": "default", "huber_schedule": "snr", "huber_c": 0.1},
}


@dataclass(slots=True)
class _Reading:
    """What a preset says, in our words, and what it says beyond."""

    values: dict[str, Any] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)

    def take(self, name: str, key: str, value: Any) -> None:
        """Take a value over, or name its key where it does not fit."""
        setting = SETTINGS[name]
        read = _converted(setting, value)
        if read is not None and not setting.problem(read):
            self.values[name] = read
        elif _says_something(value):
            self.rest.append(key)


def is_preset(content: bytes) -> bool:
    """Whether a file is another program's: no configuration that was exported here."""
    try:
        return "settings" not in _read(content)
    except InvalidRequest:
        return False  # the configuration's own reader says what is wrong


def parse_preset(content: bytes, file_name: str, parameters: Mapping[str, Parameter]) -> TrainingConfig:
    """The configuration that a preset describes, not saved yet. Raises InvalidRequest.

    Args:
        file_name: Names the configuration.
        parameters: Setting -> what sd-scripts calls it.
    """
    read = _read(content)
    told = {key: value for key, value in _flat(read).items() if not _is_usual(key, value)}
    ours = {option: name for name, each in parameters.items() for option in each.name.split(", ") if option}
    ours = {option: name for option, name in (ours | _OPTIONS | _KOHYA_SS).items() if option not in _NOT_OURS}
    reading = _Reading()
    _take_modes(told, reading)
    for key, value in told.items():
        name = ours.get(key, "")
        if name in SETTINGS and name not in reading.values:
            reading.take(name, key, _chosen(value, parameters.get(name, Parameter()).choices))
        elif key not in ours and key not in _NOT_SETTINGS | _TOGETHER and _says_something(value):
            reading.rest.append(key)
    _leave_out_what_has_no_effect(reading.values, told)
    if not reading.values:
        raise InvalidRequest(
            "Nothing in the file is a setting of sd-scripts.",
            hint=_folders_text(read)
            or "Import a preset of kohya_ss (JSON), a file for sd-scripts' --config_file, or an export of this page.",
        )
    settings = settings_from_payload({**reading.values, "trainer": "sd-scripts"})
    name = PurePath(file_name.replace("\\", "/")).stem.strip()[:MAX_NAME_LENGTH]
    is_plain = bool(name) and not character_problem(name, "The name", is_line=True)
    return TrainingConfig(
        id="",
        name=name if is_plain else "Imported preset",
        description=_description(reading.rest, _folders_text(read)),
        settings=settings,
    )


def _read(content: bytes) -> Mapping[str, Any]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest("The file is not UTF-8 text.") from error
    with contextlib.suppress(ValueError, RecursionError):
        read = json.loads(text)
        if isinstance(read, Mapping):
            return read
    try:
        read = tomllib.loads(text)
        str(read)  # not of a number with thousands of hexadecimal digits, which TOML takes
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The file is neither JSON nor TOML: {toml_reason(error)}.") from error
    return read


def _flat(told: Mapping[str, Any]) -> dict[str, Any]:
    """sd-scripts takes the keys of all sections alike. Those of a dataset are settings where there is only one."""
    flat: dict[str, Any] = {}
    for key, value in told.items():
        if key == "datasets":
            only = value[0] if isinstance(value, list) and len(value) == 1 else None
            flat |= {name: each for name, each in only.items() if name != "subsets"} if isinstance(only, dict) else {}
        else:
            flat |= value if isinstance(value, Mapping) else {key: value}
    return {str(key): value for key, value in flat.items()}


def _take_modes(told: Mapping[str, Any], reading: _Reading) -> None:
    """What several keys say together."""
    values = reading.values
    if any(key in told for key in ("cache_latents", "cache_latents_to_disk")):
        values["cache_latents"] = _place(told, "cache_latents") or "no"
    if texts := _place(told, "cache_text_encoder_outputs") or _kohya_ss_place(told):
        values["cache_text_encoder"] = texts
    if (percent := _number(str(told.get("lr_warmup")))) and not told.get("lr_warmup_steps"):  # kohya_ss: of all steps
        reading.take("lr_warmup", "lr_warmup", percent / 100)
    if _number(str(told.get("max_train_epochs"))):
        reading.take("epochs", "max_train_epochs", told["max_train_epochs"])
    if train_only := _train_only(told):
        values["train_only"] = train_only
    if architecture := _architecture(told):
        values["architecture"] = architecture
    _take_size(told, reading)
    _take_network(told, reading)


def _place(told: Mapping[str, Any], key: str) -> str:
    return "disk" if told.get(f"{key}_to_disk") is True else "memory" if told.get(key) is True else ""


def _kohya_ss_place(told: Mapping[str, Any]) -> str:
    """Where text encoder outputs are cached: each kind of model has fields of its own, which count for that kind."""
    chosen = (field for kind, field in _TEXT_CACHES.items() if told.get(kind) is True)
    return next(filter(None, (_place(told, field) for field in chosen)), "")


def _train_only(told: Mapping[str, Any]) -> str:
    """What alone is trained. kohya_ss says it with rates, of which one is 0 (``lora_gui.py``)."""
    is_zero = {key: _number(str(told.get(key))) == 0 for key in ("unet_lr", "text_encoder_lr")}
    rates_tell = "LoRA_type" in told and is_zero["unet_lr"] != is_zero["text_encoder_lr"]
    if told.get("network_train_unet_only") is True or (rates_tell and is_zero["text_encoder_lr"]):
        return "U-Net"
    return "text encoder" if told.get("network_train_text_encoder_only") is True or rates_tell else ""


def _architecture(told: Mapping[str, Any]) -> str:
    if told.get("flux1_checkbox") is True or told.get("network_module") == "networks.lora_flux":
        return "flux"
    if told.get("sd3_checkbox") is True or told.get("network_module") == "networks.lora_sd3":
        return "sd3"
    return "sdxl" if told.get("sdxl") is True else "sd2" if told.get("v2") is True else ""


def _take_size(told: Mapping[str, Any], reading: _Reading) -> None:
    size = told.get("max_resolution", told.get("resolution"))
    parts = size if isinstance(size, list) else str(size or "")[:_MOST_SIZE_CHARS].replace("x", ",").split(",")
    sides = [side for side in (_number(str(part)) for part in parts) if side]
    if sides:
        reading.take("resolution", "resolution", sides[0])
    if len(sides) == 2 and sides[0] != sides[1]:
        reading.take("resolution_height", "resolution", sides[1])


def _take_network(told: Mapping[str, Any], reading: _Reading) -> None:
    """The network's type, from kohya_ss' word, from LyCORIS' algorithm, or from the module."""
    arguments = [str(each) for each in _texts(told.get("network_args"))]
    kind = _NETWORKS.get(str(told.get("LoRA_type")), "") or _MODULES.get(str(told.get("network_module")), "")
    if told.get("network_module") == "lycoris.kohya":
        kind = next((_ALGORITHMS[each] for each in arguments if each in _ALGORITHMS), "")
        kind = "DoRA" if "dora_wd=True" in arguments else kind
    said = told.get("LoRA_type") or told.get("network_module")
    if kind and kind != "LoRA":
        reading.values["network_module"] = kind
    elif said and not kind:
        reading.rest.append("LoRA_type" if told.get("LoRA_type") else "network_module")
    if kind in ("LoCon", "LoHa", "LoKr", "DoRA"):
        keys = ("conv_dim", "conv_alpha", *(("factor",) if kind == "LoKr" else ()))
        arguments += [f"{key}={told[key]}" for key in keys if _number(str(told.get(key, "")))]
        reading.rest += [key for key in _LYCORIS if told.get(key) is True]
    kept = tuple(each for each in arguments if each not in _ALGORITHMS and each != "dora_wd=True")
    if kept:
        reading.take("network_args", "network_args", kept)


def _leave_out_what_has_no_effect(values: dict[str, Any], told: Mapping[str, Any]) -> None:
    """kohya_ss writes every field, also those that its choices switch off; sd-scripts' epochs beat its steps."""
    is_kohya_ss, noise = "LoRA_type" in told, told.get("noise_offset_type")
    epochs = _number(str(told.get("max_train_epochs")))
    is_off = {
        "lr_cycles": values.get("lr_scheduler") not in ("cosine_with_restarts", "polynomial"),
        "noise_offset": noise == "Multires",
        "multires_iterations": noise == "Original",
        "multires_discount": noise == "Original" or "multires_iterations" not in values,
        "max_token_length": values.get("architecture") in ("flux", "sd3"),
        "unet_lr": values.get("train_only") == "text encoder" or (is_kohya_ss and values.get("unet_lr") == 0),
        "text_encoder_lr": (
            values.get("train_only") == "U-Net" or (is_kohya_ss and values.get("text_encoder_lr") == 0)
        ),
        "max_steps": epochs is not None and epochs == values.get("epochs"),
        **dict.fromkeys(
            ("bucket_min", "bucket_max", "bucket_step", "bucket_no_upscale"), values.get("buckets") is False
        ),
    }
    for name in [name for name in values if is_off.get(name)]:
        del values[name]


def _converted(setting: Setting, value: Any) -> Any:
    """A value as the setting keeps it; None where it cannot be one."""
    if isinstance(setting, Number):
        number = _number(value) if isinstance(value, str) else value
        is_off = setting.is_optional and not number and setting.name not in _MAY_BE_ZERO
        return None if is_off else setting.read(number)
    if isinstance(setting, Switch):
        return setting.read(value)
    if setting.name == "sample_prompts":  # kohya_ss has their text, sd-scripts the name of a file
        is_file = isinstance(value, str) and value.strip().endswith((".txt", ".json", ".toml"))
        return setting.parse(value) if isinstance(value, str) and not is_file else None
    if isinstance(setting, Lines):
        return _texts(value) or None
    return value.strip() if isinstance(value, str) else str(value) if isinstance(value, int) and value else None


def _chosen(value: Any, choices: tuple[str, ...]) -> Any:
    """The trainer's word, whatever its letter case; a number as its text. Anything else stays, and will not fit."""
    if not choices:
        return value
    return next((word for word in choices if word.casefold() == str(value).casefold()), None if not value else [value])


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return tuple(shlex.split(value)) if len(value) <= _MOST_ARGUMENTS_CHARS else ()
        return ()
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _number(text: str) -> float | int | None:
    with contextlib.suppress(ValueError):
        number = float(text[:40])
        return int(number) if number == number and abs(number) < 2**53 and number == int(number) else number
    return None


def _is_usual(key: str, value: Any) -> bool:
    return key in _USUAL and _USUAL[key] in (value, _number(str(value)))


def _says_something(value: Any) -> bool:
    return value not in (None, "", 0, "0", [], {}, "None", "none")


def _folders_text(told: Mapping[str, Any]) -> str:
    """Which folders of images a file names, by their last names, and how to train on them here; empty for none."""
    datasets = told.get("datasets")
    tables = [each for each in datasets if isinstance(each, Mapping)] if isinstance(datasets, list) else []
    subsets = [each for table in tables for each in _listed(table.get("subsets")) if isinstance(each, Mapping)]
    found = [(each.get("image_dir"), each.get("is_reg") is True) for each in subsets]
    flat = _flat(told)
    found += [(flat.get("train_data_dir"), False), (flat.get("reg_data_dir"), True)]
    names = [
        f"{_last_name(path)}{' (regularisation)' if is_regularisation else ''}"
        for path, is_regularisation in found
        if isinstance(path, str) and path.strip()
    ]
    if not names:
        return ""
    named = ", ".join(names[:MOST_NAMED_FOLDERS]) + (", …" if len(names) > MOST_NAMED_FOLDERS else "")
    return (
        f"The folders were not taken over: {named}. Upload each as a dataset; the first step of a new job takes "
        "several, each with its repeats, its words and whether it is for regularisation."
    )


def _last_name(path: str) -> str:
    name = PurePath(path.strip().replace("\\", "/")).name[:40]
    return "".join(character if character.isprintable() else " " for character in name) or "/"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _description(rest: list[str], folders: str = "") -> str:
    """What was not taken over: folders, and keys; secrets are named as such, and no value is repeated."""
    if not rest and not folders:
        return "Imported from a preset; everything in it was taken over."
    if not rest:
        return f"Imported from a preset. {folders}"
    secret = [key for key in rest if is_secret_option(key)]
    named = ", ".join(repr(key[:40]).strip("'") for key in dict.fromkeys(rest))
    if len(named) > MOST_NAMED_CHARS:
        named = named[:MOST_NAMED_CHARS].rpartition(", ")[0] + f" and more, {len(set(rest))} in all"
    advice = " Secrets belong to LORA_TRAINER_ENV." if secret else ""
    return " ".join(filter(None, ("Imported from a preset.", folders, f"Not taken over: {named}.{advice}")))
