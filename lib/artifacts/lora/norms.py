"""How much a LoRA changes: ‖scale · ΔW‖ (Frobenius) per module, block and component, in one pass over the weights."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lib.artifacts.lora import arrays
from lib.artifacts.lora.arrays import Raw
from lib.artifacts.lora.byte_source import ByteSource, FileChanged, ReadAhead
from lib.artifacts.lora.file import LoraFile
from lib.artifacts.lora.keys import ALPHA, DOWN, MID, UP
from lib.artifacts.lora.modules import NEEDS_BASE, NOT_READ, NOT_READ_METADATA, Module, with_alpha
from lib.artifacts.lora.scalars import READABLE
from lib.artifacts.lora.squares import STRETCH_VALUES, Factor, TooLarge, square_of
from lib.errors import ArtifactError

CHUNK_BYTES = 4 << 20
NEEDS_BASE_WEIGHTS, NOT_FINITE = "needs the base weights", "holds NaN or Inf"
NO_SCALE, NO_NUMBERS = "its scale is not known", "its dtype cannot be computed with"
TOO_LARGE = "its product would be too large"
_LARGEST_SQUARE = 1e300  # so that sums of them stay finite


class NormsCancelled(ArtifactError):
    """Someone asked to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """What one pass over the weights found.

    Attributes:
        modules: The modules with the alphas that were read now.
        by_module: Norm of each module; None where there is none, for the reason in ``without``. For DoRA it is the
            low-rank part's: the true change needs the base weights.
        without: Why a module has no norm.
        by_block, by_component: Roots of the sums of squares, by "unet/down_blocks.1" and "unet".
        total: The same over all modules; None when none has a norm.
        nan_values, inf_values: Counts over all tensors.
        not_finite_tensors: Names of the tensors that hold them.
    """

    modules: Mapping[str, Module]
    by_module: Mapping[str, float | None]
    without: Mapping[str, str]
    by_block: Mapping[str, float]
    by_component: Mapping[str, float]
    total: float | None
    nan_values: int
    inf_values: int
    not_finite_tensors: tuple[str, ...]


def compute_norms(
    lora: LoraFile,
    source: ByteSource,
    *,
    progress: Callable[[float], None] = lambda fraction: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Norms:
    """Read all weights once, in the file's order, and compute every norm that the file alone defines.

    Memory is bounded by the largest module.

    Args:
        lora: The file as ``read_lora`` read it.
        source: The same file.
        progress: Called with the fraction of bytes that are read.
        is_cancelled: Asked before every read and during long work.

    Raises:
        NormsCancelled: ``is_cancelled`` said so.
        ArtifactError: The file cannot be read, or changed.
    """
    weights = _Weights(lora, source, progress, is_cancelled)
    modules: dict[str, Module] = {}
    squares: dict[str, float | str] = {}
    for item in _in_order(lora):
        if isinstance(item, Module):
            modules[item.name], squares[item.name] = weights.module_square(item)
        else:
            weights.check(item)
    progress(1.0)
    return _summed(modules, squares, weights)


def _in_order(lora: LoraFile) -> Iterator[Module | str]:
    """Modules, and names of the tensors outside of them, as they lie in the file."""
    module_of = {tensor: module for module in lora.modules.values() for tensor in module.tensors.values()}
    done: set[str] = set()
    for name in lora.header.tensors:
        module = module_of.get(name)
        if module is None:
            yield name
        elif module.name not in done:
            done.add(module.name)
            yield module


def _summed(modules: Mapping[str, Module], squares: Mapping[str, float | str], weights: "_Weights") -> Norms:
    blocks: defaultdict[str, float] = defaultdict(float)
    components: defaultdict[str, float] = defaultdict(float)
    for name, square in squares.items():
        if isinstance(square, float):
            blocks[f"{modules[name].component}/{modules[name].block}"] += square
            components[modules[name].component] += square
    return Norms(
        modules=modules,
        by_module={name: math.sqrt(each) if isinstance(each, float) else None for name, each in squares.items()},
        without={name: each for name, each in squares.items() if isinstance(each, str)},
        by_block={name: math.sqrt(square) for name, square in sorted(blocks.items())},
        by_component={name: math.sqrt(square) for name, square in sorted(components.items())},
        total=math.sqrt(sum(components.values())) if components else None,
        nan_values=weights.nan_values,
        inf_values=weights.inf_values,
        not_finite_tensors=tuple(weights.not_finite),
    )


class _Weights:
    """The tensors of a file, each read once and checked for NaN and Inf on the way."""

    def __init__(
        self, lora: LoraFile, source: ByteSource, progress: Callable[[float], None], is_cancelled: Callable[[], bool]
    ) -> None:
        self._header = lora.header
        self._source = source if source.is_near else ReadAhead(source)
        self._progress, self._is_cancelled = progress, is_cancelled
        self._all_bytes = max(1, lora.size_bytes - lora.header.size_bytes)
        self._read_bytes = 0
        self.nan_values = self.inf_values = 0
        self.not_finite: list[str] = []

    def module_square(self, module: Module) -> tuple[Module, float | str]:
        """The module with an alpha that is read now, and ‖scale · ΔW‖², or why there is none."""
        begins = {part: self._header.tensors[name].begin for part, name in module.tensors.items()}
        parts = sorted(begins, key=begins.__getitem__)
        if reason := self._reason_without(module):
            for part in parts:
                self.check(module.tensors[part])
            return module, reason
        factors = {part: self._read(module.tensors[part]) for part in parts}
        if module.alpha_from in (NOT_READ, NOT_READ_METADATA):
            module = _with_read_alpha(module, factors[ALPHA])
        used = {part: factor for part, factor in factors.items() if part in (DOWN, UP, MID, "diff") or "_" in part}
        try:
            square = square_of(module.kind, used, self.stop_if_cancelled)
            unused = factors if not math.isfinite(square) else factors.keys() - used.keys()
            checked = [self._check_values(module.tensors[part], factors[part].values) for part in unused]
            if not math.isfinite(square):
                if not all(checked):
                    return module, NOT_FINITE
                wide = {part: factor.widened() for part, factor in used.items()}
                square = square_of(module.kind, wide, self.stop_if_cancelled)
        except (TooLarge, ValueError) as error:
            for part, factor in factors.items():
                self._check_values(module.tensors[part], factor.values)
            return module, TOO_LARGE if isinstance(error, TooLarge) else "its shapes do not fit"
        if module.scale is None:
            return module, NO_SCALE
        found = max(0.0, square) * module.scale * module.scale
        return module, found if found < _LARGEST_SQUARE else "its numbers are too large"

    def check(self, name: str) -> None:
        """Count NaN and Inf in a tensor, a piece at a time."""
        tensor = self._header.tensors[name]
        size = tensor.end - tensor.begin
        for offset in range(0, size, CHUNK_BYTES):
            data = self._bytes(tensor.begin + offset, min(CHUNK_BYTES, size - offset))
            if tensor.dtype in READABLE:
                self._check_values(name, arrays.raw(data, tensor.dtype))

    def stop_if_cancelled(self) -> None:
        if self._is_cancelled():
            raise NormsCancelled("Computing the norms was cancelled.")

    def _reason_without(self, module: Module) -> str:
        if module.problem:
            return module.problem
        if module.kind in NEEDS_BASE:
            return NEEDS_BASE_WEIGHTS
        if module.scale is None and module.alpha_from != NOT_READ:
            return NO_SCALE
        is_readable = all(self._header.tensors[name].dtype in READABLE for name in module.tensors.values())
        return "" if is_readable else NO_NUMBERS

    def _read(self, name: str) -> Factor:
        tensor = self._header.tensors[name]
        return Factor(arrays.raw(self._bytes(tensor.begin, tensor.end - tensor.begin), tensor.dtype), tensor)

    def _check_values(self, name: str, values: Raw) -> bool:
        """Whether all are finite; those that are not are counted."""
        dtype = self._header.tensors[name].dtype
        is_finite = True
        for start in range(0, values.size, STRETCH_VALUES):
            found = arrays.numbers(values[start : start + STRETCH_VALUES], dtype)
            finite = int(np.count_nonzero(np.isfinite(found)))
            if finite < found.size:
                nan = int(np.count_nonzero(np.isnan(found)))
                self.nan_values += nan
                self.inf_values += found.size - finite - nan
                is_finite = False
        if not is_finite and name not in self.not_finite[-1:]:
            self.not_finite.append(name)
        return is_finite

    def _bytes(self, begin: int, size: int) -> bytes:
        self.stop_if_cancelled()
        data = self._source.read(self._header.size_bytes + begin, size) if size else b""
        if len(data) != size:
            raise FileChanged
        self._read_bytes += size
        self._progress(min(1.0, self._read_bytes / self._all_bytes))
        return data


def _with_read_alpha(module: Module, factor: Factor) -> Module:
    """The module with its alpha, which was too far away when only the header was read."""
    if factor.values.size != 1:
        return module
    return with_alpha(module, float(arrays.numbers(factor.values, factor.tensor.dtype)[0]))
