"""The worker's command line, and what else it was handed."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.embedded.trainers.registry import DEFAULT_RECIPES
from lib.embedded.worker.artifact_upload import UploadTarget
from lib.embedded.worker.executor import Executor
from lib.ray_settings import handed_ray_settings
from lib.settings import Settings, TrainingRules, load_settings


def read_options(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Settings]:
    """What was given, and the settings it stands for.

    They are handed over, not read again: a path that is gone by now fails the jobs that need it, not the worker.
    """
    parser = argparse.ArgumentParser(description="Runs the training jobs of a data folder.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--max-parallel", type=int, default=1)
    parser.add_argument("--gpu", action="append", default=[], help="a card for trainers; all there are without it")
    parser.add_argument("--recipes", default=DEFAULT_RECIPES)
    parser.add_argument("--trainer-path", nargs=2, action="append", default=[], metavar=("SETTING", "PATH"))
    parser.add_argument("--model-dir", type=Path, action="append", default=[])
    parser.add_argument("--allow-pickles", action="store_true")
    parser.add_argument("--allow-any-option", action="store_true")
    parser.add_argument("--resume-after-restart", action="store_true")
    parser.add_argument("--upload", action="store_true", help="upload finished files to the store of the settings")
    options = parser.parse_args(arguments)
    rules = TrainingRules(
        model_dirs=tuple(options.model_dir),
        allow_pickles=options.allow_pickles,
        allow_any_option=options.allow_any_option,
        resume_after_restart=options.resume_after_restart,
    )
    trainer_paths = {name: Path(path) for name, path in options.trainer_path}
    return options, Settings(data_dir=options.data_dir, trainer_paths=trainer_paths, rules=rules)


def configured_target() -> UploadTarget | None:
    """The object store of the settings."""
    from lib.artifacts.object_store import ObjectStore  # boto3 takes a second to import, and most have no store

    settings = load_settings().s3
    return ObjectStore(settings) if settings else None


def other_executors(environ: Mapping[str, str]) -> list[Executor]:
    """Where jobs may run beside this machine."""
    if (settings := handed_ray_settings(environ)) is None:
        return []
    from lib.embedded.worker.ray_executor import open_ray  # requests, which most workers need not import

    return [open_ray(settings)]
