"""What a person should know before using a LoRA: where its metadata contradict its tensors, what is uncertain."""

from collections.abc import Iterable, Mapping

from lib.artifacts.lora.adapter_config import number, parsed_object
from lib.artifacts.lora.file import LoraFile
from lib.artifacts.lora.kinds import family_contradiction
from lib.artifacts.lora.metadata import said
from lib.artifacts.lora.modules import (
    FROM_NOTHING,
    FROM_TENSOR,
    MEANINGLESS,
    NOT_A_NUMBER,
    NOT_READ,
    NOT_READ_METADATA,
    SCALED,
    Module,
)


def remarks_on(lora: LoraFile, modules: Mapping[str, Module] | None = None) -> list[str]:
    """Plain sentences, most important first.

    Args:
        lora: The file.
        modules: Its modules with alphas that were read later; else those of ``lora``.
    """
    known = list((modules or lora.modules).values())
    found = [
        *_problems(known),
        *_unknown_alphas(known, lora.metadata),
        _uncertain_scale(known, lora.metadata),
        *_rank_contradictions(lora, known),
        _alpha_contradiction(known, lora.metadata),
        family_contradiction(lora.metadata, lora.modules) if lora.is_lora else "",
        _dora(known),
    ]
    return [sentence for sentence in found if sentence]


def _problems(modules: Iterable[Module]) -> Iterable[str]:
    broken = [each for each in modules if each.problem]
    if broken:
        yield f"{_modules(len(broken))} cannot work, as {broken[0].name}: {broken[0].problem}."


def _unknown_alphas(modules: Iterable[Module], metadata: Mapping[str, str]) -> Iterable[str]:
    modules = list(modules)
    absent = sum(each.alpha_from == FROM_NOTHING for each in modules)
    if absent:
        yield f"The alpha of {_modules(absent)} is unknown: the file holds none. Loaders then use scale 1."
        alpha = number(said(metadata, "ss_network_alpha"))
        onetrainer = number(parsed_object(metadata.get("ot_config", "")).get("lora_alpha"))
        for name, value in (("ss_network_alpha", alpha), ("ot_config.lora_alpha", onetrainer)):
            if value is not None:
                yield f"{name} says {value:g}, but loaders do not read it; it may be part of the weights already."
    if any(each.alpha_from == "lora_adapter_metadata" and each.scale != 1 for each in modules):
        yield "Alpha stands only in lora_adapter_metadata: loaders that do not read it use scale 1."
    if any(each.alpha_from == "adapter_config.json" and each.scale != 1 for each in modules):
        yield "Alpha stands only in adapter_config.json: without that file, loaders use scale 1."
    unread = sum(each.alpha_from in (NOT_READ, NOT_READ_METADATA) for each in modules)
    if unread:
        yield f"The alpha tensors of {_modules(unread)} were not read: they lie among the weights. Norms read them."
    if any(each.alpha == 0 and each.kind in SCALED for each in modules):
        yield "Alpha is 0: ComfyUI and A1111 then scale the LoRA by 0, sd-scripts by 1."
    if count := sum(each.alpha_from == NOT_A_NUMBER for each in modules):
        yield f"The alpha of {_modules(count)} is not a number."


def _uncertain_scale(modules: Iterable[Module], metadata: Mapping[str, str]) -> str:
    dim = number(said(metadata, "ss_network_dim"))
    unsure = [each for each in modules if each.alpha_from == MEANINGLESS and dim is not None and each.alpha != dim]
    if not unsure:
        return ""
    return (
        f"The scale of {_modules(len(unsure))} is not certain: both LoKr factors are stored whole and alpha is "
        f"{unsure[0].alpha:g}, not the rank {dim:g}. ComfyUI and A1111 use scale 1."
    )


def _rank_contradictions(lora: LoraFile, modules: Iterable[Module]) -> Iterable[str]:
    ranked = [each for each in modules if each.rank is not None]
    dim = number(said(lora.metadata, "ss_network_dim"))
    if dim is not None and (others := sorted({each.rank or 0 for each in ranked} - {int(dim)})):
        yield _disagreement("ss_network_dim", "rank", dim, [str(each) for each in others], ranked, "rank")
    for component, config in lora.configs.items():
        others = sorted(
            {
                each.rank or 0
                for each in ranked
                if component in ("", each.component) and not config.ranks and each.rank != config.rank
            }
        )
        if config.rank is not None and others:
            yield _disagreement(f"{config.origin}", "rank", config.rank, [str(each) for each in others], ranked, "rank")


def _alpha_contradiction(modules: Iterable[Module], metadata: Mapping[str, str]) -> str:
    alpha = number(said(metadata, "ss_network_alpha"))
    scaled = [each for each in modules if each.alpha_from == FROM_TENSOR and each.kind in SCALED]
    others = sorted({each.alpha or 0.0 for each in scaled} - {alpha})
    if alpha is None or not others:
        return ""
    return _disagreement("ss_network_alpha", "alpha", alpha, [f"{each:g}" for each in others], scaled, "alpha")


def _disagreement(key: str, word: str, claimed: float, others: list[str], modules: list[Module], attribute: str) -> str:
    real = "; ".join(others[:6]) + (" …" if len(others) > 6 else "")
    count = sum(getattr(each, attribute) != claimed for each in modules)
    return f"{key} says {word} {claimed:g}; the tensors of {_modules(count)} say {real}. The tensors count."


def _dora(modules: Iterable[Module]) -> str:
    count = sum(each.layout.is_dora for each in modules)
    return f"{_modules(count)} use DoRA: norms are those of the low-rank part alone." if count else ""


def _modules(count: int) -> str:
    return "1 module" if count == 1 else f"{count:,} modules"
