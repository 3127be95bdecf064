"""The houses that the contract suite visits."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib.sources.protocol import Action
from tests.contract.houses import ClusterHouse, EmbeddedHouse, House, MemoryHouse
from tests.contract.rest_house import RestHouse

HOUSES: dict[str, Callable[[Path], House]] = {
    "memory": MemoryHouse,
    "embedded": EmbeddedHouse,
    "cluster": ClusterHouse,
    "influencerai": RestHouse,
}


@pytest.fixture(params=sorted(HOUSES))
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A source with one dataset, one configuration and no job."""
    beyond: dict[str, str] = getattr(HOUSES[request.param], "beyond", {})
    if reason := beyond.get(request.node.originalname):
        pytest.skip(reason)
    if getattr(HOUSES[request.param], "only", "") not in request.node.module.__name__:
        pytest.skip("reading jobs does not depend on where they run")
    built = HOUSES[request.param](tmp_path / "house")
    yield built
    built.close()


@pytest.fixture
def able(house: House) -> Callable[..., None]:
    """Skip the test when the source says that it cannot do something the test needs."""

    def require(*actions: Action) -> None:
        for action in actions:
            if reason := house.source.reason_against(action):
                pytest.skip(f"{house.source.name} cannot {action}: {reason}")

    return require
