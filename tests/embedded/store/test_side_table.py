"""What people write on jobs of another source."""

from pathlib import Path

import pytest

from lib.embedded.store.side_table import SideTable
from lib.errors import StoreError
from lib.jobs.annotations import Annotations


def test_parts_are_kept_beside_each_other_and_sources_apart(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    here, elsewhere = SideTable(folder, "api.one"), SideTable(folder, "api.two")
    assert here.read() == {}
    assert not folder.exists(), "reading makes nothing"
    here.write("a", Annotations(name="Fox", tags=("b", "c")))
    here.write("a", Annotations(is_starred=True, tags=()))
    elsewhere.write("a", Annotations(note="other"))
    assert SideTable(folder, "api.one").read() == {"a": Annotations(name="Fox", tags=(), is_starred=True)}
    assert elsewhere.read() == {"a": Annotations(note="other")}
    assert here.path.stat().st_mode & 0o077 == 0


def test_a_damaged_file_is_no_empty_one(tmp_path: Path) -> None:
    table = SideTable(tmp_path, "api")
    table.path.write_bytes(b"not a database at all, but some bytes" * 50)
    with pytest.raises(StoreError, match="damaged"):
        table.read()
    with pytest.raises(StoreError, match="damaged"):
        table.write("a", Annotations(note="x"))
