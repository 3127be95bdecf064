"""Which words of a log mean which cause: tables to read and to add to.

The words were taken from the trainers' sources, from recorded runs, and from the libraries that raise them.
``RULES`` only ever see the text of an exception or of a line reported as an error, never any line of the log:
a caption that says "out of memory" means nothing.
"""

import re

from lib.jobs.failures.causes import CRASH_HINT, Cause, Finding, Rule, rule
from lib.jobs.failures.input_rules import DATA_RULES, MODEL_RULES, NO_IMAGES, SETTINGS_RULES
from lib.jobs.failures.machine_rules import NETWORK_RULES, SOFTWARE_RULES, SPACE_RULES

# What proves a cause stands early; the limits keep a line of megabytes from costing seconds.
MAX_TEXT = 4_000
MAX_LINE = 500

# The first that fits counts: what is certain before what is often only an echo.
RULES: tuple[Rule, ...] = (
    *SPACE_RULES,
    *DATA_RULES,
    *MODEL_RULES,
    *SETTINGS_RULES,
    *SOFTWARE_RULES,
    *NETWORK_RULES,
    # Any other file.
    rule(
        Cause.MISSING_FILE,
        r"(?:No such file or directory|cannot find the (?:file|path) specified|NotADirectoryError.*?)"
        r"(?:: ['\"](?P<file>[^'\"]+)['\"])?",
        "The trainer needs {file}, which does not exist.",
        "The trainer needs a file that does not exist.",
    ),
    rule(
        Cause.MISSING_FILE,
        r"^FileNotFoundError: (?:(?P<file>\S{1,300}) (?:was )?(?:not found|does not exist|doesn't exist))?",
        "The trainer needs {file}, which does not exist.",
        "The trainer needs a file that does not exist.",
    ),
    rule(Cause.TIMEOUT, r"FunctionTimeoutError", "The training took longer than the time limit of its platform."),
    rule(
        Cause.INTERRUPTED,
        r"^KeyboardInterrupt\b|^(?:[\w.]+\.)?SignalException: .*got signal: (?:2|15)\b",
        "The training was interrupted from outside.",
    ),
)

# Lines that nobody marks as an error and that mean one: these must begin the line.
LINE_RULES: tuple[Rule, ...] = (
    rule(
        Cause.MISSING_TRAINER,
        r"(?:\S*python\S*: )can't open file '?(?P<file>[^']+)'?: \[Errno 2\]",
        "The trainer's script {file} does not exist.",
    ),
    rule(
        Cause.MISSING_TRAINER,
        r"(?:\S*sh: )?(?:line \d+: |\d+: )?(?P<file>[\w./-]+): (?:command )?not found$",
        "The program {file} is not installed.",
    ),
    rule(
        Cause.MISSING_TRAINER,
        r"(?:'|.{0,60}: The term ')(?P<file>[^']{1,200})' is not recognized as "
        r"(?:an internal or external command|the name)",
        "The program {file} is not installed.",
    ),
    rule(
        Cause.MISSING_TRAINER,
        r"(?:.{0,80}: )?exec: \"(?P<file>[^\"]{1,300})\": (?:stat .{1,300}: no such file|executable file not found)",
        "The program {file} is not installed.",
    ),
    rule(
        Cause.IMPORT_ERROR,
        r"\S*python\S*: No module named (?P<name>[\w.]+)",
        "The Python module {name} is not installed where the trainer runs.",
    ),
    rule(
        Cause.PERMISSION_DENIED,
        r"\S*sh: (?:line \d+: |\d+: )?(?P<file>\S{1,300}): Permission denied$",
        "{file} may not be executed.",
        hint="Make it executable (chmod +x), or start it with its interpreter (bash, python).",
    ),
    NO_IMAGES,
    rule(
        Cause.OUT_OF_MEMORY,
        r"#* ?OOM during training step",
        "The graphics card ran out of memory during a step.",
    ),
    rule(
        Cause.CUDA_ERROR,
        r"Error no kernel image is available for execution on the device",
        "bitsandbytes has no kernel image for this graphics card: the card is too old for it, or too new.",
        hint="Choose AdamW instead of an 8-bit optimizer, or install a bitsandbytes that was built for this card.",
    ),
    rule(
        Cause.CUDA_ERROR,
        r"(?:.*kernel: )?(?:\[[\w\s:.]{1,40}\] )?"
        r"NVRM: (?:Xid|GPU).*(?:fallen off the bus|Xid .{0,40}: (?:79|48|74|119))",
        "The graphics card was lost: the driver cannot reach it any more.",
        hint="Restart the machine; if it happens again, check the card's power, heat and driver (dmesg names an Xid).",
    ),
    rule(
        Cause.CUDA_ERROR,
        r"Memory access fault by GPU",
        "The graphics card reported a memory access fault.",
        hint="Look for a ROCm or a driver that does not fit this card, then try again.",
    ),
    rule(
        Cause.IMPORT_ERROR,
        r"Could not load library (?P<file>\S+?)\.? Error: ",
        "The library {file} cannot be loaded: it does not fit the ones beside it.",
        hint="Install the CUDA libraries that the trainer's PyTorch names, and take others out of LD_LIBRARY_PATH.",
    ),
    rule(
        Cause.DISTRIBUTED,
        r".{0,200}\bProcessGroupNCCL\.cpp:\d+\] .{0,120}\bWatchdog caught collective operation timeout"
        r"|\[Rank \d+\] Watchdog caught collective operation timeout",
        "The processes of the training lost touch with one another (NCCL): one waited for the others in vain.",
    ),
    # The kernel's words, and a cluster's.
    rule(
        Cause.OUT_OF_MEMORY,
        r"(?:.*kernel: )?(?:\[[\w\s:.]{1,40}\] )?(?:Memory cgroup o|O)ut of memory: Killed process|.{0,80}\bOOMKilled\b"
        r"|oom-kill:|.{0,120}\bkilled by the OOM killer\b",
        "The machine, or the container's limit, ran out of memory: the kernel killed the trainer.",
    ),
    rule(
        Cause.OUT_OF_MEMORY,
        r".{0,60}TERM_MEMLIMIT|=>> PBS: job killed: v?mem",
        "The training used more memory than its queue allows.",
        hint="Ask the queue for more memory, or lower the batch size or the number of data loader workers.",
    ),
    rule(
        Cause.KILLED,
        r"(?:Windows fatal exception: (?:access violation|stack overflow|code 0xc0\w+)|Fatal Python error: "
        r"(?:Segmentation fault|Bus error|Illegal instruction|Aborted|Floating))",
        "The trainer crashed inside a library.",
        hint=CRASH_HINT,
    ),
    rule(
        Cause.TIMEOUT,
        r"=>> PBS: job killed: walltime|.{0,60}TERM_RUNLIMIT",
        "The training took longer than the time limit of its queue.",
        hint="Ask for more time, or train for fewer steps.",
    ),
    # SLURM's own words; a local time is among them.
    rule(
        Cause.OUT_OF_MEMORY,
        r"(?:slurmstepd|srun): error: .*(?:oom[-_]kill event|Out Of Memory)",
        "The machine, or what SLURM allows of it, ran out of memory.",
        hint="Ask SLURM for more memory (--mem), or lower the batch size or the number of data loader workers.",
    ),
    rule(
        Cause.TIMEOUT,
        r"slurmstepd: error: .*DUE TO TIME LIMIT",
        "The training took longer than the time limit that SLURM gave it.",
        hint="Ask SLURM for more time (--time), or train for fewer steps.",
    ),
    rule(Cause.INTERRUPTED, r"slurmstepd: error: \*\*\* .*CANCELLED AT", "The training was cancelled in SLURM."),
    rule(
        Cause.OUT_OF_MEMORY,
        r"terminate called after throwing an instance of 'std::bad_alloc'",
        "The machine ran out of memory.",
    ),
    rule(
        Cause.DISK_FULL,
        # sh, tar, cp, rsync, wget, git, curl; and how Rust prints an error that nobody caught.
        r"(?:[\w./\[\]-]+(?: \(\w+\))?: )+.{0,300}\bNo space left on device"
        r"|[Cc]annot write to .{1,300}\(No space left on device\)"
        r"|curl: \(23\) |tar: .{1,300}: Wrote only \d+ of \d+ bytes"
        r"|.{0,300}(?:\(os error 28\)|\bcode: 28, kind: (?:StorageFull|Other)\b|\bStorageFull\b)",
        "The disk is full: it has no free space, or no room for another file.",
    ),
    rule(
        Cause.INTERRUPTED,
        r"(?:Job stopped|\^C|Terminated|Aborted!)$",
        "The training was interrupted from outside.",
    ),
)

# Lines in which a program reports its own failure; what follows the colon is judged by RULES.
REPORTED = re.compile(
    r"^(?:[\w./\\-]+\.py: error: |Error running job: |Error: |error: |Fatal: |FATAL: |fatal error: |RuntimeError: "
    r"|[45]\d\d (?:Client|Server) Error\b|!!! Exception during processing !!! "
    r"|OOM during training step \d+ times|what\(\): +|accelerate[ <>\w\[\]-]*: error: |torchrun: error: "
    r"|(?:CUDA|HIP) out of memory\b)"
)
# What is no report although it may read like one: prompts and captions that are printed, git, wandb's files.
HARMLESS = re.compile(r"^(?:fatal: not a git repository|(?i:(?:sample_)?prompts?|captions?|negative_prompt)\b *[:=])")
# What xformers prints with a traceback, and goes on without.
SURVIVED = re.compile(r"^ModuleNotFoundError: No module named 'triton'")


# A path or a value that was given to the program may read like any error.
_GIVEN = re.compile(
    r"(?<=[\s=])(?<!message: )(?<![Ee]rror: )(?<!reason: )"
    r"(?P<quote>['\"])(?:(?!(?P=quote))[^\n]){1,400}(?P=quote)(?!\w)"
)
# Words before a failure that did not happen: what may, and what to do against it.
_SUPPOSED = re.compile(
    r"(?i)\b(?:if|in case|whether|unless|otherwise|(?:may|might|could)(?! (?:be|have|not)\b)|would"
    r"|can (?:lead|cause|also)|avoid\w*|prevent\w*|instead of|e\.g\.|such as|try|consider|tip|please|potential\w*"
    r"|reasons?|usual\w*|typical\w*|common\w*|when (?:you|using)|(?:help|useful) (?:with|for|against))\b"
)
# Words before what a library takes for the reason.
_GUESSED = re.compile(r"(?i)\b(?:possibl[ey]|likely|probably|perhaps|(?:may|might|could) (?:be|have))\b")
_SENTENCE_END = re.compile(r"[.;!?](?=\s)|\n")
# A mistake in code says nothing of the machine, whatever names it quotes; nor does a file that is not there.
_OF_CODE = re.compile(
    r"(?:[\w.]+\.)?(?:AttributeError|NameError|UnboundLocalError|KeyError|IndexError|TypeError|SyntaxError"
    r"|IndentationError|TabError|ZeroDivisionError|RecursionError|StopIteration|Unicode\w+Error|FileNotFoundError"
    r"|JSONDecodeError)\b"
)
_OF_MACHINE = frozenset(
    {
        Cause.OUT_OF_MEMORY,
        Cause.DISK_FULL,
        Cause.KILLED,
        Cause.TIMEOUT,
        Cause.NETWORK,
        Cause.MISSING_LOGIN,
        Cause.PERMISSION_DENIED,
        Cause.CUDA_ERROR,
        Cause.DISTRIBUTED,
    }
)
# What the first line of a message says of these may be told better by its other lines.
_VAGUE = frozenset({Cause.NETWORK, Cause.MISSING_FILE, Cause.IMPORT_ERROR})


def classify(text: str) -> Finding | None:
    """The first rule whose words stand in ``text``: in its first line, else in what that quotes or adds."""
    head = text.partition("\n")[0]
    found, whole = _first_found(head, len(head)), _first_found(text, len(head))
    if found is None or whole is None or found.rule.cause in {*_VAGUE, whole.rule.cause}:
        return whole
    return found


def _first_found(text: str, head: int) -> Finding | None:
    """The first rule that fits; it is sure when its words begin in the first sentence, before ``head``."""
    given = [match.span() for match in _GIVEN.finditer(text, 0, MAX_TEXT)]
    is_of_code = bool(_OF_CODE.match(text))
    for each in RULES:
        if is_of_code and each.cause in _OF_MACHINE:
            continue
        for match in each.pattern.finditer(text, 0, MAX_TEXT):
            if any(start < match.start() and match.end() <= end for start, end in given):
                continue
            ends = [end.end() for end in _SENTENCE_END.finditer(text, 0, match.start())]
            before = ends[-1] if ends else 0, match.start()
            if not _SUPPOSED.search(text, *before):
                is_said_first = not ends and match.start() <= head and not _GUESSED.search(text, *before)
                is_sure = is_said_first and not each.is_inferred
                return Finding(rule=each, facts=_facts(match), is_sure=is_sure)
    return None


def classify_line(text: str) -> Finding | None:
    """What a line means that nobody marked as an error."""
    return _first_match(LINE_RULES, text)


def _first_match(rules: tuple[Rule, ...], text: str) -> Finding | None:
    for each in rules:
        if match := each.pattern.match(text, 0, MAX_LINE):
            return Finding(rule=each, facts=_facts(match))
    return None


def _facts(match: re.Match[str]) -> dict[str, str]:
    """The named groups; ``file2`` is a second place for ``file``, as a pattern cannot use a name twice."""
    return {
        name.rstrip("23456"): " ".join(value.split())[:300].rstrip(".")
        for name, value in match.groupdict().items()
        if value and value.strip()
    }
