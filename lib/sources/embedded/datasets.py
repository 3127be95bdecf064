"""The datasets of the embedded source: the dataset folder, beside the jobs that use it."""

import contextlib
from pathlib import Path

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.store.jobs import Store
from lib.errors import DatasetError, InvalidRequest
from lib.jobs.dataset import Dataset
from lib.sources.parts import Datasets


class EmbeddedDatasets(DatasetFolder, Datasets):
    """The datasets in the data folder. What an active job of ``store`` uses is not deleted."""

    def __init__(self, data_dir: Path, store: Store) -> None:
        super().__init__(data_dir / "datasets")
        self._store = store
        with contextlib.suppress(OSError):  # reading the folder reports the problem
            self.root.mkdir(exist_ok=True)  # only now: if it is missing later, the data folder is away

    def create(self, name: str) -> Dataset:
        self._require_data_folder()
        try:
            return super().create(name)
        except DatasetError as error:
            raise InvalidRequest(
                "The dataset cannot be created.", fields={"name": str(error)}, hint=error.hint
            ) from error

    def upload_folder(self) -> Path:
        self._require_data_folder()
        return self.root.parent

    def delete_image(self, dataset_id: str, image_name: str) -> None:
        self._refuse_if_used(dataset_id)
        super().delete_image(dataset_id, image_name)

    def delete(self, dataset_id: str) -> None:
        self._refuse_if_used(dataset_id)
        super().delete(dataset_id)

    def _require_data_folder(self) -> None:
        """Raise FolderUnavailable while the data folder is away: another folder may be in its place."""
        self._store.database.file_id()

    def _refuse_if_used(self, dataset_id: str) -> None:
        if names := self._store.active_job_names(dataset_id=dataset_id):
            raise InvalidRequest(
                f"The dataset is used by the job {names[0][:80]!r}, which has not ended.",
                hint="Wait for the job to end, or cancel it.",
            )
