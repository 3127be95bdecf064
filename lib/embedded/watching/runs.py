"""Which runs lie in a folder, and which of its files belong to each: of any trainer, whatever else is there."""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lib.embedded.datasets.file_names import is_readable
from lib.embedded.files.availability import folder_unavailable
from lib.embedded.trainers.kohya_files import found_files
from lib.embedded.trainers.recipe import FoundFile
from lib.embedded.watching.named import log_end
from lib.jobs.artifact_names import LORA_KINDS, WEIGHTS, describe_file, family_of
from lib.jobs.job import ArtifactKind, RunPlace
from lib.jobs.logs.binary import is_binary

MOST_RUNS = 200
# Of a folder and what is below it: a disk's root is no training.
MOST_ENTRIES = 20_000
DEEPEST = 3
# Folders within a run: of samples, of checkpoints and states, and others in which no run begins.
_SAMPLES = re.compile(r"samples?|validation_images", re.IGNORECASE)
_PARTS = re.compile(r"checkpoint-.+|.*-state|(?:epoch|step|global_step)\d+|save|backup|model")
_OTHERS = re.compile(
    r"\..*|logs?|tensorboard|img|images?|datasets?|reg|cache|venv|node_modules|__pycache__|\d+_.*", re.IGNORECASE
)
_EVENTS = ("logs", "log", "tensorboard")
_LOG = re.compile(r".+\.log|log|nohup\.out|.*(?:log|train|output).*\.(?:txt|out)", re.IGNORECASE)
# Names that say nothing about a run.
_USUAL = frozenset({"last", "lora", "model", "pytorch_lora_weights", "adapter_model"})
# Words before the file that a trainer has just written.
_SAVED = re.compile(
    rb"(?:saving checkpoint:|Saved checkpoint to|Model weights saved in|Saving) +(/[^\r\n\0]{1,1000}?"
    rb"\.safetensors)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """A run that lies in a folder; ``first_at`` and ``last_at`` are unix seconds of its oldest and newest file."""

    name: str
    place: RunPlace
    first_at: float
    last_at: float


@dataclass(slots=True)
class _Folder:
    """What lies directly in a folder."""

    path: Path
    files: dict[str, os.stat_result] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    is_whole: bool = True


def runs_below(folder: Path) -> list[FoundRun]:
    """The runs in a folder and in folders below it, newest first; one run when it holds nothing else yet."""
    budget = MOST_ENTRIES
    runs: list[FoundRun] = []
    waiting = [(folder, 0)]
    while waiting and budget > 0:
        path, depth = waiting.pop(0)
        listed = _listed(path, budget)
        budget -= len(listed.files) + len(listed.folders)
        runs += _runs_of(listed)
        if depth < DEEPEST:
            below = (name for name in sorted(listed.folders) if not _is_part(name) and not _OTHERS.fullmatch(name))
            waiting += [(path / name, depth + 1) for name in below]
    if not runs and budget == MOST_ENTRIES:
        at = folder.stat().st_mtime
        runs = [FoundRun(name=folder.name, place=RunPlace(output=str(folder)), first_at=at, last_at=at)]
    return sorted(runs, key=lambda run: run.last_at, reverse=True)[:MOST_RUNS]


def run_of_log(log: Path, output: Path | None = None) -> FoundRun:
    """The run that writes a log; its output folder is the one given, the one that it names, or the log's own."""
    facts = log.stat()
    named = output or output_named_in(log_end(log))
    if named is None and any(run.place.log == str(log) and _has_files(run) for run in _runs_of(_listed(log.parent))):
        named = log.parent
    place = RunPlace(log=str(log), output=str(named or ""), events=_events_of(named) if named else "")
    name = log.stem if log.stem.lower() not in {"log", "run", "train", "output", "nohup"} else log.parent.name
    return FoundRun(name=name or log.name, place=place, first_at=facts.st_mtime, last_at=facts.st_mtime)


def output_named_in(log: bytes) -> Path | None:
    """The folder into which a log says that a file was saved, if there is one on this machine."""
    for match in reversed(list(_SAVED.finditer(log))):
        folder = Path(os.fsdecode(match[1])).parent
        if _PARTS.fullmatch(folder.name):
            folder = folder.parent
        if folder.is_dir():
            return Path(os.path.realpath(folder))
    return None


def collect_watched(place: RunPlace) -> list[FoundFile]:
    """The LoRA files, states and samples of a watched run.

    Raises:
        FolderUnavailable: Its folder is away: files that cannot be seen are not missing.
    """
    output = Path(place.output)
    if os.path.realpath(output) != str(output) or not output.is_dir():
        raise folder_unavailable(output, FileNotFoundError())
    found = found_files(output, _own_paths(output))
    return [file for file in found if _is_own(file, place.stem) and file.modified_at.timestamp() >= place.since]


def _own_paths(folder: Path) -> Iterator[Path]:
    seen = 0
    for path, folders, names in os.walk(folder):
        depth = len(Path(path).relative_to(folder).parts)
        folders[:] = [name for name in folders if depth < DEEPEST and not _OTHERS.fullmatch(name)]
        for name in names:
            seen += 1
            if seen > MOST_ENTRIES:
                return
            yield Path(path, name)


def _is_own(file: FoundFile, stem: str) -> bool:
    if stem and family_of(file.path) != stem:
        return False
    if file.kind is ArtifactKind.SAMPLE:
        has_place = any(_SAMPLES.fullmatch(part) for part in PurePosixPath(file.path).parts[:-1])
        return has_place or (file.prompt_index, file.epoch, file.step) != (None, None, None)
    return file.kind in LORA_KINDS or file.kind is ArtifactKind.STATE


def _listed(path: Path, most: int = MOST_ENTRIES) -> _Folder:
    """The ordinary files and folders with readable names; links are not followed."""
    listed = _Folder(path)
    try:
        with os.scandir(path) as entries:
            for place, entry in enumerate(entries):
                if place >= most:
                    break
                if not is_readable(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    listed.folders.append(entry.name)
                elif stat.S_ISREG((facts := entry.stat(follow_symlinks=False)).st_mode):
                    listed.files[entry.name] = facts
    except OSError:  # another account's folder, or one that has just gone
        pass
    return listed


def _runs_of(listed: _Folder) -> list[FoundRun]:
    weights = [name for name in listed.files if PurePosixPath(name).suffix.lower() in WEIGHTS and _is_weights(name)]
    families = {family_of(name) for name in weights}
    parts = [name for name in listed.folders if _is_part(name)]
    log = _log_in(listed)
    if len(families) > 1 and not families <= _USUAL:
        return _families(listed, sorted(families))
    if not weights and not parts and not log:
        return []
    stem = next(iter(families), "")
    name = listed.path.name if stem in _USUAL or not stem else stem
    place = RunPlace(log=str(log or ""), output=str(listed.path), events=_events_of(listed.path))
    return [_dated(name, place, [listed.files[each].st_mtime for each in listed.files if each not in _USUAL], parts)]


def _families(listed: _Folder, families: Sequence[str]) -> list[FoundRun]:
    """The runs that share an output folder: by the names of their files."""
    times: dict[str, list[float]] = defaultdict(list)
    for name, facts in listed.files.items():
        times[family_of(name)].append(facts.st_mtime)
    runs = []
    for stem in families:
        log = listed.path / f"{stem}.log"
        place = RunPlace(output=str(listed.path), stem=stem, log=str(log) if log.name in listed.files else "")
        runs.append(_dated(stem, place, times[stem], ()))
    return runs


def _dated(name: str, place: RunPlace, times: Sequence[float], parts: Sequence[str]) -> FoundRun:
    output = Path(place.output)
    inner = [facts.st_mtime for part in parts for facts in _listed(output / part).files.values()]
    known = [*times, *inner] or [output.stat().st_mtime]
    return FoundRun(name=name, place=place, first_at=min(known), last_at=max(known))


def _is_part(name: str) -> bool:
    return bool(_SAMPLES.fullmatch(name) or _PARTS.fullmatch(name))


def _is_weights(name: str) -> bool:
    return describe_file(name).kind in LORA_KINDS


def _has_files(run: FoundRun) -> bool:
    listed = _listed(Path(run.place.output))
    return any(map(_is_weights, listed.files)) or any(map(_is_part, listed.folders))


def log_in(folder: Path) -> Path | None:
    """The newest log that lies directly in a folder."""
    return _log_in(_listed(folder))


def _log_in(listed: _Folder) -> Path | None:
    logs = [name for name in listed.files if _LOG.fullmatch(name)]
    for name in sorted(logs, key=lambda name: listed.files[name].st_mtime, reverse=True):
        if not is_binary(log_end(listed.path / name)):
            return listed.path / name
    return None


def _events_of(output: Path | None) -> str:
    """Where a run's TensorBoard files are: in a folder of their own, or among all."""
    if output is None:
        return ""
    return str(next((output / name for name in _EVENTS if (output / name).is_dir()), output))


def within(place: RunPlace, roots: Sequence[Path] | None) -> RunPlace:
    """The place, which is looked for in these folders only; without an output folder that lies elsewhere."""
    bound = replace(place, roots=tuple(os.path.realpath(root) for root in roots or ()), output="", events="")
    return placed_in(bound, Path(place.output), place.events) if place.output else bound


def placed_in(place: RunPlace, output: Path, events: str = "") -> RunPlace:
    """The place with this output folder, unless it lies outside of the folders that may be looked into."""
    if place.roots and not any(output.is_relative_to(root) for root in place.roots):
        return place
    return replace(place, output=str(output), events=events or ("" if place.stem else _events_of(output)))
