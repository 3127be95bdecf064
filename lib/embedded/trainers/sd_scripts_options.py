"""What a configuration may say to sd-scripts, read in its source at 48d368f.

``sd_scripts_options.json`` is what ``python -m lib.embedded.trainers.parser_source CHECKOUT setup_parser SCRIPT…``
printed there for ``train_network.py`` and those of SDXL, FLUX.1, SD3, Lumina and Anima; it is used where a checkout's
own parser cannot be read.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lib.embedded.trainers.option_rules import OptionRules
from lib.embedded.trainers.parser_source import Option, options_from, read_options

SET_BY_DASHBOARD = frozenset(
    {
        *("pretrained_model_name_or_path", "dataset_config", "train_data_dir", "config_file", "logging_dir"),
        *("output_dir", "output_name", "save_model_as", "save_every_n_epochs", "sample_prompts"),
        *("network_dim", "network_alpha", "learning_rate", "train_batch_size", "resolution", "seed"),
        *("dataset_repeats", "max_train_epochs", "max_train_steps"),
    }
)
# Options that name a model. ``resume`` names a folder of pickles, so it also needs LORA_ALLOW_PICKLES.
FILES = frozenset({"vae", "network_weights", "base_weights", "resume"})
# What --option of a sample prompt may be: width, height, seed, steps, scales, negative prompt, sampler, flow shift.
# "cn" names an image to open, so it is not among them.
PROMPT_OPTIONS = frozenset({"w", "h", "d", "s", "l", "g", "n", "ss", "fs", "ctr", "rcfg"})

_WRITES, _READS = "names a file that the trainer would write", "names a file that the trainer would read"
_UPLOADS = "sends files to a server"
REFUSED = {
    **dict.fromkeys(("console_log_file", "tokenizer_cache_dir", "log_prefix"), _WRITES),
    **dict.fromkeys(("offload_optimizer_nvme_path", "offload_param_nvme_path"), _WRITES),
    "output_config": "writes a file instead of training",
    **dict.fromkeys(("log_tracker_config", "in_json", "reg_data_dir", "conditioning_data_dir"), _READS),
    "metadata_thumbnail": "puts a file of this machine into the trained one",
    "dataset_class": "names a program to run",
    **dict.fromkeys(("huggingface_repo_id", "huggingface_repo_type", "huggingface_path_in_repo"), _UPLOADS),
    **dict.fromkeys(("huggingface_repo_visibility", "save_state_to_huggingface", "async_upload"), _UPLOADS),
    "resume_from_huggingface": "opens files of a server that may run programs",
}

_FREE = re.compile(r"[^\x00-\x1f]*")
# No slash and no backslash: such a text cannot lead out of the folder that the trainer makes of it.
_COMPONENT = re.compile(r"[\w][\w .()+=-]*")
# network_args and the like: key=value, the value without anything that leads to a file.
_ARGUMENT = re.compile(r"[A-Za-z_]\w*=[\w .,:+()\[\]{}'\"|*-]*")
_FREE_TEXTS = (
    *("metadata_title", "metadata_author", "metadata_description", "metadata_license", "metadata_tags"),
    *("metadata_usage_hint", "metadata_merged_from", "metadata_trigger_phrase", "metadata_preprocessor"),
    *("metadata_is_negative_embedding", "training_comment", "caption_prefix", "caption_suffix"),
    *("caption_separator", "keep_tokens_separator", "secondary_separator"),
)
TEXTS = {
    **dict.fromkeys(_FREE_TEXTS, _FREE),
    **dict.fromkeys(("wandb_run_name", "log_tracker_name"), _COMPONENT),
    **dict.fromkeys(("network_args", "optimizer_args", "lr_scheduler_args"), _ARGUMENT),
    "face_crop_aug_range": re.compile(r"\d+(\.\d+)?,\d+(\.\d+)?"),
    "lr_scheduler": re.compile(r"[a-z_]{1,40}|adafactor:\d+(\.\d+)?(e-?\d+)?"),
    "caption_extension": re.compile(r"\.[a-z0-9]{1,10}"),
}
WORDS = {
    "network_module": frozenset(
        {"networks.lora", "networks.lora_fa", "networks.dylora", "networks.oft", "lycoris.kohya"}
    ),
    "optimizer_type": frozenset(
        {
            *("AdamW", "AdamW8bit", "PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit", "Adam", "Adamax", "NAdam"),
            *("RAdam", "SGD", "SGDNesterov", "SGDNesterov8bit", "RMSprop", "Lion", "Lion8bit", "PagedLion8bit"),
            *("Adafactor", "Prodigy", "DAdaptation", "DAdaptAdam", "DAdaptAdamPreprint", "DAdaptAdaGrad"),
            *("DAdaptAdan", "DAdaptAdanIP", "DAdaptLion", "DAdaptSGD"),
            *("AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree"),
            *("prodigyplus.ProdigyPlusScheduleFree", "prodigyopt.Prodigy", "pytorch_optimizer.CAME"),
        }
    ),
    "lr_scheduler_type": frozenset(
        {
            *("CosineAnnealingLR", "CosineAnnealingWarmRestarts", "OneCycleLR", "CyclicLR", "ConstantLR", "LinearLR"),
            *("ExponentialLR", "PolynomialLR", "StepLR", "MultiStepLR"),
        }
    ),
}
_SHARE, _RATE, _SIGNED = (0, 1), (0, 10), (-10, 10)
RANGES = {
    **dict.fromkeys(("caption_dropout_rate", "caption_tag_dropout_rate", "network_dropout"), _SHARE),
    **dict.fromkeys(("validation_split", "multires_noise_discount", "lr_scheduler_min_lr_ratio"), _SHARE),
    **dict.fromkeys(("unet_lr", "text_encoder_lr"), _RATE),
    **dict.fromkeys(("adaptive_noise_scale", "base_weights_multiplier", "noise_offset"), _SIGNED),
    "max_data_loader_n_workers": (0, 32),
    "vae_batch_size": (0, 64),
    "gradient_accumulation_steps": (1, 1024),
    "min_bucket_reso": (64, 8192),
    "max_bucket_reso": (64, 8192),
    "bucket_reso_steps": (1, 1024),
    "clip_skip": (1, 24),
    "save_every_n_steps": (1, 10_000_000),
    "sample_every_n_steps": (1, 10_000_000),
    "sample_every_n_epochs": (1, 1_000_000),
    "validation_seed": (0, 2**31 - 1),
}
RULES = OptionRules(
    set_by_dashboard=SET_BY_DASHBOARD, refused=REFUSED, texts=TEXTS, words=WORDS, ranges=RANGES, files=FILES
)


def known_options(checkout: Path | None, script: str) -> Mapping[str, Option]:
    """The options of a checkout's script, or those of 48d368f where its parser cannot be read."""
    return (read_options(checkout, script) if checkout else None) or _kept_options()


@cache
def _kept_options() -> Mapping[str, Option]:
    return options_from(json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8")))


def prompt_problem(prompt: str) -> str:
    """Why sd-scripts may not get a sample prompt: one of its options is not known to be harmless."""
    first, *parts = prompt.split(" --")
    if first.lower().startswith("cn "):  # sd-scripts takes it for the option, also without hyphens
        return "A sample prompt cannot begin with cn: sd-scripts would open what follows as an image. Rephrase it."
    for part in parts:
        option = part.partition(" ")[0]
        if option.lower() not in PROMPT_OPTIONS:
            return f"The sample prompt option --{option[:20]} is not passed on. Remove it from the prompt."
    return ""
