"""Which models a training may open: names on the Hugging Face hub, and files below folders that the operator names.

A file that is not .safetensors is a pickle to most trainers, and opening a pickle runs what is in it.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lib.embedded.trainers.base_model import BaseModel, read_base_model
from lib.jobs.words import within_sentence
from lib.settings import ROOT, TrainingRules

PICKLES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})
MODEL_ENDINGS = frozenset({".safetensors", *PICKLES})
MOST_FILES_IN_FOLDER = 10_000
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The rules about models, as the recipes of this machine need them.

    Attributes:
        data_dir: The data folder: what is uploaded there is never opened as a model.
        working_dir: Where trainers run: a hub name that is also a path there would be that path.
    """

    rules: TrainingRules = field(default_factory=TrainingRules)
    data_dir: Path | None = None
    working_dir: Path = ROOT

    def problem(self, name: str, what: str, *, may_be_hub: bool = True) -> str:
        """Why a training may not open the model of this name or path; empty when it may.

        Args:
            what: What the model is called in the sentence, such as ``The base model``.
        """
        if not is_path(name):
            if may_be_hub and _HUB_NAME.fullmatch(name) and ".." not in name and "--" not in name:
                is_here = os.path.lexists(self.working_dir / name)
                return f"{what} {name} is also a file of this machine. Give its whole path." if is_here else ""
            kinds = "a name on the Hugging Face hub, nor a whole path" if may_be_hub else "the whole path of a file"
            written = "/folder/model.safetensors or owner/model" if may_be_hub else "/folder/model.safetensors"
            return f"{what} {name[:80]!r} is not {kinds}. Write {written}."
        return self._path_problem(name, what, may_be_hub=may_be_hub)

    def base_model(self, name: str) -> BaseModel | None:
        """What a base model on this disk is; None for a name on the hub, a pickle, and what may not be opened."""
        if not is_path(name) or self.problem(name, "The base model"):
            return None
        path = expanded(name)
        if path.is_file() and path.suffix.lower() != ".safetensors":
            return None
        with contextlib.suppress(OSError):
            return read_base_model(path)
        return None

    def _path_problem(self, name: str, what: str, *, may_be_hub: bool) -> str:
        try:
            path = expanded(name)
            real = path.resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # missing, a NUL, circular links
            return f"There is nothing at {name[:200]} that could be {within_sentence(what)}. Correct the path."
        if not path.is_absolute():
            return f"{what} {name[:200]} is not a whole path. Write it from the root, as in /folder/model.safetensors."
        if self.data_dir is not None and real.is_relative_to(self.data_dir.resolve()):
            return f"{what} lies in the data folder, where uploads are. Move it to a folder that LORA_MODEL_DIRS names."
        if not any(real.is_relative_to(folder.resolve()) for folder in self.rules.model_dirs):
            return (
                f"{what} {name[:200]} is not below a folder that LORA_MODEL_DIRS names. "
                "Ask whoever runs the dashboard to add its folder"
                f"{', or use a name on the Hugging Face hub' if may_be_hub else ''}."
            )
        if not os.access(real, os.R_OK):
            return f"{what} at {name[:200]} cannot be read. Correct its permissions."
        if self.rules.allow_pickles:
            return ""
        return self._pickle_problem(path, what)

    def _pickle_problem(self, path: Path, what: str) -> str:
        if path.is_dir():
            found = next(_pickles_below(path), None)
            if found is None:
                return ""
            where = f"holds {found}, which is not .safetensors"
        elif path.is_file() and path.suffix.lower() == ".safetensors":
            return ""
        else:
            where = "is not a .safetensors file"
        return f"{what} {path} {where}; other files may run programs. LORA_ALLOW_PICKLES=1 allows them."


def is_path(name: str) -> bool:
    """Whether the text means a file or folder and no name on the hub."""
    return (
        name.startswith(("/", ".", "~"))
        or "\\" in name
        or name.count("/") > 1
        or Path(name).suffix.lower() in MODEL_ENDINGS
    )


def expanded(name: str) -> Path:
    """The path with ``~`` spelled out: no shell does it. Raises RuntimeError when there is no such user."""
    return Path(name).expanduser()


def _pickles_below(folder: Path) -> Iterator[str]:
    """Names of files in a model's folder that could be opened as pickles; too many files count as one."""
    count = 0
    for _, _, names in os.walk(folder, followlinks=True):
        for name in names:
            count += 1
            if Path(name).suffix.lower() in PICKLES or count > MOST_FILES_IN_FOLDER:
                yield name
