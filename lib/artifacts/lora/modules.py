"""The changes in a file, module by module: kind, rank, alpha and scale, from names and shapes of tensors.

Formulas: kohya ``networks/lora.py`` (alpha / rows of down), peft (alpha / r, rsLoRA alpha / sqrt(r)), LyCORIS (LoKr's
rank is that of its second factor; both factors full have none). Without an alpha the scale is what loaders then use: 1.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from lib.artifacts.lora.adapter_config import AdapterConfig
from lib.artifacts.lora.header import Header, Tensor
from lib.artifacts.lora.keys import ALPHA, DOWN, MAGNITUDE, MID, UP, part_of, place_of


class Kind(StrEnum):
    """How a module's change is stored."""

    LORA = "LoRA"
    LOHA = "LoHa"
    LOKR = "LoKr"
    FULL = "full diff"
    IA3 = "IA3"
    OFT = "OFT/BOFT"
    GLORA = "GLoRA"
    VERA = "VeRA"
    ADALORA = "AdaLoRA"


SCALED = frozenset({Kind.LORA, Kind.LOHA, Kind.LOKR})
NEEDS_BASE = frozenset({Kind.IA3, Kind.OFT, Kind.GLORA, Kind.VERA, Kind.ADALORA})
FROM_TENSOR, FROM_NOTHING = "tensor", "absent (loaders then use scale 1)"
MEANINGLESS = "tensor, meaningless: both factors are full, scale 1"
NOT_A_NUMBER = "tensor, not a number"
NOT_READ, NOT_READ_METADATA = "tensor, not read", "ss_network_alpha (its tensor was not read)"
HALF = "half of the pair is missing"
# What each kind needs, besides what it may have; the first that is there decides.
_NEEDED = (
    (Kind.ADALORA, ("lora_E",)),
    (Kind.LORA, (DOWN,)),
    (Kind.LORA, (UP,)),
    (Kind.LOHA, ("hada_w1_a",)),
    (Kind.LOHA, ("hada_w1_b",)),
    (Kind.LOHA, ("hada_w2_a",)),
    (Kind.LOHA, ("hada_w2_b",)),
    (Kind.LOKR, ("lokr_w1",)),
    (Kind.LOKR, ("lokr_w1_a",)),
    (Kind.LOKR, ("lokr_w1_b",)),
    (Kind.LOKR, ("lokr_w2",)),
    (Kind.LOKR, ("lokr_w2_a",)),
    (Kind.LOKR, ("lokr_w2_b",)),
    (Kind.FULL, ("diff",)),
    (Kind.IA3, ("on_input",)),
    (Kind.IA3, ("ia3_l",)),
    (Kind.OFT, ("oft_blocks",)),
    (Kind.OFT, ("oft_diag",)),
    (Kind.OFT, ("oft_R",)),
    (Kind.OFT, ("oft_r",)),
    (Kind.OFT, ("boft_R",)),
    (Kind.GLORA, ("a1", "a2", "b1", "b2")),
    (Kind.VERA, ("vera_lambda_b",)),
)
Shape = tuple[int, ...]


class Module(NamedTuple):
    """One changed module.

    Attributes:
        name: As the file names it, without the endings of its tensors.
        component, block: Where it lies, as "unet" and "down_blocks.1".
        layout: What its shapes tell.
        tensors: Names of its tensors by part.
        alpha: None where nothing tells it.
        alpha_from: Where alpha comes from, in words.
        scale: What the change is multiplied by; None where the kind has none, and where it is not known.
    """

    name: str
    component: str
    block: str
    layout: "Layout"
    tensors: Mapping[str, str]
    alpha: float | None
    alpha_from: str
    scale: float | None

    @property
    def kind(self) -> Kind:
        """How the change is stored."""
        return self.layout.kind

    @property
    def rank(self) -> int | None:
        """None where the kind has none."""
        return self.layout.rank

    @property
    def problem(self) -> str:
        """Why it cannot work; empty when it can."""
        return self.layout.problem


class Layout(NamedTuple):
    """What the shapes of a module's tensors tell: most modules of a file share a few layouts.

    Attributes:
        kind: How the change is stored.
        is_full_lokr: Both factors of a LoKr are stored whole: then it has no rank.
        is_dora: A magnitude scales the result; the low-rank part alone is not the change.
        is_conv: Its kernel is larger than 1.
        rank: None where the kind has none.
        problem: Why it cannot work; empty when it can.
    """

    kind: Kind
    is_full_lokr: bool
    is_dora: bool
    is_conv: bool
    rank: int | None
    problem: str


def parts_by_module(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The names of tensors that are parts of modules, by module and part; modules that change nothing are left out."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        if place := part_of(name):
            found[place[0]].setdefault(place[1], name)
    return {module: parts for module, parts in found.items() if kind_of(tuple(parts)) is not None}


@lru_cache(maxsize=256)
def kind_of(parts: tuple[str, ...]) -> Kind | None:
    """How a module with these parts is changed; None when it is not."""
    return next((kind for kind, needed in _NEEDED if all(each in parts for each in needed)), None)


@lru_cache(maxsize=1024)
def layout_of(shapes: tuple[tuple[str, Shape], ...]) -> Layout:
    """The layout of a module from its parts and their shapes."""
    by_part = dict(shapes)
    kind = kind_of(tuple(by_part))
    assert kind is not None
    return Layout(
        kind=kind,
        is_full_lokr=kind is Kind.LOKR and "lokr_w1" in by_part and "lokr_w2" in by_part,
        is_dora=MAGNITUDE in by_part,
        is_conv=any(math.prod(shape[2:]) > 1 for part, shape in shapes if part != MAGNITUDE),
        rank=_rank(kind, by_part),
        problem=_problem(kind, by_part),
    )


def with_alpha(module: Module, value: float) -> Module:
    """The module with the value of its alpha tensor, which was read later than its header."""
    alpha, alpha_from, scale = _by_tensor(module.layout, value)
    return module._replace(alpha=alpha, alpha_from=alpha_from, scale=scale)


def _by_tensor(layout: Layout, value: float) -> tuple[float | None, str, float | None]:
    """Alpha, where it comes from, and the scale, by the value of an alpha tensor."""
    if not math.isfinite(value):
        return None, NOT_A_NUMBER, None
    if layout.is_full_lokr:
        return value, MEANINGLESS, 1.0
    return value, FROM_TENSOR, _ratio(layout, value)


def _ratio(layout: Layout, alpha: float) -> float | None:
    if layout.kind in NEEDS_BASE:
        return None
    return alpha / layout.rank if layout.kind in SCALED and layout.rank and not layout.is_full_lokr else 1.0


class ModuleReader:
    """Builds modules from what is known on a file.

    Args:
        header: The file's header.
        alphas: Values of alpha tensors by the tensor's name, as far as they were read.
        config: A file's ``adapter_config.json``.
        component_configs: diffusers' settings by component.
        metadata_alpha: ``ss_network_alpha``, for modules whose alpha tensor was not read.
    """

    def __init__(
        self,
        header: Header,
        alphas: Mapping[str, float],
        config: AdapterConfig | None = None,
        component_configs: Mapping[str, AdapterConfig] | None = None,
        metadata_alpha: float | None = None,
    ) -> None:
        self._tensors, self._alphas = header.tensors, alphas
        self._config, self._component_configs = config, component_configs or {}
        self._metadata_alpha = metadata_alpha

    def read(self, name: str, parts: Mapping[str, str]) -> Module:
        """One module."""
        tensors = self._tensors
        layout = layout_of(tuple([(part, tensors[tensor].shape) for part, tensor in parts.items()]))
        component, block = place_of(name)
        alpha, alpha_from, scale = self._alpha_and_scale(name, layout, parts)
        return Module(name, component, block, layout, parts, alpha, alpha_from, scale)

    def _alpha_and_scale(
        self, name: str, layout: Layout, parts: Mapping[str, str]
    ) -> tuple[float | None, str, float | None]:
        if (tensor := parts.get(ALPHA)) is not None:
            if (value := self._alphas.get(tensor)) is not None:
                return _by_tensor(layout, value)
            if layout.kind not in SCALED or layout.is_full_lokr:
                return None, NOT_READ, _ratio(layout, 1)
            if self._metadata_alpha is not None:
                return self._metadata_alpha, NOT_READ_METADATA, _ratio(layout, self._metadata_alpha)
            return None, NOT_READ, None
        if layout.kind not in SCALED:
            return None, "none needed" if layout.kind is Kind.FULL else "none", _ratio(layout, 1)
        config, short_name = self._config_of(name)
        if config is not None:
            alpha = config.alphas.find(short_name)
            alpha = config.alpha if alpha is None else alpha
            if alpha is not None:
                return alpha, config.origin, _configured_scale(config, short_name, layout, alpha)
        return None, FROM_NOTHING, 1.0

    def _config_of(self, name: str) -> tuple[AdapterConfig | None, str]:
        if self._config is not None:
            return self._config, name.removeprefix("base_model.model.").removeprefix("diffusion_model.")
        if self._component_configs:
            first, _, rest = name.partition(".")
            if first in self._component_configs:
                return self._component_configs[first], rest
            return self._component_configs.get(""), name
        return None, name


def _configured_scale(config: AdapterConfig, short_name: str, layout: Layout, alpha: float) -> float:
    """peft: alpha / r, or alpha / sqrt(r) if rank-stabilized; r of a LoKr without factors is the configured one."""
    rank: float | None = layout.rank
    if layout.is_full_lokr:
        rank = config.ranks.find(short_name) or config.rank
    if not rank or rank < 0:
        return 1.0
    return alpha / (math.sqrt(rank) if config.is_rank_stabilized else rank)


def _rank(kind: Kind, shapes: Mapping[str, Shape]) -> int | None:
    if kind in (Kind.LORA, Kind.ADALORA):
        return _size(shapes, DOWN, 0) or _size(shapes, UP, 1)
    if kind is Kind.LOHA:
        return _size(shapes, "hada_w1_b", 0) or _size(shapes, "hada_w2_b", 0)
    if kind is Kind.LOKR:
        return _size(shapes, "lokr_w2_b", 0) or _size(shapes, "lokr_w1_b", 0)
    return _size(shapes, "a2", 0) if kind is Kind.GLORA else None


def _size(shapes: Mapping[str, Shape], part: str, dimension: int) -> int | None:
    shape = shapes.get(part, ())
    return shape[dimension] if len(shape) > dimension else None


def _problem(kind: Kind, shapes: Mapping[str, Shape]) -> str:
    """Why the factors cannot be multiplied; empty when they can."""
    if kind is Kind.LORA:
        return _lora_problem(shapes)
    if kind is Kind.LOHA:
        halves = [f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b")]
        if any(half not in shapes for half in halves):
            return HALF
        first, second = (_pair_problem(shapes, f"hada_w{n}_a", f"hada_w{n}_b", f"hada_t{n}") for n in (1, 2))
        return first or second
    if kind is Kind.LOKR:
        return _factor_problem(shapes, 1) or _factor_problem(shapes, 2)
    return ""


def _lora_problem(shapes: Mapping[str, Shape]) -> str:
    if DOWN not in shapes or UP not in shapes:
        return HALF
    down, up = shapes[DOWN], shapes[UP]
    fits = len(down) >= 2 and len(up) >= 2 and math.prod(down) > 0 and math.prod(up) > 0
    if fits and (mid := shapes.get(MID)):
        fits = len(mid) >= 2 and math.prod(mid) > 0 and (up[1], down[0]) == mid[:2]
    elif fits:
        fits = math.prod(up[1:]) == down[0]
    return "" if fits else f"shapes do not fit: down {down}, up {up}"


def _factor_problem(shapes: Mapping[str, Shape], place: int) -> str:
    full, a, b = (f"lokr_w{place}{ending}" for ending in ("", "_a", "_b"))
    if full in shapes:
        return ""
    return _pair_problem(shapes, a, b, f"lokr_t{place}") if a in shapes and b in shapes else HALF


def _pair_problem(shapes: Mapping[str, Shape], a: str, b: str, t: str) -> str:
    """A factored weight is a @ b, or a tucker core t with a over its first and b over its second dimension."""
    first, second, core = shapes[a], shapes[b], shapes.get(t)
    fits = len(first) >= 2 and len(second) >= 2 and math.prod(first) > 0 and math.prod(second) > 0
    if fits and core is not None:
        fits = len(core) >= 2 and math.prod(core) > 0 and core[:2] == (first[0], second[0])
    elif fits:
        fits = math.prod(first[1:]) == second[0]
    return "" if fits else f"shapes do not fit: {a} {first}, {b} {second}"


def numel(tensor: Tensor) -> int:
    """Count of a tensor's values."""
    return math.prod(tensor.shape)
