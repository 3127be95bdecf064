"""The one reader of progress bars: what tqdm paints, and which bars are the training.

A frame starts at a carriage return or a line start and has no end of its own; log text can follow directly. The bar
itself may be missing (Colab), and so may the description. Formats: sd-scripts, diffusers, ai-toolkit, OneTrainer,
SimpleTuner, the Hugging Face Trainer and what is built on it, torchtune, Lightning.
"""

import re
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

# From the percent sign on: |bar| done/total [elapsed<left, rate, postfix]
# Counts and blanks are bounded: a log may contain anything.
_BAR = (
    rb"%(?:\|[^|\r\n]{0,500}\|)?[ \t]{0,4}(\d{1,12})/(\d{1,12}) ?"
    rb"\[([\d:?]{1,12})<[^,\]]{0,20}(?:,[ ]{1,8}([^,\]]{1,40}))?([^\]]*)\]"
)
_AFTER_PERCENT = re.compile(_BAR)
# The same from the start of a segment, where no bar or percent sign comes first; this is quick.
_FRAME = re.compile(rb"([^%|\r\n]{0,300})" + _BAR)
# transformers in a notebook: [ 10/500 00:30 < 25:00, 0.33 it/s, Epoch 0.02/1]
# The same groups in both: done, total, elapsed, rate, postfix.
_NOTEBOOK = re.compile(
    rb"\[ {0,8}(\d{1,12})/(\d{1,12}) ([\d:]{1,12}) < [\d:?]{1,12}"
    rb"(?:, ([\d.?]{1,12} ?(?:it/s|s/it)))?(, Epoch [\d./]{1,30})?\]"
)
# A bar without a total: 12it [00:10, 1.2it/s]
# Lightning with rich: Epoch 3/9  ━━━━━━╸━━━━ 40/100 0:00:12 • 0:00:20 3.21it/s; epochs count from 0 to the last.
_RICH = re.compile(
    rb"\s{0,8}Epoch (\d{1,9})/(\d{1,9}) {1,4}[^\s\d]{3,500}(?: [^\s\d]{1,500})? {1,4}(\d{1,12})/(\d{1,12}) "
    rb"(\d[\d:]{1,11}) [^\s\d]{1,4} [-\d:]{1,12}(?: {1,4}([\d.]{1,12}it/s))?"
)
# A notebook's that lost bar and percentage:   120/1200 [00:10<01:40, 10.75it/s, loss=0.11]
_BARE = re.compile(
    rb"(?<![\d/.])(\d{1,12})/(\d{1,12}) \[([\d:]{4,12})<[\d:?]{1,12},[ ]{1,8}([^,\]]{0,30}(?:it/s|s/it))([^\]]*)\]"
)
_COUNT = re.compile(rb"(?<!\S)\d{1,12}it \[[^\]\r\n]*\]")
_WRAPPER = re.compile(rb"(?:\[[\w.:/ -]{1,40}\]:? ?|[\w.-]{1,40} +\| )")
# Such as a launcher's and a rank's before one line.
_MOST_WRAPPERS = 3
_ESCAPE = re.compile(rb"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]?|\x1b\][^\x07\x1b\r\n]{0,4096}(?:\x07|\x1b\\)")
_SIMPLETUNER = re.compile(rb"Epoch (\d{1,9})/(\d{1,9}),? Steps\Z")
_EPOCH_BAR = re.compile(rb"(?:Training )?[Ee]poch[ :]{0,2}(\d{1,9})(?: ?(?:/|of) ?(\d{1,9}))?\Z")
_TORCHTUNE = re.compile(rb"\d{1,9}\|(\d{1,12})\|Loss: ?([^\s|]{1,40})\Z")
# A loss that a script writes before its bar: "Epoch 1, Step 0, Loss: 0.97:   1%|".
_NAMED_LOSS = re.compile(rb"(?:(.{0,120})[\s,|(])?[Ll]oss[:=] {0,2}([\d.][\d.e+-]{0,20}|nan|-?inf)\)?\Z")
_NUMBERED = re.compile(rb"[Ee]poch[ :]{0,2}(\d{1,9})(?: ?(?:/|of) ?(\d{1,9}))?[\s,|:-]*\Z")
_LOSS = re.compile(rb"(?:^|,) *(?:avr_|step_|train_|train/)?loss(?:_step)?=([^,\s]+)")
# The postfix of a bar whose first loss is the one that counts, as _LOSS finds it.
_POSTFIX_WITH_LOSS = (
    rb"((?:, [^,\]=]{1,20}=[^,\]=]{0,40}){0,6}?"
    rb", (?:avr_|step_|train_|train/)?loss(?:_step)?=([\d.]{1,20})(?:, [^\]]*)?)"
)
# ai-toolkit's: it paints the loss of a step before it counts that step.
EARLY_LOSS = re.compile(rb", *lr: \S+ loss: (\S+)")
_LONGEST_DESCRIPTION = 400
_RATE = re.compile(rb"(?P<value>\d+(?:\.\d+)?) ?(?P<unit>s/\w{1,12}|\w{1,12}/s)\Z")
# What bars count that are not the training, in the words of trainers and libraries.
_HELPER = re.compile(
    rb"(?i)cach|load|fetch|\bmap\b|filter|sampl|valid|eval|generat|token|process|encod|\bread|check|inspect|resolv|"
    rb"patch|sav(?:e|ing)|creat|build|import|\bsize|bucket|extract|convert|quant|mov(?:e|ing)|shard|predict|test|"
    rb"sanity|class images|inference|denois|timestep|prepar|comput|scan|index|pack|group|format|cop(?:y|ies)|fus[ei]"
)


class BarKind(Enum):
    """What a bar counts."""

    STEPS = "steps of the whole training"
    EPOCH_STEPS = "steps of this epoch"
    EPOCHS = "epochs"
    HELPER = "something else, as its name says"
    OTHER = "anything"


_KINDS = {
    b"steps": BarKind.STEPS,
    b"Steps": BarKind.STEPS,
    b"Train": BarKind.STEPS,
    b"train": BarKind.STEPS,
    b"Training": BarKind.STEPS,
    b"training": BarKind.STEPS,
    b"Training steps": BarKind.STEPS,
    b"step": BarKind.EPOCH_STEPS,
    b"epoch": BarKind.EPOCHS,
    b"Epochs": BarKind.EPOCHS,
}
DESCRIBED_BARS = frozenset(_KINDS)
# Bars of the trainers' samplers: ai-toolkit, OneTrainer.
SAMPLING_BARS = frozenset({b"Generating Images", b"sampling"})


class BarFrame(NamedTuple):
    """One repaint of a bar; a tuple, because there are very many of them.

    Attributes:
        description: What stands before the percentage; empty for a bar without a name.
        elapsed: As printed: ``00:12``.
        rate: As printed: ``1.93it/s``, ``21.47s/it`` or ``?it/s``; may be empty.
        postfix: What stands behind the rate.
        loss: The loss as printed, None when there is none.
        rest: Log text glued to the frame.
        epoch, epochs: Where the description tells.
    """

    kind: BarKind
    description: bytes
    done: int
    total: int
    elapsed: bytes
    rate: bytes
    postfix: bytes
    loss: bytes | None
    rest: bytes
    epoch: int | None = None
    epochs: int | None = None

    @property
    def seconds_per_step(self) -> float | None:
        """The printed rate in seconds, None for ``?it/s``."""
        return seconds_of(self.rate)


def seconds_of(rate: bytes) -> float | None:
    """Seconds per step of a rate as printed, None for ``?it/s``."""
    match = _RATE.search(rate)
    if match is None:
        return None
    value = float(match["value"])
    if match["unit"].startswith(b"s/"):
        return value
    return 1 / value if value > 0 else None


@lru_cache(maxsize=32)
def repaint_of(description: bytes, total: int) -> re.Pattern[bytes]:
    """What paints one bar with a loss again, as a whole segment; finds done, rate, postfix, loss.

    Nearly all of a long log are such frames, and knowing the bar makes reading them twice as fast.
    """
    name = re.escape(description) + b": " if description else b""
    counts = rb" {0,3}\d{1,3}%\|[^|]{0,500}\| {0,12}(\d{1,12})/" + str(total).encode()
    times = rb" \[[\d:?]{1,12}<[^,\]]{0,20}, {1,8}([^,\]]{1,40})"
    return re.compile(name + counts + times + _POSTFIX_WITH_LOSS + rb"\]\r")


def without_escapes(segment: bytes) -> bytes:
    """The bytes without colours, moves and links."""
    return _ESCAPE.sub(b"", segment) if b"\x1b" in segment else segment


def bar_spans(line: bytes) -> list[tuple[int, int, re.Match[bytes] | None]]:
    """Where bars stand in a line, percentage included, and what they say; None for one without a total."""
    found: list[tuple[int, int, re.Match[bytes] | None]] = []
    at = line.find(b"%")
    while at >= 0:
        if bar := _bar_at(line, at):
            found.append((bar[0], bar[1].end(), bar[1]))
        at = line.find(b"%", bar[1].end() if bar else at + 1)
    if b" < " in line:
        found += [(match.start(), match.end(), match) for match in _NOTEBOOK.finditer(line)]
    if not found and b"<" in line:
        found += [(match.start(), match.end(), match) for match in _BARE.finditer(line)]
    if b"it [" in line:
        found += [(match.start(), match.end(), None) for match in _COUNT.finditer(line)]
    return sorted(found, key=lambda span: span[0]) if len(found) > 1 else found


def parse_frame(segment: bytes) -> BarFrame | None:
    """The first frame in a segment between carriage returns or line feeds; escapes are gone already."""
    if b"%" not in segment and not (b"<" in segment and b"it" in segment):
        return None
    match = _FRAME.match(segment)
    if match is not None:
        head, done, total, elapsed, rate, postfix = match.groups(b"")
        name = head.rstrip(b"0123456789")
        if len(head) - len(name) > 3:
            return None
    if match is None or len(head) == len(name):
        bar = _first_bar(segment)
        if bar is None:
            return None
        match, name = bar[1], b"steps" if bar[1].re is _NOTEBOOK else segment[: bar[0]]
        done, total, elapsed, rate, postfix = match.groups(b"")
    kind, description, loss, epoch, epochs = _described(name.strip(b" \t:"))
    if postfix and loss is None:
        if found := _LOSS.search(postfix):
            loss = found[1]
        elif found := EARLY_LOSS.match(postfix):
            loss, kind = found[1], BarKind.STEPS
    rest = segment[match.end() :]
    return BarFrame(kind, description, int(done), int(total), elapsed, rate, postfix, loss, rest, epoch, epochs)


def parse_rich_bar(text: bytes) -> BarFrame | None:
    """The bar that Lightning paints with rich."""
    match = _RICH.match(text)
    if match is None:
        return None
    epoch, last, done, total, elapsed, rate = match.groups(b"")
    numbers = {"done": int(done), "total": int(total), "epoch": int(epoch), "epochs": int(last) + 1}
    return BarFrame(
        kind=BarKind.EPOCH_STEPS,
        description=b"Epoch",
        elapsed=elapsed,
        rate=rate,
        postfix=b"",
        loss=None,
        rest=text[match.end() :],
        **numbers,
    )


def _first_bar(segment: bytes) -> tuple[int, re.Match[bytes]] | None:
    """The first bar of a segment, wherever its description ends."""
    at = segment.find(b"%", 0, _LONGEST_DESCRIPTION)
    while at >= 0:
        if bar := _bar_at(segment, at):
            return bar
        at = segment.find(b"%", at + 1, _LONGEST_DESCRIPTION)
    if b" < " in segment and (match := _NOTEBOOK.search(segment, 0, _LONGEST_DESCRIPTION)):
        return match.start(), match
    if match := _BARE.search(segment, 0, _LONGEST_DESCRIPTION):
        return match.start(), match
    return None


def _bar_at(line: bytes, at: int) -> tuple[int, re.Match[bytes]] | None:
    """The bar whose percent sign stands there, and where its percentage starts."""
    match = _AFTER_PERCENT.match(line, at)
    if match is None or not line[at - 1 : at].isdigit():
        return None
    start = at - 1
    while start > at - 3 and line[start - 1 : start].isdigit():
        start -= 1
    return start, match


@lru_cache(maxsize=512)
def _described(description: bytes) -> tuple[BarKind, bytes, bytes | None, int | None, int | None]:
    """What a description says: kind, the description without wrappers, loss, epoch, epochs."""
    for _ in range(_MOST_WRAPPERS):
        wrapper = None if description in _KINDS else _WRAPPER.match(description)
        if wrapper is None:
            break
        description = description[wrapper.end() :].strip(b" \t:")
    if kind := _KINDS.get(description):
        return kind, description, None, None, None
    if match := _SIMPLETUNER.match(description):
        return BarKind.STEPS, description, None, int(match[1]), int(match[2])
    if match := _TORCHTUNE.match(description):
        return BarKind.STEPS, b"torchtune", match[2], None, None
    if match := _EPOCH_BAR.match(description):
        return BarKind.EPOCH_STEPS, description, None, int(match[1]), int(match[2]) if match[2] else None
    if _HELPER.search(description):
        return BarKind.HELPER, description, None, None, None
    if match := _NAMED_LOSS.match(description):
        if epoch := _NUMBERED.match(match[1] or b""):
            return BarKind.EPOCH_STEPS, b"loss", match[2], int(epoch[1]), int(epoch[2]) if epoch[2] else None
        return BarKind.OTHER, b"loss", match[2], None, None
    return BarKind.OTHER, description, None, None, None
