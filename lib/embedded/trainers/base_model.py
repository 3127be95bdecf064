"""What a base model on this disk is, by the header of its file or the index of its folder: kind, architecture, dtype.

Nothing but headers is read. What they do not tell stays unknown: a name proves nothing, and most models are of a kind
that is not listed here.
"""

import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lib.artifacts.lora.byte_source import FirstBlock, LocalBytes
from lib.artifacts.lora.header import FIRST_READ_BYTES, Header, read_header
from lib.artifacts.lora.kinds import FileKind, kind_of_file
from lib.artifacts.lora.modules import parts_by_module
from lib.embedded.files.availability import read_file
from lib.embedded.trainers.model_signs import LABELS, PIPELINES, UNETS, told_architecture
from lib.errors import ArtifactError, DashboardError

INDEX = "model_index.json"
_MODEL_FOLDERS = ("unet", "transformer")
_DTYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8 (e4m3)", "F8_E5M2": "fp8 (e5m2)"}
FP8, _SCALED = "fp8", ", scaled"
# Factors that belong to weights in 8 bit: ComfyUI's two ways to name them.
_SCALES = (".scale_weight", ".weight_scale", "scaled_fp8")
# What is certainly no model to train on, and which field it belongs into.
_ELSEWHERE = {
    FileKind.LORA: 'A LoRA to go on from belongs into "LoRA to start from".',
    FileKind.VAE: 'It belongs into "VAE or autoencoder".',
    FileKind.TEXT_ENCODER: "It belongs into the field of that text encoder.",
    FileKind.EMBEDDING: "",
    FileKind.CACHE: "",
    FileKind.CONTROLNET: "",
    FileKind.STATE: "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """What is known of a base model.

    Attributes:
        architecture: A key of ``LABELS``; empty when unknown.
        dtype: That of most of its weights, such as ``bf16``; empty when unknown.
        problem: Why it is no base model, as a sentence; empty when nothing says so.
    """

    architecture: str = ""
    dtype: str = ""
    problem: str = ""

    @property
    def is_fp8(self) -> bool:
        """Whether most of its weights are in 8 bit."""
        return self.dtype.startswith(FP8)

    @property
    def is_scaled(self) -> bool:
        """Whether its weights in 8 bit count only together with factors beside them."""
        return self.dtype.endswith(_SCALED)

    def contradiction(self, architecture: str) -> str:
        """A sentence when the settings say another architecture than its header; else empty."""
        if not self.architecture or architecture not in LABELS or architecture == self.architecture:
            return ""
        return (
            f"The base model is {self.label} by its header, but the architecture in the settings is "
            f"{LABELS[architecture]}. Correct one of them."
        )

    @property
    def label(self) -> str:
        """``SDXL``; empty when the architecture is unknown."""
        return LABELS.get(self.architecture, "")

    @property
    def text(self) -> str:
        """``SDXL, fp16``; empty when nothing is known."""
        return ", ".join(filter(None, (self.label, self.dtype)))


def read_base_model(path: Path) -> BaseModel:
    """What the file or folder is; remembered for as long as it stays the same. Raises OSError."""
    facts = path.stat()
    if path.is_dir():
        return _of_folder(path)
    try:
        return _of_file(path, facts.st_size, facts.st_mtime_ns)
    except ArtifactError as error:
        return BaseModel(problem=f"The base model {path} cannot be used. {error}")


@lru_cache(maxsize=64)
def _of_file(path: Path, _size: int, _mtime_ns: int) -> BaseModel:
    with LocalBytes(path) as source:
        header = read_header(FirstBlock(source, FIRST_READ_BYTES))
    kind = _kind(header)
    if kind in _ELSEWHERE:
        where = f" {_ELSEWHERE[kind]}".rstrip()
        return BaseModel(problem=f"The base model {path} is {_article(kind)}, not a full model.{where}")
    return BaseModel(architecture=told_architecture(header.tensors), dtype=_dtype(header))


def _article(kind: FileKind) -> str:
    return "a LoRA" if kind is FileKind.LORA else kind.value


def _kind(header: Header) -> FileKind:
    parts = parts_by_module(header.tensors)
    # A full model may have some tensors with such a name, too.
    if 2 * sum(map(len, parts.values())) > len(header.tensors):
        return FileKind.LORA
    if "model.embed_tokens.weight" in header.tensors:
        return FileKind.TEXT_ENCODER
    return kind_of_file(header.tensors)


def _dtype(header: Header) -> str:
    sizes: Counter[str] = Counter()
    for tensor in header.tensors.values():
        sizes[tensor.dtype] += tensor.end - tensor.begin
    dtype = _DTYPES.get(sizes.most_common(1)[0][0], "") if sizes else ""
    is_scaled = dtype.startswith(FP8) and any(name.endswith(_SCALES) for name in header.tensors)
    return f"{dtype}{_SCALED}" if is_scaled else dtype


def _of_folder(path: Path) -> BaseModel:
    index = _json(path / INDEX)
    if index is None and not any((path / name).is_dir() for name in _MODEL_FOLDERS):
        return BaseModel(
            problem=f"The base model {path} is a folder without {INDEX}, so it is no model that diffusers saved. "
            "Name the model's file, or the folder that has this file."
        )
    pipeline = str((index or {}).get("_class_name", ""))
    width = (_json(path / "unet" / "config.json") or {}).get("cross_attention_dim")
    of_unet = UNETS.get(width, "") if pipeline == "StableDiffusionPipeline" and isinstance(width, int) else ""
    return BaseModel(architecture=PIPELINES.get(pipeline, of_unet))


def _json(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(read_file(path) or b"")
    except (OSError, ValueError, RecursionError, DashboardError):
        return None
    return found if isinstance(found, dict) else None
