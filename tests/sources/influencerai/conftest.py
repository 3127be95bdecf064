"""A deployment to talk to, and clients that give up quickly."""

from collections.abc import Callable, Iterator

import pytest

from lib.settings import InfluencerSettings
from lib.sources.influencerai.client import InfluencerClient, Limits
from lib.sources.influencerai.job_index import Intervals
from lib.sources.influencerai.source import InfluencerSource
from tests.sources.influencerai.api_server import EMAIL, PASSWORD, ApiServer, api_server

# For tests of silence, where nothing is expected to come in time.
IMPATIENT = Limits(connect_s=10, read_s=0.5, total_s=1.0)
PATIENT = Limits(connect_s=10, read_s=30, total_s=60)
# Everything is due at every look: what the API says now is what the source shows.
AT_ONCE = Intervals(interval_s=0, newest_s=0, active_s=0, names_s=0, walk_s=0, stale_s=0, back_off_s=0)


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with api_server() as running:
        yield running


@pytest.fixture
def connect(api: ApiServer) -> Iterator[Callable[..., InfluencerClient]]:
    """Makes clients that sign in, or use the token given, and closes them."""
    opened: list[InfluencerClient] = []

    def make(limits: Limits = PATIENT, **settings: str) -> InfluencerClient:
        credentials = settings or {"email": EMAIL, "password": PASSWORD}
        opened.append(InfluencerClient(InfluencerSettings(api_url=api.url, **credentials), limits=limits))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def client(connect: Callable[..., InfluencerClient]) -> InfluencerClient:
    return connect()


@pytest.fixture
def source(client: InfluencerClient) -> Iterator[InfluencerSource]:
    """The source without threads and without memory of former answers."""
    opened = InfluencerSource(client, files=None, intervals=AT_ONCE, background=False)
    yield opened
    opened.close()
