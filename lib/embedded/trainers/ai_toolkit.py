"""The recipe of ostris' ai-toolkit: LoRA for SD 1.5 to 3.5, SDXL, FLUX.1 and .2, Chroma, Lumina 2, Qwen-Image, Z-Image.

Read in its source at 27a03a9. It takes one file, counts in steps only, and goes on by itself from what lies in the
folder of its name. Strings of the file are written so that nothing in them is replaced: it puts variables of the
environment where ``${NAME}`` stands.
"""

import ast
import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.embedded.files.attempt_folder import EVENTS_FOLDER
from lib.embedded.trainers.base_model import BaseModel
from lib.embedded.trainers.config_source import SECTIONS, SOURCE, read_sections
from lib.embedded.trainers.kohya_arguments import whole_path
from lib.embedded.trainers.kohya_files import collect_kohya, file_stem
from lib.embedded.trainers.linked_dataset import linked_images, steps_of_all, steps_of_epochs, words_problems
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.option_rules import OptionRules, extra_problems, unchecked_warnings
from lib.embedded.trainers.parser_source import Option
from lib.embedded.trainers.recipe import FoundFile, Recipe, TrainingRun, dataset_problems, tried_run
from lib.embedded.trainers.trainer_folder import Installation, TrainerFolder
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import Parameter, TrainingSettings

CONFIG_FILE = "config.json"
DATASET_FOLDER = "dataset"
PACKAGES = ("torch", "diffusers")
BYTES_PER_SAMPLE = 300_000
KEEP_ALL = 100_000
NEVER = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolkitArchitecture:
    """A kind of base model: what ai-toolkit calls it, whether it is trained by flow matching, and its size."""

    label: str
    arch: str
    bytes_per_rank: int
    is_flow: bool = True


def _made(label: str, arch: str, bytes_per_rank: int, *, is_flow: bool = True) -> ToolkitArchitecture:
    return ToolkitArchitecture(label=label, arch=arch, bytes_per_rank=bytes_per_rank, is_flow=is_flow)


# Sizes in 16 bit are estimates from the widths of the layers.
ARCHITECTURES = {
    "sd15": _made("Stable Diffusion 1.5", "sd1", 1_200_000, is_flow=False),
    "sdxl": _made("SDXL", "sdxl", 7_200_000, is_flow=False),
    "sd3": _made("Stable Diffusion 3.5", "sd3", 12_000_000),
    "flux": _made("FLUX.1", "flux", 19_200_000),
    "chroma": _made("Chroma", "chroma", 15_000_000),
    "lumina": _made("Lumina 2", "lumina2", 8_000_000),
    "flux2-dev": _made("FLUX.2 dev", "flux2", 12_200_000),
    "flux2-klein-4b": _made("FLUX.2 klein 4B", "flux2_klein_4b", 2_900_000),
    "flux2-klein-9b": _made("FLUX.2 klein 9B", "flux2_klein_9b", 5_200_000),
    "qwen-image": _made("Qwen-Image", "qwen_image", 13_300_000),
    "z-image": _made("Z-Image", "zimage", 5_000_000),
}
OPTIMIZERS = ("adamw", "adamw8bit", "lion", "lion8bit", "adafactor", "prodigy", "prodigy8bit", "automagic")
SCHEDULES = ("constant", "constant_with_warmup", "cosine")
PRECISIONS = {"no": "float32", "fp16": "float16", "bf16": "bfloat16", "float": "float32"}
# Setting -> section and key, where a value that is set is written as it is.
KEYS = {
    "gradient_accumulation": ("train", "gradient_accumulation"),
    "gradient_checkpointing": ("train", "gradient_checkpointing"),
    "unet_lr": ("train", "unet_lr"),
    "text_encoder_lr": ("train", "text_encoder_lr"),
    "lr_scheduler": ("train", "lr_scheduler"),
    "min_snr_gamma": ("train", "min_snr_gamma"),
    "noise_offset": ("train", "noise_offset"),
    "fp8_base": ("model", "quantize"),
    "vae": ("model", "vae_path"),
    "network_weights": ("network", "pretrained_lora_path"),
    "buckets": ("datasets", "buckets"),
    "shuffle_caption": ("datasets", "shuffle_tokens"),
    "keep_tokens": ("datasets", "keep_tokens"),
    "caption_dropout": ("datasets", "caption_dropout_rate"),
    "class_tokens": ("datasets", "default_caption"),
    "flip_images": ("datasets", "flip_x"),
    "loader_workers": ("datasets", "num_workers"),
    "sample_steps": ("sample", "sample_steps"),
    "sample_guidance": ("sample", "guidance_scale"),
    "negative_prompt": ("sample", "neg"),
}
_OWN = {
    "base_model": "name_or_path",
    "epochs": "steps",
    "max_steps": "steps",
    "learning_rate": "lr",
    "batch_size": "batch_size",
    "resolution": "resolution",
    "network_dim": "linear",
    "network_alpha": "linear_alpha",
    "repeats": "num_repeats",
    "seed": "training_seed",
    "sample_prompts": "samples",
    "extra": "",
    "optimizer_args": "optimizer_params",
    "lr_warmup": "lr_scheduler_params",
    "save_every_epochs": "save_every",
    "save_every_steps": "save_every",
    "keep_last": "max_step_saves_to_keep",
    "sample_every_epochs": "sample_every",
    "sample_every_steps": "sample_every",
}
PARAMETERS: Mapping[str, Parameter] = {
    **{setting: Parameter(name=key) for setting, key in _OWN.items()},
    **{setting: Parameter(name=key) for setting, (_, key) in KEYS.items()},
    "architecture": Parameter(name="arch", choices=tuple(ARCHITECTURES)),
    "mixed_precision": Parameter(name="dtype", choices=("no", "fp16", "bf16")),
    "save_precision": Parameter(name="dtype", choices=("float", "fp16", "bf16")),
    "optimizer": Parameter(name="optimizer", choices=OPTIMIZERS),
    "lr_scheduler": Parameter(name="lr_scheduler", choices=SCHEDULES),
    "network_module": Parameter(name="type", choices=("LoRA", "LoKr")),
    "cache_latents": Parameter(name="cache_latents, cache_latents_to_disk", choices=("no", "memory", "disk")),
    "cache_text_encoder": Parameter(name="cache_text_embeddings", choices=("disk",)),
}
RULES = OptionRules(
    set_by_dashboard=frozenset(
        {
            *("name_or_path", "arch", "dtype", "steps", "lr", "batch_size", "resolution", "linear", "linear_alpha"),
            *("rank", "type", "folder_path", "dataset_path", "caption_ext", "num_repeats", "samples", "prompts"),
            *("save_every", "sample_every", "max_step_saves_to_keep", "optimizer", "optimizer_params", "sampler"),
            *("lr_scheduler_params", "noise_scheduler", "width", "height", "walk_seed", "disable_sampling", "vae_path"),
            *("pretrained_lora_path", "cache_latents", "cache_latents_to_disk", "cache_text_embeddings"),
        }
    ),
    refused=dict.fromkeys(("push_to_hub", "hf_repo_id", "hf_private"), "sends files to a server"),
    texts={
        **dict.fromkeys(("trigger_word", "unconditional_prompt", "diff_output_preservation_class"), re.compile(r".*")),
        # A model of the hub, whole or one file of it.
        "assistant_lora_path": re.compile(r"[\w-]+/[\w-]+(/[\w-]+\.safetensors)?", re.ASCII),
    },
    words={
        "qtype": frozenset({"qfloat8", "qint8", "qint4", "float8", "uint3", "uint4", "uint6"}),
        "qtype_te": frozenset({"qfloat8", "qint8", "qint4", "float8", "uint3", "uint4", "uint6"}),
        "timestep_type": frozenset({"sigmoid", "linear", "lognorm_blend", "shift", "weighted", "flux_shift"}),
        "content_or_style": frozenset({"balanced", "style", "content"}),
        "loss_type": frozenset({"mse", "mae", "wavelet", "stepped"}),
        "format": frozenset({"jpg", "png", "webp"}),
    },
    ranges={"noise_offset": (-1, 1), "lokr_factor": (-1, 4096)},
)
_PROMPT_FLAGS = frozenset({"p2", "n", "n2", "w", "h", "d", "seed", "l", "cfg", "s", "steps", "m", "gr"})


class AiToolkitRecipe(Recipe):
    """Runs ``python run.py config.json``.

    Args:
        folder: Where ai-toolkit is installed.
        models: Which models may be opened, and whether options are checked.
    """

    name = "ai-toolkit"
    label = "ai-toolkit (SD 1.5 to 3.5, SDXL, FLUX.1 and .2, Qwen-Image, Z-Image)"
    parameters = PARAMETERS

    def __init__(self, folder: TrainerFolder, models: ModelFiles | None = None) -> None:
        self._folder = folder
        self._models = models or ModelFiles()

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """What is missing (checkout, environment, base model, captions), and what may not be passed on."""
        if settings.architecture not in ARCHITECTURES:
            return ["No architecture is chosen. Choose under Model parts which one the base model has."]
        folder = self._folder.problems(["run.py", SOURCE], PACKAGES)
        return [
            *folder,
            *self._model_problems(settings),
            *ignored_problems(settings),
            *extra_problems(settings.extra, RULES, self._known(), self._models),
            *([] if folder else self._version_problems(settings, dataset)),
            *filter(None, map(prompt_problem, (*settings.sample_prompts, settings.negative_prompt))),
            *words_problems(settings, dataset),
            *dataset_problems(dataset),
        ]

    def installation(self, settings: TrainingSettings) -> Installation:
        """Its one script."""
        return Installation(folder=self._folder, script="run.py", packages=PACKAGES)

    def warnings(self, settings: TrainingSettings) -> Sequence[str]:
        """That options are not checked, where LORA_ALLOW_ANY_OPTION lifts the checks."""
        return unchecked_warnings(settings.extra, self._models)

    def base_model(self, settings: TrainingSettings) -> BaseModel | None:
        """What its header tells."""
        return self._models.base_model(settings.base_model)

    def _model_problems(self, settings: TrainingSettings) -> list[str]:
        if not settings.base_model.strip():
            return ["No base model is set. Give its path, or its name on the Hugging Face hub."]
        named = {"The base model": settings.base_model, "The VAE or autoencoder": settings.vae}
        problems = [self._models.problem(model, what) for what, model in named.items() if model]
        if settings.network_weights:
            problems.append(self._models.problem(settings.network_weights, "The LoRA to start from", may_be_hub=False))
        return [each for each in problems if each]

    def _known(self) -> dict[str, Option]:
        """Key -> option, of the first section that has it; none where the source cannot be read."""
        sections = read_sections(self._folder.path) if self._folder.path else {}
        found: dict[str, Option] = {}
        for section in SECTIONS:
            found = {**sections.get(section, {}), **found}
        return found

    def _version_problems(self, settings: TrainingSettings, dataset: Dataset) -> list[str]:
        sections = read_sections(self._folder.path) if self._folder.path else {}
        if not sections:
            return [f"The keys of {SOURCE} cannot be read: this ai-toolkit is of another version. Update it."]
        written = self._sections(tried_run(replace(settings, extra={}), dataset))
        unknown = [f"{section}.{key}" for section, keys in written.items() for key in keys.keys() - sections[section]]
        return [
            f"This ai-toolkit does not know {each}: it is of another version than the dashboard knows. Update it."
            for each in sorted(unknown)[:1]
        ]

    def command(self, run: TrainingRun) -> list[str]:
        """The argv."""
        return [str(self._folder.python or "python"), self._folder.at("run.py"), str(run.attempt_dir / CONFIG_FILE)]

    def config(self, run: TrainingRun) -> dict[str, Any]:
        """The file that ai-toolkit takes."""
        sections = self._sections(run)
        process = {
            "type": "sd_trainer",
            "training_folder": str(run.output_dir),
            "training_seed": run.settings.seed,
            "device": "cuda:0",
            "log_dir": str(run.attempt_dir / EVENTS_FOLDER),
            **sections,
            "datasets": [sections["datasets"]],
        }
        return {"job": "extension", "config": {"name": file_stem(run.name), "process": [process]}}

    def _sections(self, run: TrainingRun) -> dict[str, dict[str, Any]]:
        """Section -> its keys: our own, those of the settings, the further options."""
        settings = run.settings
        sections = _own_keys(run, _kind(settings))
        for setting, (section, key) in KEYS.items():
            value = getattr(settings, setting)
            if value not in (None, ""):
                sections[section][key] = value
        for key, value in settings.extra.items():
            sections[self._section_of(key)][key] = value
        return sections

    def _section_of(self, key: str) -> str:
        sections = read_sections(self._folder.path) if self._folder.path else {}
        return next((name for name in SECTIONS if key in sections.get(name, {})), "train")

    def prepare(self, run: TrainingRun) -> None:
        """Make a folder of links, since caches are written beside the images, and write the file."""
        run.output_dir.mkdir(parents=True, exist_ok=True)
        for link, caption in linked_images(run.dataset_path, run.attempt_dir / DATASET_FOLDER):
            if caption:
                link.with_suffix(".txt").write_text(caption, encoding="utf-8")
        # All in ASCII, with the dollar as a code: what is read looks like no variable.
        text = json.dumps(self.config(run), indent=2).replace("$", "\\u0024")
        (run.attempt_dir / CONFIG_FILE).write_text(text, encoding="utf-8")

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far."""
        return collect_kohya(output_dir)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """One file and one image per prompt and epoch, and the optimizer's memory."""
        file_bytes = settings.network_dim * _kind(settings).bytes_per_rank
        saves = settings.epochs // settings.save_every_epochs if settings.save_every_epochs else 1
        samples = len(settings.sample_prompts) * BYTES_PER_SAMPLE * settings.epochs
        return (min(saves, settings.keep_last or saves) + 5) * file_bytes + samples


def _own_keys(run: TrainingRun, kind: ToolkitArchitecture) -> dict[str, dict[str, Any]]:
    """Section -> the keys that no setting stands for alone."""
    settings = run.settings
    steps = steps_of_all(run.dataset, settings)
    save = settings.save_every_steps or _steps(run, settings.save_every_epochs)
    sample = settings.sample_every_steps or _steps(run, settings.sample_every_epochs)
    prompts = [" ".join(prompt.split()) for prompt in settings.sample_prompts if prompt.strip()]
    flow = "flowmatch" if kind.is_flow else "ddpm"
    warmup = settings.lr_warmup or 0
    return {
        "train": {
            "steps": steps,
            "lr": settings.learning_rate,
            "batch_size": settings.batch_size,
            "dtype": PRECISIONS[settings.mixed_precision or "bf16"],
            "optimizer": settings.optimizer or OPTIMIZERS[0],
            "optimizer_params": _arguments(settings.optimizer_args),
            "noise_scheduler": flow,
            "train_text_encoder": settings.text_encoder_lr is not None,
            "disable_sampling": not (sample and prompts),
            "cache_text_embeddings": settings.cache_text_encoder == "disk",
            **({"lr_scheduler_params": {"num_warmup_steps": round(warmup if warmup >= 1 else warmup * steps)}}
               if warmup else {}),
        },
        "model": {"name_or_path": whole_path(settings.base_model), "arch": kind.arch},
        "datasets": {
            "folder_path": str(run.attempt_dir / DATASET_FOLDER),
            "caption_ext": "txt",
            "resolution": settings.resolution,
            "num_repeats": settings.repeats,
            "cache_latents": settings.cache_latents == "memory",
            "cache_latents_to_disk": settings.cache_latents == "disk",
        },
        "sample": {
            "sampler": flow,
            "sample_every": sample or NEVER,
            "width": settings.resolution,
            "height": settings.resolution,
            "seed": settings.seed,
            "samples": [{"prompt": prompt} for prompt in prompts],
        },
        "save": {
            "save_every": save or NEVER,
            "dtype": PRECISIONS[settings.save_precision or "fp16"],
            "max_step_saves_to_keep": settings.keep_last or KEEP_ALL,
        },
        "network": {
            "type": settings.network_module.lower() or "lora",
            "linear": settings.network_dim,
            "linear_alpha": settings.network_alpha,
            # Otherwise the rank of a LoKr would count for nothing.
            **({"lokr_full_rank": False} if settings.network_module == "LoKr" else {}),
        },
    }  # fmt: skip


def _steps(run: TrainingRun, epochs: int) -> int:
    return steps_of_epochs(run.dataset, run.settings, epochs) if epochs else 0


def _arguments(lines: Sequence[str]) -> dict[str, Any]:
    """``weight_decay=0.01`` as a key and its value."""
    found: dict[str, Any] = {}
    for line in lines:
        key, _, text = line.partition("=")
        found[key.strip()] = text.strip()
        with contextlib.suppress(ValueError, SyntaxError):
            found[key.strip()] = ast.literal_eval(text.strip())
    return found


def ignored_problems(settings: TrainingSettings) -> list[str]:
    """Settings that ai-toolkit would ignore, or that contradict each other."""
    said = settings
    twice = [key for setting, (_, key) in KEYS.items() if key in said.extra and setting in PARAMETERS]
    faults = {
        f"The key {', '.join(twice)} has a field of its own. Remove it from the further options.": bool(twice),
        "ai-toolkit trains on one card. Set the cards to 1.": said.gpus > 1,
        "Warm-up belongs to the schedule constant_with_warmup. Choose it, or empty the warm-up.": (
            bool(said.lr_warmup) and said.lr_scheduler != "constant_with_warmup"
        ),
        "The schedule constant_with_warmup needs a warm-up: ai-toolkit would take 1,000 steps. Give it.": (
            not said.lr_warmup and said.lr_scheduler == "constant_with_warmup"
        ),
        "Cached text encoder outputs need captions that stay the same: no shuffling and no dropout.": (
            bool(said.cache_text_encoder) and (said.shuffle_caption or bool(said.caption_dropout))
        ),
        "Cached text encoder outputs need a text encoder that is not trained. Empty its learning rate.": (
            bool(said.cache_text_encoder) and said.text_encoder_lr is not None
        ),
        "An optimizer argument must be written as name=value.": any("=" not in each for each in said.optimizer_args),
    }
    return [problem for problem, is_there in faults.items() if is_there]


def prompt_problem(prompt: str) -> str:
    """Why ai-toolkit may not get a prompt: one of its options is not known to be harmless."""
    for part in prompt.split("--")[1:]:
        flag = part.split(" ")[0].strip()
        if flag not in _PROMPT_FLAGS:
            return f"The sample prompt option --{flag[:20]} is not passed on. Remove it from the prompt."
    return ""


def _kind(settings: TrainingSettings) -> ToolkitArchitecture:
    """The architecture that is chosen; while none is, a preview shows the first one."""
    return ARCHITECTURES.get(settings.architecture) or next(iter(ARCHITECTURES.values()))
