"""The one reader of ``key: value`` facts that trainers print without a bar.

``{'loss': 1.2, 'learning_rate': '1e-05', 'epoch': 0.02}`` and JSON lines of the Hugging Face family,
``steps: 20 loss: 0.18 iter time (s): 4.5`` of DeepSpeed, ``Step 12 | loss:1.2 lr:2e-05`` of torchtune,
``Epoch [1/3], Step [10/100], Loss: 0.5`` of many scripts.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_FACT = re.compile(
    rb"(?P<key>[A-Za-z](?:[\w./-]|[ ](?=[\w(])|\([a-z]{1,3}\)){0,40})['\"]?[ ]{0,2}[:=][ ]{0,2}['\"]?\[?"
    rb"(?P<value>[-+]?(?:\d[\d,]{0,14}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,3})?|(?i:nan|inf(?:inity)?)\b))"
    rb"(?:/(?P<total>\d{1,12}))?"
)
_STEP_OF = re.compile(
    rb"\b(?i:step|iter|iteration)s?[ :#]{0,9}[\[(]?(?P<step>\d{1,12})(?: ?(?:/|of) {0,9}(?P<total>\d{1,12}))?"
)
_NAMES = {
    "loss": b"loss|train_loss|train loss|training loss|training_loss|avr_loss|avg_loss|step_loss|lm loss|train/loss|"
    b"loss/train|mean_loss|average loss|avg loss|total_loss",
    "step": b"step|steps|global_step|global step|iteration|iter|train_step|global_step/max_steps|current_step",
    "learning_rate": b"lr|learning_rate|learning rate|train/learning_rate",
    "grad_norm": b"grad_norm|grad norm|gradient norm|gradient_norm|train/grad_norm|global_grad_norm",
    "validation_loss": b"eval_loss|val_loss|valid_loss|validation_loss|validation loss|val loss|eval/loss|val/loss|"
    b"loss/val|loss/validation",
    "seconds": b"iter time (s)|step_time|step time|time per step",
    "runtime": b"train_runtime",
    "rate": b"train_steps_per_second",
}
_BY_KEY = {key: name for name, keys in _NAMES.items() for key in keys.split(b"|")}


class Facts(NamedTuple):
    """What one line says of the training; ``loss`` as printed."""

    loss: bytes | None = None
    step: int | None = None
    total: int | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    validation_loss: float | None = None
    seconds: float | None = None
    is_summary: bool = False
    counted_steps: int | None = None


def read_facts(text: bytes) -> Facts | None:
    """The facts of a line; None when it states neither a step with its rate nor a loss."""
    found: dict[str, bytes] = {}
    total: bytes | None = None
    for match in _FACT.finditer(text, 0, 2_000):
        name = _BY_KEY.get(match["key"].strip().lower())
        if name and name not in found:
            found[name] = match["value"].rstrip(b",").replace(b",", b"")
            total = match["total"] if name == "step" else total
    if "step" not in found and (counted := _STEP_OF.search(text, 0, 2_000)):
        found["step"] = counted["step"]
        total = counted["total"]
    if not {"loss", "validation_loss"} & found.keys() and not ("step" in found and "learning_rate" in found):
        return None
    return Facts(
        loss=found.get("loss"),
        step=_whole(found.get("step")),
        total=_whole(total),
        learning_rate=number(found.get("learning_rate")),
        grad_norm=number(found.get("grad_norm")),
        validation_loss=number(found.get("validation_loss")),
        seconds=number(found.get("seconds")),
        is_summary="runtime" in found,
        counted_steps=_counted(number(found.get("runtime")), number(found.get("rate"))),
    )


def _counted(seconds: float | None, per_second: float | None) -> int | None:
    """How many steps a runtime and a rate with three decimals come to, where that is sure to a step."""
    if not seconds or not per_second or seconds * 0.0005 >= 0.5:
        return None
    return round(seconds * per_second)


@lru_cache(maxsize=256)
def number(printed: bytes | None) -> float | None:
    """A printed number."""
    try:
        return None if printed is None else float(printed)
    except ValueError:
        return None


def _whole(printed: bytes | None) -> int | None:
    value = number(printed)
    return int(value) if value is not None and 0 <= value < 1e12 and value == int(value) else None
