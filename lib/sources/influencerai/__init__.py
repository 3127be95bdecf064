"""The InfluencerAI API as a source of jobs, with its files in any S3-compatible store."""

from lib.artifacts.object_store import ObjectStore
from lib.errors import SettingsError
from lib.settings import Settings
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.source import InfluencerSource

__all__ = ["InfluencerClient", "InfluencerSource", "open_influencerai"]


def open_influencerai(settings: Settings) -> InfluencerSource:
    """The deployment that the settings name; nothing is sent until somebody looks. Raises SettingsError."""
    if settings.influencerai is None:
        raise SettingsError("INFLUENCERAI_API_URL is missing.", hint="Set it to the address of the API.")
    files = ObjectStore(settings.s3) if settings.s3 else None
    return InfluencerSource(InfluencerClient(settings.influencerai), files=files)
