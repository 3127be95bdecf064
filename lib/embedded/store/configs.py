"""Training configurations in the database: names are unique, at most one is the default."""

import secrets
from collections.abc import Callable
from datetime import datetime

from lib.embedded.store.database import Database
from lib.embedded.store.rows import config_from, settings_json
from lib.errors import InvalidRequest
from lib.jobs.training_settings import CONFIG_NAME_TAKEN, TrainingConfig, config_problems


class ConfigStore:
    """Configurations by id. Jobs have their own copy of the settings, so a change here never changes a job."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def list(self) -> list[TrainingConfig]:
        """All configurations, the default one first, then by name."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM configs ORDER BY is_default DESC, name_key, id").fetchall()
        return [config_from(row) for row in rows]

    def get(self, config_id: str) -> TrainingConfig:
        """One configuration. Raises InvalidRequest."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM configs WHERE id = ?", (config_id,)).fetchone()
        if row is None:
            raise InvalidRequest("There is no such configuration.", hint="It may have been deleted.")
        return config_from(row)

    def save(self, config: TrainingConfig) -> TrainingConfig:
        """Create (empty id) or change one. Raises InvalidRequest with field messages."""
        name = config.name.strip()
        if problems := config_problems(config):
            raise InvalidRequest("The configuration cannot be saved.", fields=problems)
        at = self._now().timestamp()
        config_id = config.id or f"config-{secrets.token_hex(5)}"
        with self._database.writing() as connection:
            taken = connection.execute(
                "SELECT 1 FROM configs WHERE name_key = ? AND id <> ?", (name.casefold(), config_id)
            ).fetchone()
            if taken:
                raise InvalidRequest("The configuration cannot be saved.", fields={"name": CONFIG_NAME_TAKEN})
            if config.is_default:
                connection.execute("UPDATE configs SET is_default = 0 WHERE is_default = 1")
            values = {
                "id": config_id,
                "name": name,
                "name_key": name.casefold(),
                "settings": settings_json(config.settings),
                "description": config.description,
                "is_default": int(config.is_default),
                "created_at": at,
                "updated_at": at,
            }
            changes = ", ".join(f"{column} = excluded.{column}" for column in values if column != "created_at")
            connection.execute(
                f"""
                INSERT INTO configs ({", ".join(values)}) VALUES ({", ".join("?" * len(values))})
                ON CONFLICT (id) DO UPDATE SET {changes}
                """,
                tuple(values.values()),
            )
        return self.get(config_id)

    def delete(self, config_id: str) -> None:
        """Delete one; refused while an active job uses it."""
        self.get(config_id)
        with self._database.writing() as connection:
            user = connection.execute(
                "SELECT name FROM jobs WHERE status IN ('pending', 'running') AND config_id = ? LIMIT 1",
                (config_id,),
            ).fetchone()
            if user:
                raise InvalidRequest(
                    f"The configuration is used by the job {user['name'][:80]!r}, which has not ended.",
                    hint="Wait for the job to end, or cancel it.",
                )
            connection.execute("DELETE FROM configs WHERE id = ?", (config_id,))
