"""What a new installation starts with: the sample dataset and the configurations of ``lib/embedded/starter``."""

import io
import json
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

from filelock import FileLock

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.files.json_file import write_json
from lib.errors import InvalidRequest, StoreError
from lib.jobs.config_file import parse_config
from lib.jobs.training_settings import TrainingConfig

STARTER = Path(__file__).parents[1] / "starter"
SAMPLE_NAME = "Sample shapes"
MARKER = ".first-start.json"


def starter_configs(given: Collection[str] = ()) -> list[TrainingConfig]:
    """The configurations of the starter folder; the first one is the default.

    Args:
        given: Names of settings that are set; a folder with such a name has more configurations.
    """
    folder = STARTER / "configs"
    files = sorted(folder.glob("*.toml"))
    more = [file for setting in sorted(given) for file in sorted((folder / setting).glob("*.toml"))]
    return [replace(parse_config(file.read_bytes()), is_default=file == files[0]) for file in (*files, *more)]


def prepare(
    datasets: DatasetFolder, save_config: Callable[[TrainingConfig], TrainingConfig], given: Collection[str] = ()
) -> None:
    """Make the sample dataset and the configurations, once: what a person deleted does not come back.

    Args:
        given: As for ``starter_configs``: configurations of a trainer come once its folder is set.

    Raises:
        StoreError: The folder of the datasets cannot be written to.
    """
    try:
        _prepare(datasets, save_config, given)
    except OSError as error:
        raise StoreError(
            f"The folder of the datasets, {datasets.root}, cannot be prepared ({error.strerror or error}).",
            hint="Check that it belongs to the user who runs the dashboard, and the free disk space.",
        ) from error


def _prepare(
    datasets: DatasetFolder, save_config: Callable[[TrainingConfig], TrainingConfig], given: Collection[str]
) -> None:
    marker = datasets.root / MARKER
    datasets.root.mkdir(parents=True, exist_ok=True)
    with FileLock(datasets.root / f"{MARKER}.lock"):
        done = _done(marker)
        steps: dict[str, Callable[[], None]] = {"dataset": partial(_make_dataset, datasets)}
        configs = starter_configs(given)
        steps |= {f"config {config.name}": partial(_make_config, config, save_config) for config in configs}
        for name, make in steps.items():
            if name not in done:
                make()
                done.append(name)
                write_json(marker, {"done": done})


def _done(marker: Path) -> list[str]:
    try:
        return list(json.loads(marker.read_bytes())["done"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def _make_dataset(datasets: DatasetFolder) -> None:
    # A start that was killed in the middle left a part of it: the same bytes again change nothing.
    known = {dataset.name: dataset for dataset in datasets.list()}
    dataset = known.get(SAMPLE_NAME) or datasets.create(SAMPLE_NAME)
    for file in sorted((STARTER / "dataset").iterdir()):
        datasets.import_file(dataset.id, file.name, io.BytesIO(file.read_bytes()))


def _make_config(config: TrainingConfig, save_config: Callable[[TrainingConfig], TrainingConfig]) -> None:
    try:
        save_config(config)
    except InvalidRequest as error:
        if "name" not in error.fields:  # the name is taken: a start that was killed got this far
            raise
