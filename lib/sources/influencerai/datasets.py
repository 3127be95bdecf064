"""The datasets of the API: read here, filled on its own web pages."""

from collections.abc import Mapping, Sequence

from lib.jobs.dataset import Dataset
from lib.sources.influencerai.api_errors import NotFound
from lib.sources.influencerai.client import InfluencerClient, path_of
from lib.sources.influencerai.snapshot import parse_time
from lib.sources.parts import Datasets, no_such_dataset
from lib.sources.reads import Reads


class ApiDatasets(Datasets):
    """The datasets of a deployment, listed afresh every ``ttl_s``. Rows that cannot be understood are left out."""

    def __init__(self, client: InfluencerClient, reads: Reads, *, ttl_s: float) -> None:
        self._client, self._reads, self._ttl_s = client, reads, ttl_s

    def list(self) -> Sequence[Dataset]:
        return self._reads.read("datasets", self.fetch, ttl_s=self._ttl_s)

    def get(self, dataset_id: str) -> Dataset:
        try:
            row = self._client.get(path_of("datasets", dataset_id))
        except NotFound:
            row = None
        if (found := read_dataset(row)) is None:
            raise no_such_dataset()
        return found

    def fetch(self) -> tuple[Dataset, ...]:
        """All of them as they are now."""
        datasets = [dataset for row in self._client.get_all("/datasets") if (dataset := read_dataset(row))]
        return tuple(sorted(datasets, key=lambda dataset: dataset.name.casefold()))


def read_dataset(row: object) -> Dataset | None:
    """The dataset in a row; None if the row is not one. Its name, if it has one, is in ``meta``."""
    if not isinstance(row, Mapping) or not row.get("id"):
        return None
    meta = row["meta"] if isinstance(row.get("meta"), Mapping) else {}
    name = next((text for key in ("name", "filename") if isinstance(text := meta.get(key), str) and text), None)
    return Dataset(
        id=str(row["id"]),
        name=name or str(row["id"]),
        status=str(row.get("status") or "unknown"),
        image_count=_count(meta.get("imageCount")),
        size_bytes=_count(meta.get("size")),
        created_at=parse_time(row.get("createdAt")),
        path=row["path"] if isinstance(row.get("path"), str) else None,
        payload=row,
    )


def _count(found: object) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
