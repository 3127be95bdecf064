"""What several tests of the cluster share."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.embedded.ray.hand_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path / "data")) as built:
        yield built
