"""A file with peft's configuration from beside it, opened to be read: on the disk, or behind links that expire."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lib.artifacts.lora.adapter_config import MAX_CONFIG_BYTES, AdapterConfig, config_of_file
from lib.artifacts.lora.byte_source import ByteSource, FileChanged, LocalBytes
from lib.artifacts.lora.file import config_beside, read_lora
from lib.artifacts.lora.norms import compute_norms
from lib.artifacts.lora.report import norms_report_of, report_of
from lib.artifacts.lora.web_bytes import WebBytes
from lib.errors import ArtifactError, DashboardError
from lib.jobs.lora_report import LoraReport, NormsReport


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFile:
    """A file that can be read now."""

    name: str
    content: ByteSource
    config: AdapterConfig | None

    def report(self) -> LoraReport:
        """What its header tells. Raises ArtifactError."""
        lora = read_lora(self.content, self.config)
        return report_of(lora, name=self.name, version=self.content.version)

    def norms(self, version: str, progress: Callable[[float], None], is_cancelled: Callable[[], bool]) -> NormsReport:
        """What all its weights tell, if it is still this version. Raises ArtifactError."""
        lora = read_lora(self.content, self.config)
        self._check(version)
        norms = compute_norms(lora, self.content, progress=progress, is_cancelled=is_cancelled)
        self._check(version)
        return norms_report_of(lora, norms, name=self.name, version=version)

    def _check(self, version: str) -> None:
        if self.content.version != version:
            raise FileChanged


@contextmanager
def opened_path(path: Path, name: str) -> Iterator[OpenedFile]:
    """A file of this machine. Raises ArtifactError."""
    try:
        content = LocalBytes(path)
    except OSError as error:
        raise ArtifactError(f"The file cannot be read: {error.strerror}.", hint="It may have been deleted.") from error
    with content:
        yield OpenedFile(name=name, content=content, config=config_beside(path))


def opened_link(name: str, link: Callable[[], str], config_link: Callable[[], str]) -> OpenedFile:
    """A file elsewhere.

    Args:
        name: What it is called.
        link: Gives an address that works now. Raises ArtifactError.
        config_link: The same for the configuration beside it; asked only for a file that may have one.
    """
    config = None
    if name.startswith("adapter_model"):
        try:
            config = config_of_file(WebBytes(config_link).read(0, MAX_CONFIG_BYTES))
        except DashboardError:
            config = None
    return OpenedFile(name=name, content=WebBytes(link), config=config)
