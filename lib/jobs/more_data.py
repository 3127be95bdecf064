"""The further datasets of a job, beside its main one: how often each counts, and which only regularise."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import SETTINGS
from lib.jobs.words import count_text

MOST_MORE_DATA = 20
MOST_TEXT_CHARS, MOST_NUMBER = 100_000, 1_000_000
_NO_LIST = "It is no list of datasets."
# As sd-scripts reads the names of folders: ``extract_dreambooth_params`` in library/config_util.py.
_KOHYA_FOLDER = re.compile(r"(?P<repeats>[0-9]{1,5})_(?P<words>.+)")
_REPEATS, _WORDS, _PREFIX = SETTINGS["repeats"], SETTINGS["class_tokens"], SETTINGS["caption_prefix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreData:
    """One further dataset.

    Attributes:
        name: What the dataset is called; empty where only its id is known.
        repeats: How often each of its images counts in an epoch.
        class_tokens: The words of an image that has no caption; empty for none.
        caption_prefix: Put before its captions; empty: that of the job, and of regularisation images none.
        is_regularisation: Its images keep what the base model knows of their kind; they are not what is learned.
    """

    dataset_id: str
    name: str = ""
    repeats: int = 1
    class_tokens: str = ""
    caption_prefix: str = ""
    is_regularisation: bool = False

    @property
    def text(self) -> str:
        """``dog, 5 repeats, "a dog", regularisation``."""
        parts = [
            self.name or self.dataset_id,
            count_text(self.repeats, "repeat", "repeats"),
            f'"{self.class_tokens}"' if self.class_tokens else "",
            f'prefix "{self.caption_prefix}"' if self.caption_prefix else "",
            "regularisation" if self.is_regularisation else "",
        ]
        return ", ".join(filter(None, parts))


def suggested(dataset: Dataset) -> MoreData:
    """A dataset as it is added: a name like a folder of kohya_ss, ``10_red fox``, says repeats and words.

    The words are for images that have no caption, and left out where all have one.
    """
    found = _KOHYA_FOLDER.fullmatch(dataset.name.strip())
    if not found or _REPEATS.problem(int(found["repeats"])):
        return MoreData(dataset_id=dataset.id)
    words = found["words"].strip() if dataset.uncaptioned else ""
    return MoreData(dataset_id=dataset.id, repeats=int(found["repeats"]), class_tokens=words)


def more_data_problem(main_id: str, more: Sequence[MoreData]) -> str:
    """What is wrong with the further datasets of a job, whatever its trainer is; empty when they are fine."""
    if len(more) > MOST_MORE_DATA:
        return f"A job takes at most {MOST_MORE_DATA} further datasets. Take some out."
    ids = [main_id, *(each.dataset_id for each in more)]
    twice = next((each for each in more if ids.count(each.dataset_id) > 1), None)
    if twice is not None:
        # sd-scripts counts a folder that is named twice only once.
        return f"The dataset {_called(twice)} is chosen twice. Take one out, or give it more repeats."
    for each in more:
        found = (
            _REPEATS.problem(each.repeats),
            _WORDS.problem(each.class_tokens),
            _PREFIX.problem(each.caption_prefix),
        )
        if problem := next(filter(None, found), ""):
            return f"{problem.rstrip('.')} (the further dataset {_called(each)})."
    return ""


def _called(more: MoreData) -> str:
    return repr((more.name or more.dataset_id)[:80])


def more_data_json(more: Sequence[MoreData]) -> str:
    """The further datasets as text, without what is as usual; empty for none."""
    usual = asdict(MoreData(dataset_id=""))
    kept = [{name: value for name, value in asdict(each).items() if value != usual[name]} for each in more]
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else ""


def more_data_from(text: str | None) -> tuple[MoreData, ...]:
    """The further datasets from text that ``more_data_json`` wrote; raises ValueError for any other.

    Names that only newer code knows are ignored. A number out of range is kept, so that a page can say what is wrong.
    """
    if not text:
        return ()
    if len(text) > MOST_TEXT_CHARS:
        raise ValueError(_NO_LIST)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(_NO_LIST) from error
    if not isinstance(found, list) or not all(isinstance(each, dict) and each.get("dataset_id") for each in found):
        raise ValueError(_NO_LIST)
    return tuple(map(_from_values, found))


def _from_values(values: Mapping[str, Any]) -> MoreData:
    repeats, is_regularisation = values.get("repeats", 1), values.get("is_regularisation", False)
    texts = [values.get(name, "") for name in ("dataset_id", "name", "class_tokens", "caption_prefix")]
    is_whole = isinstance(repeats, int) and not isinstance(repeats, bool) and abs(repeats) <= MOST_NUMBER
    if not is_whole or not isinstance(is_regularisation, bool) or not all(map(_is_text, texts)):
        raise ValueError(_NO_LIST)
    dataset_id, name, class_tokens, caption_prefix = texts
    return MoreData(
        dataset_id=dataset_id,
        name=name,
        repeats=repeats,
        class_tokens=class_tokens,
        caption_prefix=caption_prefix,
        is_regularisation=is_regularisation,
    )


def _is_text(value: Any) -> bool:
    """JSON can also say half a character, which no page can show."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def named(more: Iterable[MoreData], names: Mapping[str, str]) -> tuple[MoreData, ...]:
    """The further datasets with their names by id, where these are known."""
    return tuple(replace(each, name=names.get(each.dataset_id) or each.name) for each in more)
