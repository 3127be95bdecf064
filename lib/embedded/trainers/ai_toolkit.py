"""The recipe of ostris' ai-toolkit: LoRA for SD 1.5 to 3.5, SDXL, FLUX.1 and .2, Chroma, Lumina 2, Qwen-Image, Z-Image.

Read in its source at 27a03a9. It takes one file, counts in steps only, and goes on by itself from what lies in the
folder of its name. Strings of the file are written so that nothing in them is replaced: it puts variables of the
environment where ``${NAME}`` stands.
"""

import ast
import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lib.embedded.files.attempt_folder import EVENTS_FOLDER
from lib.embedded.trainers.ai_toolkit_settings import (
    ARCHITECTURES,
    KEYS,
    OPTIMIZERS,
    PARAMETERS,
    PRECISIONS,
    RULES,
    ToolkitArchitecture,
    ignored_problems,
)
from lib.embedded.trainers.config_source import SECTIONS, SOURCE, read_sections
from lib.embedded.trainers.installed_trainer import NO_ARCHITECTURE, NO_BASE_MODEL, InstalledTrainer, chosen
from lib.embedded.trainers.kohya_arguments import whole_path
from lib.embedded.trainers.kohya_files import collect_kohya, file_stem
from lib.embedded.trainers.kohya_states import is_archive
from lib.embedded.trainers.linked_dataset import linked_images, steps_of_epochs, words_problems
from lib.embedded.trainers.option_rules import extra_problems
from lib.embedded.trainers.parser_source import Option
from lib.embedded.trainers.recipe import (
    NO_MORE,
    EndedRun,
    FoundState,
    MoreFolder,
    TrainingRun,
    dataset_problems,
    dataset_problems_of,
    told_of,
    tried_run,
)
from lib.jobs.artifact_names import LORA_KINDS
from lib.jobs.dataset import Dataset
from lib.jobs.resume import Start
from lib.jobs.training_settings import TrainingSettings

CONFIG_FILE, OPTIMIZER_FILE = "config.json", "optimizer.pt"
DATASET_FOLDER = "dataset"
BYTES_PER_SAMPLE = 300_000
KEEP_ALL = 100_000
NEVER = 1_000_000_000


_PROMPT_FLAGS = frozenset({"p2", "n", "n2", "w", "h", "d", "seed", "l", "cfg", "s", "steps", "m", "gr"})


class AiToolkitRecipe(InstalledTrainer):
    """Runs ``python run.py config.json``."""

    name = "ai-toolkit"
    label = "ai-toolkit (SD 1.5 to 3.5, SDXL, FLUX.1 and .2, Qwen-Image, Z-Image)"
    parameters = PARAMETERS
    takes_weights = True
    packages = ("torch", "diffusers")

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """What is missing (checkout, environment, base model, captions), and what may not be passed on."""
        settings = self.told(settings)
        if settings.architecture not in ARCHITECTURES:
            return [NO_ARCHITECTURE]
        folder = self._folder.problems(["run.py", SOURCE], self.packages)
        return [
            *folder,
            *self._model_problems(settings),
            *ignored_problems(settings, ARCHITECTURES[settings.architecture]),
            *extra_problems(settings.extra, RULES, self._known(), self._models),
            *([] if folder else self._version_problems(settings, dataset)),
            *filter(None, map(prompt_problem, (*settings.sample_prompts, settings.negative_prompt))),
            *words_problems(settings.class_tokens, dataset),
            *dataset_problems(dataset),
        ]

    def script(self, settings: TrainingSettings) -> str:
        """Its only one."""
        return "run.py"

    def _model_problems(self, settings: TrainingSettings) -> list[str]:
        if not settings.base_model.strip():
            return [NO_BASE_MODEL]
        named = {"The base model": settings.base_model, "The VAE or autoencoder": settings.vae}
        lora = {"The LoRA to start from": settings.network_weights}
        return [*self._refused_models(named), *self._refused_models(lora, may_be_hub=False)]

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

    def more_problems(self, settings: TrainingSettings, more: Sequence[MoreFolder]) -> Sequence[str]:
        """Images that cannot be used, or have neither a caption nor words instead."""
        found = (
            told_of(each, problem)
            for each in more
            for problem in words_problems(each.said.class_tokens, each.dataset, "beside the dataset")
        )
        return [*found, *dataset_problems_of(more)]

    def steps(self, settings: TrainingSettings, dataset: Dataset, more: Sequence[MoreFolder] = NO_MORE) -> int:
        """What it is told: it counts no epochs."""
        return settings.max_steps or _steps(settings, dataset, more, settings.epochs)

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
            "log_dir": str(run.attempt_dir / EVENTS_FOLDER),
            **sections,
            "datasets": [sections["datasets"], *_more_sections(run, sections["datasets"])],
        }
        return {"job": "extension", "config": {"name": file_stem(run.name), "process": [process]}}

    def _sections(self, run: TrainingRun) -> dict[str, dict[str, Any]]:
        """Section -> its keys: our own, those of the settings, the further options."""
        settings = replace(run.settings, network_weights="") if run.start else run.settings
        sections = _own_keys(run, chosen(ARCHITECTURES, self.told(settings)))
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
        paths = (run.dataset_path, *(each.path for each in run.more))
        for path, folder in zip(paths, _folders(run), strict=True):
            for link, caption in linked_images(path, folder):
                if caption:
                    link.with_suffix(".txt").write_text(caption, encoding="utf-8")
        # All in ASCII, with the dollar as a code: what is read looks like no variable.
        text = json.dumps(self.config(run), indent=2).replace("$", "\\u0024")
        (run.attempt_dir / CONFIG_FILE).write_text(text, encoding="utf-8")
        if run.start and run.start_path:
            _lay_start(run, run.start, run.start_path)

    def states(self, ended: EndedRun) -> Sequence[FoundState]:
        """Its newest file, where the optimizer's memory lies beside it."""
        found = [file for file in collect_kohya(ended.output_dir) if file.kind in LORA_KINDS]
        if not found:
            return []
        newest = max(found, key=lambda file: file.modified_at)
        path, per_epoch = ended.output_dir / newest.path, ended.steps_per_epoch
        step = newest.step or ended.last_step or 0
        optimizer = path.with_name(OPTIMIZER_FILE)
        has_optimizer = is_archive(optimizer)
        faults = {
            f"Its {OPTIMIZER_FILE} is missing or incomplete.": not has_optimizer,
            # It is written after the file.
            f"Its {OPTIMIZER_FILE} is that of a former step: the training ended while it saved.": (
                has_optimizer and optimizer.stat().st_mtime < path.stat().st_mtime
            ),
            "It does not say at which step it was saved.": not step,
        }
        return [
            FoundState(
                path=newest.path,
                step=step,
                epoch=step // per_epoch if per_epoch and step % per_epoch == 0 else None,
                modified_at=newest.modified_at,
                problem=next((fault for fault, is_there in faults.items() if is_there), ""),
            )
        ]

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """One file and one image per prompt and epoch, and the optimizer's memory."""
        file_bytes = settings.network_dim * chosen(ARCHITECTURES, self.told(settings)).bytes_per_rank
        saves = settings.epochs // settings.save_every_epochs if settings.save_every_epochs else 1
        samples = len(settings.sample_prompts) * BYTES_PER_SAMPLE * settings.epochs
        return (min(saves, settings.keep_last or saves) + 5) * file_bytes + samples


def _lay_start(run: TrainingRun, start: Start, path: Path) -> None:
    """Lay a former file into the folder of the name, where ai-toolkit finds it and reads its step.

    The optimizer's memory is copied, since it is written anew under the same name; without it, it begins anew.
    """
    stem = file_stem(run.name)
    folder = run.output_dir / stem
    folder.mkdir(exist_ok=True)
    link = folder / f"{stem}_{start.step:09d}.safetensors"
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    if start.is_state:
        shutil.copyfile(path.with_name(OPTIMIZER_FILE), folder / OPTIMIZER_FILE)


def _own_keys(run: TrainingRun, kind: ToolkitArchitecture) -> dict[str, dict[str, Any]]:
    """Section -> the keys that no setting stands for alone."""
    settings = run.settings
    counted = partial(_steps, settings, run.dataset, run.more)
    steps = settings.max_steps or counted(settings.epochs)
    save = settings.save_every_steps or counted(settings.save_every_epochs)
    sample = settings.sample_every_steps or counted(settings.sample_every_epochs)
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
            # What is left out becomes False, which no tokenizer takes for a text.
            "neg": "",
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


def _folders(run: TrainingRun) -> list[Path]:
    """Where the links to the images of each dataset lie."""
    names = [DATASET_FOLDER, *(f"{DATASET_FOLDER}-{number}" for number in range(2, len(run.more) + 2))]
    return [run.attempt_dir / name for name in names]


def _more_sections(run: TrainingRun, main: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The further datasets, which share all but these keys with the main one."""
    shared = {key: value for key, value in main.items() if key != "default_caption"}
    return [
        {
            **shared,
            "folder_path": str(folder),
            "num_repeats": each.said.repeats,
            **({"default_caption": each.said.class_tokens} if each.said.class_tokens else {}),
            **({"is_reg": True} if each.said.is_regularisation else {}),
        }
        for each, folder in zip(run.more, _folders(run)[1:], strict=True)
    ]


def _steps(settings: TrainingSettings, dataset: Dataset, more: Sequence[MoreFolder], epochs: int) -> int:
    """Steps of some epochs: every second one is of regularisation images, where there are some."""
    if not epochs:
        return 0
    images = (dataset.image_count or 0) * settings.repeats
    images += sum(each.images for each in more if not each.said.is_regularisation)
    turns = 2 if any(each.said.is_regularisation for each in more) else 1
    return turns * steps_of_epochs(images, settings, epochs)


def _arguments(lines: Sequence[str]) -> dict[str, Any]:
    """``weight_decay=0.01`` as a key and its value."""
    found: dict[str, Any] = {}
    for line in lines:
        key, _, text = line.partition("=")
        found[key.strip()] = text.strip()
        with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = ast.literal_eval(text.strip())
            json.dumps(value)  # what JSON has no word for stays a text
            found[key.strip()] = value
    return found


def prompt_problem(prompt: str) -> str:
    """Why ai-toolkit may not get a prompt: one of its options is not known to be harmless."""
    for part in prompt.split("--")[1:]:
        flag = part.split(" ")[0].strip()
        if flag not in _PROMPT_FLAGS:
            return f"The sample prompt option --{flag[:20]} is not passed on. Remove it from the prompt."
    return ""
