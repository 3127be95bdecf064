"""The files of sd-scripts and of trainers with the same naming: output names, the prompt file, what was written."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lib.embedded.datasets.file_names import is_readable
from lib.embedded.files.availability import read_file
from lib.embedded.trainers.recipe import FoundFile, TrainingRun
from lib.jobs.artifact_names import describe_file
from lib.jobs.training_settings import TrainingSettings

FALLBACK_STEM = "lora"
MAX_STEM_BYTES = 96
PROMPTS_FILE = Path("sample", "prompt.txt")


def file_stem(name: str) -> str:
    """A safe, readable file name without ending: letters of any script are kept, it is never empty."""
    kept = "".join(_kept(character) for character in unicodedata.normalize("NFC", name))
    stem = re.sub(r"[\s_]*-[\s_-]*", "-", re.sub(r"\s+", " ", kept)).strip(" .-_")
    # A trainer appends -000001, -step00000010 and -state; a name that ends so would be taken for a checkpoint.
    stem = re.sub(r"-(?=(\d{6}|step\d{8}|state)$)", "_", _cut(stem, MAX_STEM_BYTES))
    return stem or FALLBACK_STEM


def _kept(character: str) -> str:
    if unicodedata.category(character)[0] in "LMN" or character in "_.+,()":
        return character
    return " " if character.isspace() else "-"


def _cut(text: str, size_bytes: int) -> str:
    return text.encode("utf-8", "ignore")[:size_bytes].decode("utf-8", "ignore").rstrip(" .-_")


def prompt_lines(settings: TrainingSettings) -> list[str]:
    """The sample prompts as lines of sd-scripts' prompt file, which skips empty lines and comments."""
    lines = (" ".join(prompt.split()).lstrip("# ") for prompt in settings.sample_prompts)
    return [line for line in lines if line]


def write_prompts(run: TrainingRun, lines: Sequence[str]) -> None:
    """Make the output folder and write the prompt file beside the samples, where ``collect`` reads it again."""
    path = run.output_dir / PROMPTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def collect_kohya(output_dir: Path) -> list[FoundFile]:
    """Files named as sd-scripts names them. Links, hidden (unfinished) files and unreadable names are left out."""
    if output_dir.is_symlink():
        return []
    paths = (Path(folder, name) for folder, _, names in os.walk(output_dir, onerror=_ignore_gone) for name in names)
    return found_files(output_dir, paths)


def found_files(output_dir: Path, paths: Iterable[Path]) -> list[FoundFile]:
    """Those of some paths in an output folder that are ordinary, readable files, by path."""
    prompts = _written_prompts(output_dir)
    found = []
    for path in sorted(paths):
        relative = path.relative_to(output_dir)
        hidden = any(part.startswith(".") for part in relative.parts)
        is_found = not hidden and relative != PROMPTS_FILE and is_readable(str(relative))
        if is_found:
            found.append(_found_file(path, relative, prompts))
    return [file for file in found if file is not None]


def _ignore_gone(error: OSError) -> None:
    """sd-scripts removes old state folders while we look; one that is locked is the trainer's own business."""
    if not isinstance(error, FileNotFoundError | PermissionError):
        raise error


def _found_file(path: Path, relative: Path, prompts: Sequence[str]) -> FoundFile | None:
    try:
        facts = path.lstat()
    except FileNotFoundError:  # sd-scripts removes old checkpoints while we look
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    named = describe_file(relative.as_posix())
    index = named.prompt_index
    return FoundFile(
        path=relative.as_posix(),
        kind=named.kind,
        size_bytes=facts.st_size,
        modified_at=datetime.fromtimestamp(facts.st_mtime, UTC),
        epoch=named.epoch,
        step=named.step,
        prompt_index=index,
        prompt=prompts[index] if index is not None and index < len(prompts) else None,
    )


def _written_prompts(output_dir: Path) -> list[str]:
    """The prompts that were sampled, without sd-scripts' ``--d 42`` options."""
    path = output_dir / PROMPTS_FILE
    is_there = path.parent.is_dir() and not path.parent.is_symlink()
    lines = (read_file(path) or b"").decode("utf-8", "replace").splitlines() if is_there else []
    return [re.split(r"\s--\w+\s", f"{line} ", maxsplit=1)[0].strip() for line in lines]
