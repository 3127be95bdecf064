"""The parts of a source beside its jobs: datasets and configurations."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from lib.errors import DatasetError, InvalidRequest, NotSupported
from lib.jobs.dataset import Dataset, DatasetImage, ImportReport
from lib.jobs.training_settings import TrainingConfig


class Datasets(Protocol):
    """The datasets of a source. A subclass implements what it has; the rest is empty or refused."""

    def list(self) -> Sequence[Dataset]:
        """All datasets, by name."""
        return ()

    def get(self, dataset_id: str) -> Dataset:
        """One dataset. Raises DatasetError."""
        raise no_such_dataset()

    def create(self, name: str) -> Dataset:
        """An empty dataset. Raises InvalidRequest for a bad or taken name."""
        raise _read_only()

    def upload_folder(self) -> Path:
        """Where an upload is stored until it is imported: on the disk of the datasets."""
        raise _read_only()

    def import_file(self, dataset_id: str, name: str, stream: BinaryIO) -> ImportReport:
        """Import an image, a caption or a zip of both; refused files are named."""
        raise _read_only()

    def image_names(self, dataset_id: str) -> Sequence[str]:
        """Names of all images, in their order."""
        raise _no_images()

    def images(
        self, dataset_id: str, *, skip: int = 0, take: int = 50, among: Collection[str] | None = None
    ) -> Sequence[DatasetImage]:
        """Images by name, one page of all or of those whose names are ``among``."""
        raise _no_images()

    def scan(self, dataset_id: str, budget_s: float) -> float:
        """Collect picture facts and thumbnails for at most ``budget_s``; the finished part in [0, 1]."""
        raise _no_images()

    def thumbnail(self, dataset_id: str, image_name: str) -> Path:
        """A small cached WebP of an image. Raises DatasetError when it cannot be decoded or the disk is full."""
        raise _no_images()

    def preview(self, dataset_id: str, image_name: str) -> Path:
        """A large cached WebP of an image, made when it is asked for. Raises DatasetError like ``thumbnail``."""
        raise _no_images()

    def image_path(self, dataset_id: str, image_name: str) -> Path:
        """The image's own file. Raises DatasetError."""
        raise _no_images()

    def set_caption(self, dataset_id: str, image_name: str, caption: str) -> None:
        """Replace the caption of an image."""
        raise _read_only()

    def delete_image(self, dataset_id: str, image_name: str) -> None:
        """Delete an image with its caption; refused while an active job uses the dataset."""
        raise _read_only()

    def delete_stray_captions(self, dataset_id: str, names: Collection[str]) -> None:
        """Delete those of the named captions that belong to no image."""
        raise _read_only()

    def delete(self, dataset_id: str) -> None:
        """Delete one with its files; refused while an active job uses it."""
        raise _read_only()


class Configs(Protocol):
    """The configurations of a source. A subclass implements what it has; the rest is empty or refused."""

    def list(self) -> Sequence[TrainingConfig]:
        """All configurations, the default one first, then by name."""
        return ()

    def get(self, config_id: str) -> TrainingConfig:
        """One configuration. Raises InvalidRequest."""
        raise no_such_config()

    def save(self, config: TrainingConfig) -> TrainingConfig:
        """Create (empty id) or change one. Raises InvalidRequest with field messages."""
        raise NotSupported("The configurations of this source can only be read.")

    def delete(self, config_id: str) -> None:
        """Delete one; refused while an active job uses it."""
        raise NotSupported("The configurations of this source can only be read.")


class NoDatasets(Datasets):
    """For a source that keeps no datasets."""


class NoConfigs(Configs):
    """For a source that keeps no configurations."""


def _read_only() -> NotSupported:
    return NotSupported("The datasets of this source can only be read.")


def _no_images() -> NotSupported:
    return NotSupported("The images of this source's datasets cannot be read from here.")


def no_such_dataset() -> DatasetError:
    """The error for an id that leads to no dataset."""
    return DatasetError("There is no such dataset.", hint="It may have been deleted.")


def no_such_config() -> InvalidRequest:
    """The error for an id that leads to no configuration."""
    return InvalidRequest("There is no such configuration.", hint="It may have been deleted.")
