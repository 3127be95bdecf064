"""One file: read its header, say what it is, and if it is a LoRA, what is in it. No weights are read."""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lib.artifacts.lora.adapter_config import (
    CONFIG_FILE,
    MAX_CONFIG_BYTES,
    AdapterConfig,
    config_of_file,
    configs_of_metadata,
    number,
)
from lib.artifacts.lora.byte_source import ByteSource, FirstBlock, LocalBytes
from lib.artifacts.lora.header import FIRST_READ_BYTES, BrokenFile, Header, Tensor, read_header
from lib.artifacts.lora.keys import ALPHA
from lib.artifacts.lora.kinds import FileKind, kind_of_file, writer_of
from lib.artifacts.lora.metadata import said
from lib.artifacts.lora.modules import Kind, Module, ModuleReader, numel, parts_by_module
from lib.artifacts.lora.scalars import READABLE, scalar
from lib.errors import ArtifactError

# Alphas that lie this close together are read in one go; a far source is asked once at most.
_ALPHA_GAP_BYTES, _FAR_ALPHA_BYTES = 4 << 10, 64 << 10


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """What a file's header tells.

    Attributes:
        header: The checked header.
        kind: What the file is; all that follows is empty unless it is a LoRA.
        writer: The program that wrote it, or whose names it uses.
        modules: Every changed module, by name.
        configs: What peft or diffusers say beside the tensors, by component ("" for all).
        size_bytes: Size of the file.
        reads: Reads, which are requests to a store, that it took.
    """

    header: Header
    kind: FileKind
    writer: str
    modules: Mapping[str, Module]
    configs: Mapping[str, AdapterConfig]
    size_bytes: int
    reads: int

    @property
    def is_lora(self) -> bool:
        """Whether it changes modules of a model, by any of the known kinds."""
        return self.kind is FileKind.LORA

    @property
    def metadata(self) -> Mapping[str, str]:
        """Texts by key; foreign."""
        return self.header.metadata

    @property
    def parameters(self) -> int:
        """Count of trained values: all but the alphas."""
        return sum(numel(tensor) for name, tensor in self.header.tensors.items() if not name.endswith(".alpha"))

    @cached_property
    def network_type(self) -> str:
        """The kinds of its modules in words, as "LoRA", "DoRA/LoKr" or "LoRA + full diff"."""
        found = {f"DoRA/{each.kind}" if each.layout.is_dora else str(each.kind) for each in self.modules.values()}
        if found == {Kind.LORA} and any(each.layout.is_conv for each in self.modules.values()):
            return "LoCon (LoRA with conv modules)"
        return " + ".join(sorted(found))


def read_lora(source: ByteSource, config: AdapterConfig | None = None) -> LoraFile:
    """Read a file's header: one read, and a second one if the header is long or the alphas lie behind it.

    Args:
        source: The file.
        config: peft's ``adapter_config.json`` from beside the file.

    Raises:
        BrokenFile: It is no whole safetensors file.
        ArtifactError: It cannot be read.
    """
    with _without_collections():
        return _read_lora(source, config)


def _read_lora(source: ByteSource, config: AdapterConfig | None) -> LoraFile:
    file = FirstBlock(source, FIRST_READ_BYTES)
    header = read_header(file)
    parts = parts_by_module(header.tensors)
    configs = {"": config} if config else configs_of_metadata(header.metadata)
    tensors = header.tensors
    if parts:
        kind, writer = FileKind.LORA, writer_of(header.metadata, parts, tensors, config)
        alphas = _read_alphas(file, header, (each[ALPHA] for each in parts.values() if ALPHA in each))
        reader = ModuleReader(
            header, alphas, config, {} if config else configs, number(said(header.metadata, "ss_network_alpha"))
        )
        modules = {name: reader.read(name, each) for name, each in parts.items()}
    else:
        kind, writer, modules = kind_of_file(tensors), "", {}
    return LoraFile(
        header=header,
        kind=kind,
        writer=writer,
        modules=modules,
        configs=configs,
        size_bytes=file.size_bytes,
        reads=file.reads,
    )


def read_local(path: Path) -> LoraFile:
    """The same for a file on the disk, with the ``adapter_config.json`` beside it. Raises also OSError."""
    with LocalBytes(path) as source:
        return read_lora(source, config_beside(path))


def is_lora_file(path: Path) -> bool:
    """Whether a file on the disk is a whole LoRA. A pickle is none: only opening it would tell, and it never is.

    Raises:
        OSError, ArtifactError: It cannot be read now.
    """
    try:
        return read_local(path).is_lora
    except BrokenFile:
        return False


def config_beside(path: Path) -> AdapterConfig | None:
    """What peft's configuration in the file's folder says; None when there is none for this file."""
    beside = path.with_name(CONFIG_FILE)
    try:
        if not path.name.startswith("adapter_model"):
            return None
        with LocalBytes(beside) as source:
            is_small = source.size_bytes <= MAX_CONFIG_BYTES
            return config_of_file(source.read(0, source.size_bytes)) if is_small else None
    except (OSError, ArtifactError):
        return None


@contextmanager
def _without_collections() -> Iterator[None]:
    """No garbage collection while many small objects are made: it would look through all of them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_alphas(file: FirstBlock, header: Header, names: Iterable[str]) -> dict[str, float]:
    """The alphas that can be had cheaply, by name of their tensor."""
    wanted = sorted(
        (tensor.begin, name, tensor)
        for name in names
        if (not (tensor := header.tensors[name]).shape or numel(tensor) == 1) and tensor.dtype in READABLE
    )
    found: dict[str, float] = {}
    far: list[tuple[int, str, Tensor]] = []
    for run in _runs(wanted) if file.is_near else [[each] for each in wanted]:
        begin, end = header.size_bytes + run[0][0], header.size_bytes + run[-1][2].end
        if file.is_near or file.holds(begin, end - begin):
            found |= _alphas_in(file.read(begin, end - begin), run)
        else:
            far += run
    if far and file.reads == 1:
        begin, end = header.size_bytes + far[0][0], header.size_bytes + far[-1][2].end
        if end - begin <= _FAR_ALPHA_BYTES:
            found |= _alphas_in(file.read(begin, end - begin), far)
    return found


def _runs(wanted: list[tuple[int, str, Tensor]]) -> list[list[tuple[int, str, Tensor]]]:
    runs: list[list[tuple[int, str, Tensor]]] = []
    for each in wanted:
        if runs and each[0] - runs[-1][-1][2].end <= _ALPHA_GAP_BYTES and each[0] - runs[-1][0][0] < _FAR_ALPHA_BYTES:
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _alphas_in(data: bytes, run: list[tuple[int, str, Tensor]]) -> dict[str, float]:
    start = run[0][0]
    known: dict[tuple[str, bytes], float] = {}
    found = {}
    for begin, name, tensor in run:
        stored = tensor.dtype, data[begin - start : tensor.end - start]
        if stored not in known:
            known[stored] = scalar(stored[1], tensor.dtype)
        found[name] = known[stored]
    return found


def count_by(values: Iterable[object]) -> dict[str, int]:
    """How many of each, by the value as text: numbers short, nothing as "none"."""
    texts = ("none" if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return dict(sorted(Counter(texts).items()))
