"""The configurations of the API: listed, saved, and translated between its words and ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from lib.errors import InvalidRequest
from lib.jobs.training_settings import (
    CONFIG_NAME_TAKEN,
    TrainingConfig,
    TrainingSettings,
    config_problems,
    settings_differences,
    settings_payload,
)
from lib.sources.influencerai.api_errors import Conflict, NotFound
from lib.sources.influencerai.client import InfluencerClient, path_of
from lib.sources.influencerai.snapshot import (
    API_FIELDS,
    META_FIELDS,
    META_NAME,
    OUR_NAMES,
    TRAINER,
    our_settings,
    parse_time,
    setting_value,
)
from lib.sources.parts import Configs, no_such_config
from lib.sources.reads import Reads


class ApiConfigs(Configs):
    """The configurations of a deployment, listed afresh every ``ttl_s`` and after every change."""

    def __init__(self, client: InfluencerClient, reads: Reads, *, ttl_s: float) -> None:
        self._client, self._reads, self._ttl_s = client, reads, ttl_s

    def list(self) -> Sequence[TrainingConfig]:
        return self._reads.read("configs", self.fetch, ttl_s=self._ttl_s)

    def get(self, config_id: str) -> TrainingConfig:
        return self._read(config_id)[0]

    def save(self, config: TrainingConfig) -> TrainingConfig:
        if problems := config_problems(config):
            raise InvalidRequest("The configuration cannot be saved.", fields=problems)
        meta = self._read(config.id)[1] if config.id else {}
        path = path_of("lora-configs", config.id) if config.id else "/lora-configs"
        try:
            row = self._client.send("PATCH" if config.id else "POST", path, config_payload(config, meta))
        except Conflict as error:
            taken = {"name": CONFIG_NAME_TAKEN}
            raise InvalidRequest("The configuration cannot be saved.", fields=taken) from error
        except InvalidRequest as error:
            raise in_our_words(error) from error
        self._reads.forget()
        return read_config(row) or config

    def delete(self, config_id: str) -> None:
        try:
            self._client.send("DELETE", path_of("lora-configs", config_id))
        except NotFound:
            raise no_such_config() from None
        finally:
            self._reads.forget()

    def fetch(self) -> tuple[TrainingConfig, ...]:
        """All of them as they are now."""
        configs = [config for row in self._client.get_all("/lora-configs") if (config := read_config(row))]
        return tuple(sorted(configs, key=lambda config: (not config.is_default, config.name.casefold())))

    def _read(self, config_id: str) -> tuple[TrainingConfig, Mapping[str, Any]]:
        """A configuration, and what its ``meta`` holds."""
        try:
            row = self._client.get(path_of("lora-configs", config_id))
        except NotFound:
            row = None
        if (config := read_config(row)) is None:
            raise no_such_config()
        return config, row["meta"] if isinstance(row.get("meta"), Mapping) else {}


def read_config(row: object) -> TrainingConfig | None:
    """The configuration in a row; None if the row is not one."""
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


def api_settings(settings: TrainingSettings, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings in the API's words, as in a job's inline ``config``; ``meta`` is what it held before."""
    values = settings_payload(settings)
    kept = {theirs: values[ours] for ours, theirs in META_FIELDS.items() if ours in values}
    return {"meta": {**(meta or {}), META_NAME: kept}, **{theirs: values[ours] for ours, theirs in API_FIELDS.items()}}


def config_payload(config: TrainingConfig, meta: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in the API's words; ``meta`` is what it held before."""
    return {
        "name": config.name.strip(),
        "description": config.description,
        "isDefault": config.is_default,
        **api_settings(config.settings, meta),
    }


def left_to_the_deployment(settings: TrainingSettings) -> list[str]:
    """The chosen values that the API has no field for, so that its worker ignores them."""
    chosen = (each for each in settings_differences(TrainingSettings(), settings) if each.name in META_FIELDS)
    return [each.label.lower() for each in chosen]


def in_our_words(error: InvalidRequest) -> InvalidRequest:
    """The same refusal with the names of our fields."""
    fields_named = {OUR_NAMES.get(name, name): text for name, text in error.fields.items()}
    return InvalidRequest(str(error), fields=fields_named, hint=error.hint)


def _settings(row: Mapping[str, Any]) -> TrainingSettings:
    found = {ours: setting_value(ours, row.get(theirs)) for ours, theirs in API_FIELDS.items()}
    values = {name: value for name, value in found.items() if value is not None}
    return TrainingSettings(**{**values, **our_settings(row), "trainer": TRAINER})
