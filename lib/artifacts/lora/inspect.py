"""Command line: what a LoRA file is and holds.

    uv run python -m lib.artifacts.lora.inspect FILE|URL [--norms] [--json]

FILE is a path; URL is http, https or s3://BUCKET/KEY (with the S3 settings of the dashboard). Exit status: 0 for any
whole safetensors file, 1 for a broken or unreadable one.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from lib.artifacts.lora.adapter_config import CONFIG_FILE, MAX_CONFIG_BYTES, AdapterConfig, config_of_file
from lib.artifacts.lora.byte_source import ByteSource, LocalBytes
from lib.artifacts.lora.far_bytes import StoredBytes
from lib.artifacts.lora.file import LoraFile, config_beside, count_by, read_lora
from lib.artifacts.lora.keys import family_of
from lib.artifacts.lora.metadata import (
    HASHES,
    said,
    setting_rows,
    tags_of,
    trained_words_of,
    training_settings_of,
)
from lib.artifacts.lora.norms import Norms, compute_norms
from lib.artifacts.lora.remarks import remarks_on
from lib.artifacts.lora.report import base_model_in
from lib.artifacts.lora.web_bytes import WebBytes
from lib.artifacts.object_store import ObjectStore
from lib.errors import ArtifactError, DashboardError
from lib.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description="Say what a LoRA file is and holds.")
    parser.add_argument("file", metavar="FILE|URL")
    parser.add_argument("--norms", action="store_true", help="read all weights: norms, NaN and Inf")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        with opened(options.file) as (source, config):
            lora = read_lora(source, config)
            norms = compute_norms(lora, source) if options.norms else None
    except (DashboardError, OSError) as error:
        sentence = f"The file cannot be read: {error.strerror}." if isinstance(error, OSError) else str(error)
        broken = {"is_lora": False, "kind": "not readable", "problems": {"file": sentence}}
        sys.stdout.write(f"{json.dumps(broken) if options.json else sentence}\n")
        return 1
    text = json.dumps(facts_of(lora, norms), allow_nan=False) if options.json else as_text(lora, norms)
    sys.stdout.write(f"{text}\n")
    return 0


@contextmanager
def opened(place: str) -> Iterator[tuple[ByteSource, AdapterConfig | None]]:
    """A file by its path or URL, with the ``adapter_config.json`` from beside it. Raises also OSError."""
    url = urlsplit(place)
    if url.scheme in ("http", "https"):
        beside = urlunsplit(url._replace(path=str(PurePosixPath(url.path).with_name(CONFIG_FILE))))
        yield WebBytes(place), _config_from(url.path, lambda: WebBytes(beside))
    elif url.scheme == "s3":
        settings = load_settings({**os.environ, "S3_BUCKET": url.netloc}).s3
        if settings is None:
            raise ArtifactError("There are no settings for the store.")
        with closing(ObjectStore(settings)) as store:
            key = url.path.lstrip("/")
            beside = str(PurePosixPath(key).with_name(CONFIG_FILE))
            yield StoredBytes(store, key), _config_from(key, lambda: StoredBytes(store, beside))
    else:
        with LocalBytes(Path(place)) as source:
            yield source, config_beside(Path(place))


def _config_from(path: str, beside: Callable[[], ByteSource]) -> AdapterConfig | None:
    if not PurePosixPath(path).name.startswith("adapter_model"):
        return None
    try:
        return config_of_file(beside().read(0, MAX_CONFIG_BYTES))
    except ArtifactError:
        return None


def facts_of(lora: LoraFile, norms: Norms | None = None) -> dict[str, Any]:
    """Everything known on a file as JSON values; what only norms tell is None without them."""
    if not lora.is_lora:
        return {"is_lora": False, "kind": lora.kind.value, "problems": {"file": f"It is {lora.kind}, not a LoRA."}}
    modules = list((norms.modules if norms else lora.modules).values())
    metadata, tensors = lora.metadata, lora.header.tensors
    words, tags = trained_words_of(metadata, tensors), tags_of(metadata)
    return {
        "is_lora": True,
        "kind": lora.kind.value,
        "format": lora.writer,
        "network_type": lora.network_type,
        "ranks": count_by(each.rank for each in modules),
        "alphas": count_by(each.alpha for each in modules),
        "alpha_from": count_by(each.alpha_from for each in modules),
        "scales": count_by(each.scale for each in modules),
        "dtypes": count_by(tensor.dtype for tensor in tensors.values()),
        "modules": count_by(each.component for each in modules),
        "modules_per_block": count_by(f"{each.component}/{each.block}" for each in modules),
        "parameters": lora.parameters,
        "size_bytes": lora.size_bytes,
        "base_model": base_model_in(lora),
        "family_from_keys": family_of(lora.modules),
        "trained_words": list(words[0].words) if words else [],
        "trained_words_from": words[0].origin if words else "none",
        "trained_words_by_place": [
            {"words": list(each.words), "from": each.origin, "proven": each.are_proven} for each in words
        ],
        "tags": {
            "distinct": len(tags.counts),
            "top": [list(each) for each in tags.top()],
            "unusable_entries": tags.unusable_entries,
            **({"note": tags.note} if tags.note else {}),
        },
        "training_settings": training_settings_of(metadata),
        "hashes": {key: value for key in HASHES if (value := said(metadata, key))},
        "session": said(metadata, "ss_session_id"),
        "nan_values": norms and norms.nan_values,
        "inf_values": norms and norms.inf_values,
        "norm_total": norms and norms.total,
        "norm_by_block": norms and dict(norms.by_block),
        "norm_by_component": norms and dict(norms.by_component),
        "problems": {each.name: each.problem for each in modules if each.problem},
        "remarks": remarks_on(lora, norms.modules if norms else None),
    }


def as_text(lora: LoraFile, norms: Norms | None) -> str:
    """The same for people: one fact a line."""
    facts = facts_of(lora, norms)
    if not lora.is_lora:
        return str(facts["problems"]["file"])
    base_model = {key: value for key, value in facts["base_model"].items() if key != "ss_v2"}
    lines = [
        ("Format", f"{facts['format']}, {facts['network_type']}"),
        ("Rank", _table(facts["ranks"])),
        ("Alpha", _table(facts["alphas"])),
        ("Alpha from", _table(facts["alpha_from"])),
        ("Scale", _table(facts["scales"])),
        ("Modules", _table(facts["modules"])),
        ("Parameters", f"{facts['parameters']:,} ({', '.join(facts['dtypes'])})"),
        ("Base model", "; ".join(f"{value} ({key})" for key, value in base_model.items()) or "not said"),
        ("Names are of", facts["family_from_keys"] or "not clear"),
        *(
            ("Trained words", f"{', '.join(each['words'])} ({each['from']})")
            for each in facts["trained_words_by_place"]
        ),
        ("Tags", ", ".join(f"{tag} {count}" for tag, count in facts["tags"]["top"]) or "none"),
        *((each.label, f"{each.value} {each.unit}".rstrip()) for each in setting_rows(lora.metadata)),
    ]
    if norms:
        total = "none" if norms.total is None else f"{norms.total:.6g}"
        lines += [("Norm", total), *((f"  {block}", f"{norm:.6g}") for block, norm in norms.by_block.items())]
        lines += [("NaN, Inf", f"{norms.nan_values}, {norms.inf_values}")]
    lines += [("Note", sentence) for sentence in facts["remarks"]]
    return "\n".join(f"{label}: {_one_line(text)}" for label, text in lines)


def _table(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({count} modules)" for value, count in counts.items())


def _one_line(text: str) -> str:
    """Foreign text without what could steer a terminal, and not longer than a screen."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return shown if len(shown) <= 500 else f"{shown[:500]}…"


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
