"""Datasets and configurations of the API in our words, and configurations in the API's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.errors import BadPayload, InvalidRequest
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import TrainingConfig, TrainingSettings, settings_differences
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.snapshot import META_NAME, SETTING_NAMES, our_settings, parse_time, setting_value

PAGE_ROWS = 100
MOST_PAGES = 100
TRAINER = "sd-scripts"  # what the API's worker runs, whatever a configuration was made for
OUR_NAMES = {**SETTING_NAMES, "name": "name", "description": "description"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names of datasets and configurations by id, for lists and search."""

    datasets: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)


def fetch_datasets(client: InfluencerClient) -> list[Dataset]:
    """All datasets, by name; rows that cannot be understood are left out."""
    datasets = [dataset for row in _walk(client, "/datasets") if (dataset := read_dataset(row))]
    return sorted(datasets, key=lambda dataset: dataset.name.casefold())


def fetch_configs(client: InfluencerClient) -> list[TrainingConfig]:
    """All configurations, the default one first, then by name."""
    configs = [config for row in _walk(client, "/lora-configs") if (config := read_config(row))]
    return sorted(configs, key=lambda config: (not config.is_default, config.name.casefold()))


def read_dataset(row: object) -> Dataset | None:
    """A dataset's row; None when it is none. Its name is in ``meta``, if anywhere."""
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


def read_config(row: object) -> TrainingConfig | None:
    """A configuration's row; None when it is none."""
    if not isinstance(row, Mapping) or not row.get("id"):
        return None
    return TrainingConfig(
        id=str(row["id"]),
        name=str(row.get("name") or row["id"]),
        settings=_settings(row),
        description=str(row.get("description") or ""),
        is_default=row.get("isDefault") is True,
        created_at=parse_time(row.get("createdAt")),
        updated_at=parse_time(row.get("updatedAt")),
    )


def settings_payload(settings: TrainingSettings, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings in the API's words, as in a job's inline ``config``; ``meta`` is what it held before."""
    ours = {
        "trainer": settings.trainer,
        "repeats": settings.repeats,
        "seed": settings.seed,
        "samplePrompts": list(settings.sample_prompts),
        "extra": dict(settings.extra),
    }
    theirs = {theirs: getattr(settings, ours) for theirs, ours in SETTING_NAMES.items()}
    return {"meta": {**(meta or {}), META_NAME: ours}, **theirs}


def config_payload(config: TrainingConfig, meta: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in the API's words; ``meta`` is what it held before."""
    return {
        "name": config.name.strip(),
        "description": config.description,
        "isDefault": config.is_default,
        **settings_payload(config.settings, meta),
    }


def left_to_the_deployment(settings: TrainingSettings) -> list[str]:
    """The chosen values that the API has no field for, so that its worker may ignore them."""
    usual = TrainingSettings(trainer=TRAINER)
    chosen = (each for each in settings_differences(usual, settings) if each.name not in SETTING_NAMES.values())
    return ["further options" if each.name == "extra" else each.label.lower() for each in chosen]


def in_our_words(error: InvalidRequest) -> InvalidRequest:
    """The same refusal with the names of our fields."""
    fields_named = {OUR_NAMES.get(name, name): text for name, text in error.fields.items()}
    return InvalidRequest(str(error), fields=fields_named, hint=error.hint)


def _walk(client: InfluencerClient, path: str) -> list[Any]:
    """All rows of a list, each id once."""
    rows: dict[str, Any] = {}
    skip = 0
    for _ in range(MOST_PAGES):
        answer = client.get_list(path, {"take": PAGE_ROWS, "skip": skip})
        found = answer.data.get("data") if isinstance(answer.data, Mapping) else answer.data
        if not isinstance(found, list):
            raise BadPayload(f"The InfluencerAI API at {client.host} sent something else than a list.")
        rows.update({str(row.get("id")): row for row in found if isinstance(row, Mapping)})
        skip += len(found)
        if not found or (len(found) < PAGE_ROWS if answer.total is None else skip >= answer.total):
            break
    return list(rows.values())


def _settings(row: Mapping[str, Any]) -> TrainingSettings:
    found = {ours: setting_value(ours, row.get(theirs)) for theirs, ours in SETTING_NAMES.items()}
    values = {name: value for name, value in found.items() if value is not None}
    return TrainingSettings(**{"trainer": TRAINER, **values, **our_settings(row)})


def _count(found: object) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
