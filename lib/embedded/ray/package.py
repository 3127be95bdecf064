"""The package that Ray unpacks on a node for each attempt: the runner, and the tiny trainer, which no node has."""

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

from lib.settings import ROOT

_FIXED_DATE = (2020, 1, 1, 0, 0, 0)


@cache
def runner_package() -> tuple[str, bytes]:
    """Name and bytes of the zip; the same content has the same name, so that it is sent once."""
    files = {name: Path(__file__).with_name(name) for name in ("runner.py", "node_store.py", "node_sender.py")}
    files |= {"lib/__init__.py": ROOT / "lib" / "__init__.py"}
    files |= {f"lib/tiny_trainer/{path.name}": path for path in (ROOT / "lib" / "tiny_trainer").glob("*.py")}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _FIXED_DATE), files[name].read_bytes())
    data = stream.getvalue()
    return f"lora_runner_{hashlib.sha256(data).hexdigest()[:16]}.zip", data
