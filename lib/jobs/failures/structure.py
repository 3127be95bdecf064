"""Where a training broke, and who raised the exception: what is said when no rule knows the words.

Nothing here claims to know a cause for certain.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lib.jobs.failures.causes import Cause
from lib.jobs.failures.tracebacks import Frame, Raised
from lib.jobs.job import Stage
from lib.jobs.logs.progress import ProgressParser

_PACKAGE = re.compile(r"(?:site|dist)-packages[\\/](?P<name>[A-Za-z]\w*)")
_STANDARD = re.compile(
    r"(?:^|[\\/])(?:lib[\\/])?(?:python3?(?:\.\d+)?|Python3\d+[\\/]lib)[\\/](?!.*-packages)[\w\\/]+\.py$|^<"
)
# What a function of the trainer or of a library does, when its name says so.
_PHASES = (
    (
        "sampling",
        re.compile(r"sample_image|^sample$|log_validation|generate_image|run_validation|sample_during|process_sample"),
    ),
    ("saving", re.compile(r"^(?:_?save_\w+|save|push_to_hub|upload\w*|on_save|log_artifact)$")),
    (
        "caching",
        re.compile(r"cache_(?:latents|text|batch|dataset)|new_cache|cache_all|vae_cache|cache_to_disk|_cache_"),
    ),
    ("evaluating", re.compile(r"^(?:evaluate|evaluation_loop|prediction_step|validation_step)$")),
    ("training", re.compile(r"backward|training_step|optimizer_step|clip_grad|train_batch|compute_loss")),
    (
        "loading",
        re.compile(r"^(?:from_pretrained|load_\w+|_load\w*|hf_hub_download|snapshot_download|from_single_file)$"),
    ),
)
_STAGE_PHASES = {
    Stage.QUEUED: "loading",
    Stage.LOADING_MODEL: "loading",
    Stage.CACHING_LATENTS: "caching",
    Stage.SAMPLING: "sampling",
    Stage.SAVING: "saving",
    Stage.UPLOADING: "uploading",
    Stage.FINISHED: "after the last step",
}
# A library that fits no longer: a name or an argument that it does not know, a version that it wants.
_MISMATCH = re.compile(
    r"^AttributeError: (?:partially initialized )?module '(?P<module>[\w.]+)' has no attribute"
    r"|^TypeError: [\w.<>]+\(\) (?:got an unexpected keyword argument|missing \d+ required"
    r"|takes (?:from )?\d+ (?:to \d+ )?positional)"
    r"|^(?:ImportError|RuntimeError): .*\b(?:requires|needs) (?P<needed>[\w-]+) ?(?:version )?[<>=~]"
    r"|numpy\.dtype size changed|numpy\.core\.multiarray failed|compiled using NumPy 1\.x"
    r"|(?:was|were) compiled (?:against|with) (?:a )?different|version mismatch"
    r"|\d\.\d.{0,80} (?:not |in)compatible with|(?:not |in)compatible with .{0,80}\d\.\d"
    r"|operator \w+::\w+ does not exist|your generated code is out of date"
)
_REFUSALS = frozenset({"ValueError", "AssertionError", "NotImplementedError", "Exception", "RuntimeError"})
_BUGS = frozenset({"NameError", "UnboundLocalError"})
_SYNTAX = frozenset({"SyntaxError", "IndentationError", "TabError"})
# Words about a setting: its name, and that it may not be so.
_SETTING = re.compile(r"--[a-z]\w+|\b[a-z]+_[a-z_]+\b|\b[a-z]+(?:_[a-z]+)+=|\b(?:option|argument|setting|config)\b")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z_]{2,}|\bargs\.[a-z_]{3,}")
# Libraries whose compiled part must fit PyTorch and CUDA.
_COMPILED = frozenset({"bitsandbytes", "xformers", "triton", "flash_attn"})
_FORBIDS = re.compile(
    r"(?i)\b(?:can(?:not|'t)|must|requires?d?|not (?:supported|allowed|valid|compatible)|unsupported|invalid"
    r"|minimum of|at least|unknown|unrecognized|incompatible|conflict|either|both|should be|expected one of"
    r"|is not in|mutually"
    r"|(?:can|may|is|are|be|supports?|works?) only"
    r"|only (?:support|work|allow|accept|available|possible|valid|be|one)\w*)\b"
)
# Functions that look at settings and at nothing else.
_CHECKS = re.compile(
    r"parse_arg|(?:check|verify|validate|assert|sanitize)_(?:\w*_)?(?:arg|config|setting|option|param)|^__post_init__$"
)
# What a library refuses is often a tensor, not a setting.
_TENSORS = re.compile(r"(?i)\btensors?\b|\bdimensions? \d|\bshapes?\b|\bmat1\b|\bsame device\b|\bdtype\b|\bstride")
# Nor is what the trainer finds amiss with its files.
_DATA = re.compile(r"(?i)\b(?:captions?|images?|videos?|frames?|tags?|latents?|files?|folders?|samples?|rows?)\b")
_ADVICE = re.compile(
    r"(?i)\b(?:downgrade|upgrade|reinstall|pip install|please|try |consider|make sure|you (?:can|should|need|must)|set "
    r"\W?\w+\W? ?(?:=|to)|use \W?--|run \W?\w+|https?://)"
)
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]?")
_JSON_READERS = (
    (Cause.NETWORK, re.compile(r"^(?:requests|httpx|aiohttp|urllib3|huggingface_hub|wandb)\b")),
    (Cause.BROKEN_MODEL, re.compile(r"^(?:transformers|diffusers|tokenizers|safetensors|peft)\b")),
    (Cause.BAD_ARGUMENT, re.compile(r"(?i)config|settings|\bargs|toml|yaml|^accelerate\b")),
)
# What the system answered, on Linux, on Windows and as Rust prints it.
_ERRNO = re.compile(
    r"\[(?P<system>Errno|WinError) (?P<number>\d{1,5})\]|\(os error (?P<rust>\d{1,5})\)|(?P<open>Too many open)"
)
_GONE = (
    "The disk or the network folder does not answer any more: see that it is still mounted, and that its device works."
)
_ERRNO_HINTS = {
    ("Errno", 5): _GONE,
    (
        "Errno",
        19,
    ): "This folder cannot be mapped into memory (as some network and shared folders): copy the file elsewhere.",
    ("Errno", 23): "Raise the limit of open files (ulimit -n), or use fewer data loader workers.",
    ("Errno", 24): "Raise the limit of open files (ulimit -n), or use fewer data loader workers.",
    ("Errno", 36): "The name of a file is too long: shorten the output name or the names in the dataset.",
    ("Errno", 103): _GONE,
    ("Errno", 107): _GONE,
    ("Errno", 116): _GONE,
    ("Errno", 121): _GONE,
    ("WinError", 21): _GONE,
    ("WinError", 59): _GONE,
    ("WinError", 64): _GONE,
    ("WinError", 206): "A path is too long for Windows: move the folders nearer to the root of the drive.",
    ("WinError", 1117): _GONE,
    ("WinError", 1450): "Windows ran out of resources: end other programs, or use fewer data loader workers.",
}
_LAYER_HINTS = {
    "bitsandbytes": "bitsandbytes does not fit this PyTorch or CUDA: install the one that fits, or choose an optimizer "
    "without it (AdamW instead of AdamW8bit).",
    "xformers": "xformers does not fit this PyTorch: install the one that fits, or train with sdpa instead.",
    "triton": "Triton does not fit this PyTorch or graphics card: install the one that fits, or turn compiling off.",
    "flash_attn": "flash-attention does not fit this PyTorch: install the one that fits, or train with sdpa instead.",
    "deepspeed": "DeepSpeed stopped: see that its version fits PyTorch, and that its configuration fits this machine.",
    "peft": "PEFT stopped: see that its version is the one that the trainer's requirements name.",
    "transformers": "transformers stopped: see that its version is the one that the trainer's requirements name.",
    "diffusers": "diffusers stopped: see that its version is the one that the trainer's requirements name.",
    "accelerate": "accelerate stopped: look at its configuration (accelerate config) and its options.",
    "datasets": "The library that reads the dataset stopped: look at the dataset's files and its description.",
    "PIL": "The library that reads images stopped: look at the images of the dataset.",
    "cv2": "The library that reads images stopped: look at the images of the dataset.",
    "safetensors": "A model file could not be read or written: look at the files named, and at the free space.",
    "wandb": "The report to Weights & Biases stopped the training: train without it (--log_with, report_to) to go on.",
    "torch": "PyTorch stopped: the traceback shows which call of the trainer it refused.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What structure tells of an exception that no rule knows."""

    cause: Cause
    message: str
    hint: str


def phase_of(text: str, frames: Sequence[Frame]) -> tuple[str, bool]:
    """What the training did when it broke, and whether a step was done.

    Args:
        text: The log up to there.
        frames: The traceback, outermost first.
    """
    parser = ProgressParser()
    parser.feed(text.encode("utf-8", "replace"), None)
    parser.finish()
    now = parser.progress
    did_step = bool(now.step)
    named = phase_of_frames(frames)
    if now.step is not None and named in {"", "training", "loading"}:
        stage = _STAGE_PHASES.get(Stage(now.stage or Stage.QUEUED), "")
        if now.step == now.total_steps:
            stage = stage or "after the last step"
        return (stage or f"step {now.step}"), did_step
    if now.stage == Stage.CACHING_LATENTS and named in {"loading", "saving"}:
        named = "caching"  # what is cached is loaded before and saved after
    if not named or named == "training":
        named = named or _STAGE_PHASES.get(Stage(now.stage or Stage.QUEUED), "loading")
    return named, did_step


def phase_of_frames(frames: Sequence[Frame]) -> str:
    """What the functions of a traceback do, as their names say; may be empty."""
    for phase, pattern in _PHASES:
        if any(pattern.search(frame.function) for frame in frames):
            return phase
    return ""


def raised_by(raised: Raised) -> str:
    """The package that raised an exception, or the trainer's own file and line; empty when nothing tells."""
    if not raised.frames:
        module = raised.name.partition(".")[0]
        return module if "." in raised.name and module.islower() else ""
    own = [frame for frame in raised.frames if not _STANDARD.search(frame.path)]
    if not own:
        return "Python"
    place = own[-1]
    if package := _PACKAGE.search(place.path):
        return package["name"]
    return f"{_file_name(place)}:{place.line}"


def _file_name(frame: Frame) -> str:
    return re.split(r"[\\/]", frame.path)[-1]


def is_own(raised: Raised) -> bool:
    """Whether a file of the trainer itself raised it, not a library."""
    return bool(raised.frames) and ".py:" in raised_by(raised)


def own_sentence(raised: Raised) -> str:
    """The exception's own words, the last sentence of a long message; its name where it has none."""
    kind = raised.name.rpartition(".")[2]
    text = " ".join(raised.message.split())
    if not text:
        return kind
    if len(text) > 240:
        sentences = [each.strip() for each in _SENTENCE.findall(raised.message) if each.strip()]
        text = " ".join((sentences[0] if sentences else text).split())[:240]
    return f"{kind}: {text}"


# transformers opens the files of a tokenizer that it did not find, offline or without a connection.
_NO_TOKENIZER = Guess(
    cause=Cause.MISSING_MODEL,
    message="A tokenizer that the trainer takes from the hub is not on this machine.",
    hint="Let the trainer download it once: start it with a connection and without HF_HUB_OFFLINE. sd-scripts looks "
    "for its tokenizers in tokenizer_cache_dir, where that is set.",
)


def guess(raised: Raised, phase: str, *, did_step: bool) -> Guess:
    """What to say of an exception that no rule knows."""
    if "not NoneType" in raised.message and any("tokenization" in frame.path for frame in raised.frames):
        return _NO_TOKENIZER
    who, kind = raised_by(raised), raised.name.rpartition(".")[2]
    place = f" in {who}" if who else ""
    when = {"": "", "loading": " while loading", "after the last step": " after the last step"}.get(
        phase, f" at {phase}" if phase.startswith("step ") else f" while {phase}"
    )
    message = f"The training broke{when}{place}: {own_sentence(raised)}"
    cause = _cause_of(raised, kind, did_step=did_step)
    return Guess(cause=cause, message=message, hint=advice(raised.message) or _hint_of(raised, kind, cause, who))


def _cause_of(raised: Raised, kind: str, *, did_step: bool) -> Cause:
    if kind == "JSONDecodeError":
        return _cause_of_json(raised)
    if _MISMATCH.search(raised.text[:2_000]):
        return Cause.LIBRARY_MISMATCH
    if kind in {"AttributeError", "NameError", "OSError"} and raised_by(raised) in _COMPILED:
        return Cause.LIBRARY_MISMATCH
    if kind in _BUGS and is_own(raised):
        return Cause.TRAINER_BUG
    may_refuse = not did_step and kind in _REFUSALS and _is_deliberate(raised)
    if may_refuse and any(_CHECKS.search(frame.function) for frame in raised.frames):
        return Cause.BAD_ARGUMENT
    is_refusal = may_refuse and refuses(raised.message)
    if is_refusal and _OPTION.search(raised.message):
        return Cause.BAD_ARGUMENT
    if not is_refusal or not is_own(raised):
        return Cause.UNKNOWN
    if _SETTING.search(raised.message):
        return Cause.BAD_ARGUMENT
    return Cause.UNKNOWN if _DATA.search(raised.message) else Cause.TRAINER_REFUSED


def _is_deliberate(raised: Raised) -> bool:
    """Whether the code that raised it says so, as far as the traceback shows code: ``int("x")`` refuses no setting."""
    code = raised.frames[-1].code if raised.frames else ""
    return not code or code.startswith(("raise", "assert", ")"))


def refuses(text: str) -> bool:
    """Whether words say that something given to the training may not be so."""
    return bool(_FORBIDS.search(text[:2_000])) and not _TENSORS.search(text[:2_000])


def refusal_of(text: str) -> Cause:
    """What refuses a run before its first step: an option that the text names, or the trainer."""
    return Cause.BAD_ARGUMENT if _OPTION.search(text[:2_000]) else Cause.TRAINER_REFUSED


def _cause_of_json(raised: Raised) -> Cause:
    """What JSON that cannot be read was: an answer, part of a model, settings; its reader tells."""
    readers = [_reader(frame) for frame in raised.frames]
    for cause, pattern in _JSON_READERS:
        if pattern.search(raised.name) or any(map(pattern.search, readers)):
            return cause
    return Cause.UNKNOWN


def _reader(frame: Frame) -> str:
    package = _PACKAGE.search(frame.path)
    if package:
        return package["name"]
    return f"{_file_name(frame)} {frame.function} {frame.code}"


def _hint_of(raised: Raised, kind: str, cause: Cause, who: str) -> str:
    if kind in _SYNTAX:
        return (
            "The trainer's Python may be too old for its code, or the file was changed: see which Python it asks for."
        )
    if match := _ERRNO.search(raised.text[:2_000]):
        number = int(match["number"] or match["rust"] or 24)
        if hint := _ERRNO_HINTS.get((match["system"] or "Errno", number)):
            return hint
    if cause is Cause.UNKNOWN or cause is Cause.LIBRARY_MISMATCH:
        return _LAYER_HINTS.get(who, "")
    return ""


def advice(text: str) -> str:
    """The sentence in which a library itself says what to do; empty when it does not."""
    for sentence in _SENTENCE.findall(text[:4_000]):
        words = " ".join(sentence.split())
        if _ADVICE.search(words) and words[-1] != ":" and 12 <= len(words) <= 300:
            return words if words[-1] in ".!?" else f"{words}."
    return ""
