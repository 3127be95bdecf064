"""Learns what a launcher puts before every line of a log, instead of listing launchers.

A timestamp, a pod's or process' name, a rank, a level, a line number: such prefixes have one shape once digits,
levels, months and streams are taken as equal. What most lines of a stretch begin with alike, up to a delimiter, and
what holds no words of a training itself, is their prefix.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

WINDOW_LINES = 32
# A prefix is not longer than this; hostnames and names of pods are long.
MAX_PREFIX_CHARS = 200
_MOST_SHAPES = 8
# So far a line is read first: few share more.
_GLANCE_CHARS = 48
# With fewer lines of one shape than this share of a stretch, chance may have made it.
_MIN_SHARE, _MIN_LINES = 0.2, 3
# What could be the beginning of any text ("> ", "worker: ") must stand before nearly all lines.
_NEARLY_ALL = 0.9

_ESCAPE = re.compile(r"\x1b\[[0-9;]{0,20}m")
_TOKEN = re.compile(r"[^\W_]+|[^\S\n]+|[\W_]")
_LEVELS = "debug|info|warning|warn|error|err|critical|fatal|notice|trace"
_CLASSES = {
    "level": rf"(?i:{_LEVELS})",
    "calendar": "(?i:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun)",
    "stream": "std(?:out|err)",
    "part": "[FP]",
    "stamp": r"1\d{9}(?:\d{3}){0,3}",
    "number": r"(?=[^\W_]{0,40}\d)[^\W_]{1,64}",
    "blank": r"[^\S\n]{1,40}",
}
_KINDS = [(name, re.compile(pattern + r"\Z")) for name, pattern in _CLASSES.items() if name != "blank"]
# Words with which the text of a training begins: no prefix reaches into them.
_CONTENT = re.compile(
    r"Traceback \(|File \"|\^{3,}|~{3,}|[{\[(]?['\"]?\b(?:[\w/]*loss|lr|grad_norm|learning_rate)['\"]?\s?[:=]"
    r"|\b(?:global_)?[Ss]teps?\b|\b[Ee]pochs?\b|\d{1,3}%|\bTrain(?:ing)?\b:|\b[A-Z]\w*(?:Error|Exception|Interrupt)\b"
    r"|\b(?:[Cc]aching|[Ll]oading|[Dd]ownloading|[Ss]aving)\b|\{['\"]|\b[Nn]um\b|\bno such\b"
)
# Nothing of these is longer.
_LONGEST_CONTENT = 40
_CONTENT_SAMPLES = 3
# What shows that a line was written by a program that knew nothing of a prefix.
_LANDMARK = re.compile(
    r"Traceback \(most recent|\s*File \"|(?:\S.{0,60}: *)?\d{1,3}%\||\{['\"]|(?:\w+\.)*[A-Z]\w*(?:Error|Exception):"
    r"|\s+\S|\[?\d{4}-\d\d-\d\d|[\w ]{0,30}\bsteps?\b.{0,30}\bloss\b"
    r"|Epoch \d{1,9}/\d{1,9} +[^\s\w]{3}|\[ *\d+\.\d{6}\] |slurmstepd: |srun: |(?:Killed|Terminated|Aborted)$"
)
_DELIMITERS = frozenset(":>|)]}\"'")
# A bar that was painted over what stood before it.
_PAINTED = re.compile(r"\s*(?:[^|%\[\]]{0,60}: +|)\d{1,3}%\|")
# The same where nothing can have painted over a prefix.
_UNPAINTED = re.compile(r"Traceback \(most recent|\s*File \"|\{['\"]|(?:\w+\.)*[A-Z]\w*(?:Error|Exception):")
# What is left when a logger's own time was taken for a prefix.
_OWN_LEVEL = re.compile(rf"\W{{0,3}}(?:\d[\d:.,]{{0,20}}\W{{1,3}})?(?i:{_LEVELS})\b")
# A time, or a tag in brackets: nothing else than a prefix begins so line after line.
_TIME = re.compile(
    r"^(?:blank )?stamp (?:\. (?:number|stamp) )?(?:blank|:)|(?:number [-:/.T,]+ ){2}number|calendar blank number"
)
_TAG = re.compile(
    r"^(?:blank )?(?:\[ .* \]|\( .* \)|\{ .* \}|< .* >|number (?:blank )?[:|\t)>]|(?:(?!\| )\S+ ){1,9}blank \| blank)"
)

Shape = tuple[str, ...]


class Prefixes:
    """The prefixes known of one log; grows while the log is read."""

    def __init__(self) -> None:
        self.pattern_text = ""
        self._shapes: dict[Shape, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def learn(self, lines: Iterable[str], *, may_be_plain: bool = False) -> bool:
        """Look at a stretch of lines; whether it taught a prefix that was not known.

        Args:
            lines: In order.
            may_be_plain: Whether the stretch stands for the whole log, so that words or blanks before all of its
                lines are a prefix, too.
        """
        said = [line[:MAX_PREFIX_CHARS] for line in lines if line.strip()]
        heads = [line for line in said if "%|" not in line or not _PAINTED.match(line)]
        shapes = _shapes_of(heads, may_be_plain)
        if not shapes and len(heads) < _MIN_LINES:
            shapes = _shapes_of(said, may_be_plain)
        known = dict(self._shapes)
        for shape, blank in shapes.items():
            if shape in known or len(self._shapes) < _MOST_SHAPES:
                self._shapes[shape] = _common([blank, known.get(shape, blank)])
        if self._shapes == known:
            return False
        longest_first = sorted(self._shapes, key=len, reverse=True)
        self.pattern_text = "|".join(_regex(shape, self._shapes[shape]) for shape in longest_first)
        self._pattern = re.compile(self.pattern_text)
        return True

    def length(self, line: str) -> int:
        """How many characters of a line are its prefix."""
        match = self._pattern.match(line) if self._pattern else None
        return match.end() if match else 0

    def cut(self, line: str) -> str:
        """The line without its prefix."""
        return line[self.length(line) :]


def without_prefixes(lines: Sequence[str]) -> list[str]:
    """The lines of a log without what a launcher put before each."""
    cut = _without_prefixes(lines)
    # A launcher within a launcher.
    return cut if cut == lines else _without_prefixes(cut)


def _without_prefixes(lines: Sequence[str]) -> list[str]:
    prefixes = Prefixes()
    for start in range(0, len(lines), WINDOW_LINES if len(lines) <= 4 * WINDOW_LINES else 4 * WINDOW_LINES):
        prefixes.learn(lines[start : start + WINDOW_LINES], may_be_plain=len(lines) <= WINDOW_LINES)
    if len(lines) > WINDOW_LINES:
        prefixes.learn(lines[-WINDOW_LINES:])
        prefixes.learn(lines[:: len(lines) // WINDOW_LINES], may_be_plain=True)
    return [prefixes.cut(line) for line in lines] if prefixes else list(lines)


def _shapes_of(lines: Sequence[str], may_be_plain: bool) -> dict[Shape, str]:
    """The shapes that prefixes of these lines have, each with the blanks that end it."""
    found: dict[Shape, str] = {}
    fewest = min(len(lines), max(_MIN_LINES, _MIN_SHARE * len(lines)))
    left = _read(lines, fewest, _GLANCE_CHARS)
    while len(left) >= min(_MIN_LINES, len(lines)) and left:
        shape, members = _commonest(left)
        if shape and any(len(each.tokens) <= len(shape) and len(each.text) > _GLANCE_CHARS for each in members):
            left = _read([each.line for each in left], fewest, MAX_PREFIX_CHARS + 1)
            shape, members = _commonest(left)
        if not shape or len(members) < fewest:
            break
        taken = {id(each) for each in members}
        left = [each for each in left if id(each) not in taken]
        if kept := _trimmed(shape, members, len(lines), [each.line for each in left], may_be_plain):
            found[kept[0]] = kept[1]
    return found


class _Line(NamedTuple):
    """A line, its text without colours, and how that begins; no tokens where too few others begin alike."""

    line: str
    text: str
    tokens: list[str]


def _read(lines: Sequence[str], fewest: float, most_chars: int) -> list[_Line]:
    # An empty line has lost the blank that ends its prefix.
    texts = [_ESCAPE.sub("", line) if "\x1b" in line else line for line in lines]
    texts = [text if text.endswith(" ") else f"{text} " for text in texts]
    firsts = [_kind(match[0]) if (match := _TOKEN.match(text)) else "" for text in texts]
    count = Counter(firsts)
    return [
        _Line(line, text, _tokens(text, most_chars) if count[first] >= fewest else [])
        for line, text, first in zip(lines, texts, firsts, strict=True)
    ]


def _tokens(text: str, most_chars: int) -> list[str]:
    """The tokens of the first ``most_chars``; one that they cut is left out."""
    tokens = _TOKEN.findall(text, 0, most_chars)
    return tokens[:-1] if len(text) > most_chars else tokens


@lru_cache(maxsize=8_192)
def _kind(token: str) -> str:
    if token.isspace():
        return "blank"
    return next((name for name, pattern in _KINDS if pattern.match(token)), token)


def _commonest(left: list[_Line]) -> tuple[Shape, list[_Line]]:
    """The longest beginning that the largest group shares; a group may lose a tenth of its lines per token."""
    kinds = Counter(_kind(tokens[0]) for _, _, tokens in left if tokens)
    if not kinds or (most := kinds.most_common(1)[0])[1] < _MIN_SHARE * len(left):
        return (), left
    shape: list[str] = []
    members, kind = left, most[0]
    while True:
        at = len(shape)
        if at:
            kind = next((_kind(tokens[at]) for _, _, tokens in members if len(tokens) > at), "")
        kept = _alike(members, at, kind) if kind else []
        if at and len(kept) < _NEARLY_ALL * len(members):
            # The first line may be one of the tenth.
            kinds = Counter(_kind(tokens[at]) for _, _, tokens in members if len(tokens) > at)
            if not kinds or (most := kinds.most_common(1)[0])[1] < _NEARLY_ALL * len(members):
                return tuple(shape), members
            kind, kept = most[0], _alike(members, at, most[0])
        members = kept
        shape.append(kind)


def _alike(members: list[_Line], at: int, kind: str) -> list[_Line]:
    return [each for each in members if len(each.tokens) > at and _kind(each.tokens[at]) == kind]


def _trimmed(
    shape: Shape, members: list[_Line], count: int, others: list[str], may_be_plain: bool
) -> tuple[Shape, str] | None:
    """The part of a common beginning that is a prefix, and the blanks it ends with."""
    most = count if may_be_plain else 1 << 40
    if not _may_be_prefix(shape, len(members), most):
        return None
    # Their beginnings are alike: some tell of all.
    some = members[:: -(-len(members) // _CONTENT_SAMPLES)]
    length, most_length = len(shape), len(shape) + 1
    while length := _delimited(shape, length):
        kept = shape[:length]
        if _may_be_prefix(kept, len(members), most):
            last = [each.tokens[length - 1] for each in members]
            blank = _common(last) if kept[-1] == "blank" else ""
            # A level that is padded to a column is a logger's own.
            is_padded = kept[-2:] == ("level", "blank") and len({*last}) > 1
            if not is_padded and _is_prefix(kept, members, len(blank), others, most):
                most_length = min(most_length, *(_content_at(each, length) for each in some))
                if length <= most_length:
                    return kept, blank
        length = min(length - 1, most_length)
    return None


def _may_be_prefix(shape: Shape, lines: int, count: int) -> bool:
    """Whether a shape is that of a prefix, or stands before so many lines that it may be one whatever it is."""
    return "level" in shape or lines >= _NEARLY_ALL * count or bool(_marked(shape))


@lru_cache(maxsize=1_024)
def _marked(shape: Shape) -> re.Match[str] | None:
    text = " ".join(shape)
    return _TIME.search(text) or _TAG.match(text)


def _is_prefix(shape: Shape, members: list[_Line], blanks: int, others: list[str], count: int) -> bool:
    """Whether a common beginning was put there by a launcher.

    A level belongs to the program's own log, unless lines that no logger writes have it, too, and none lacks it.

    Args:
        shape: The common beginning.
        members: The lines that have it.
        blanks: How many blanks at its end are part of it.
        others: The lines that do not have it.
        count: How many lines there are.
    """
    at = len(shape) - 1
    ends = [sum(map(len, each.tokens[:at])) + (blanks or len(each.tokens[at])) for each in members]
    rests = [each.text[end:] for each, end in zip(members, ends, strict=True)]
    own = sum(map(bool, map(_OWN_LEVEL.match, rests)))
    if own > len(rests) / 4 and not any(map(_UNPAINTED.match, rests)):
        return False
    has_level, marked, is_all = "level" in shape, _marked(shape), len(rests) >= count
    if len(rests) >= _MIN_LINES and not has_level and marked:
        return True
    # A line that is nothing but the prefix was empty when the program wrote it; a logger has many levels.
    levels = {each.tokens[place] for place in range(at + 1) if shape[place] == "level" for each in members}
    has_empty = len(levels) < 2 and not all(map(str.strip, rests))
    if len(rests) < _MIN_LINES:  # so few lines may begin alike by chance
        starts = _is_only_time(shape)
        is_sure = is_all and bool(marked or has_empty)
        return (starts and not has_level) or (is_sure and _is_proven(rests, others))
    if shape == ("blank",) and not is_all:
        return False  # indented lines are common, an indented log has no others
    is_everywhere = len(rests) >= _NEARLY_ALL * count
    return (has_empty and is_all) or ((is_everywhere or has_level) and _is_proven(rests, others))


def _is_only_time(shape: Shape) -> bool:
    """Whether a shape is a time and no word besides: words of a few lines are alike by chance."""
    text = " ".join(shape)
    time = _TIME.search(text)
    if time is None or time.start() > len("blank [ "):
        return False
    return all(kind in _CLASSES or not kind[0].isalpha() for kind in text[time.end() :].split())


def _is_proven(rests: list[str], others: list[str]) -> bool:
    """Whether a line that no logger writes follows the common beginning, and none stands without it."""
    return any(map(_LANDMARK.match, rests)) and not any(map(_UNPAINTED.match, others))


def _delimited(shape: Shape, most: int) -> int:
    """How many tokens, ``most`` at most, reach to a delimiter with no bracket left open."""
    for length in range(most, 0, -1):
        last, kept = shape[length - 1], shape[:length]
        following = shape[length : length + 1]
        # "09:37:" is half of a time.
        ends = last == "blank" or (last in _DELIMITERS and following not in {("blank",), ("number",)})
        if ends and all(kept.count(left) <= kept.count(right) for left, right in ("[]", "()", "{}")):
            return length
    return 0


def _content_at(line: _Line, most: int) -> int:
    """How many of the first ``most`` tokens stand before the text of the training itself."""
    width = sum(map(len, line.tokens[:most]))
    match = _CONTENT.search(line.text, 0, width + _LONGEST_CONTENT)
    if match is None or match.start() >= width:
        return most
    left = match.start()
    for number, token in enumerate(line.tokens):
        if left < len(token):
            return number
        left -= len(token)
    return most


def _common(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    first, last = min(texts), max(texts)
    same = next((at for at, (left, right) in enumerate(zip(first, last, strict=False)) if left != right), len(first))
    return first[:same]


def _regex(shape: Shape, blank: str) -> str:
    inner = shape[:-1] if blank else shape
    colour = r"(?:\x1b\[[0-9;]{0,20}m){0,4}"
    parts = [_CLASSES.get(kind) or re.escape(kind) for kind in inner]
    end = rf"(?:{re.escape(blank)}|(?=[\r\n]|\Z))" if blank else ""
    return colour + colour.join([*parts, end])
