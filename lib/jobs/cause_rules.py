"""Which words of a log mean which cause: a table to read and to add to.

The words were taken from the trainers' sources, from recorded runs, and from the libraries that raise them.
``RULES`` only ever see the text of an exception or of a line reported as an error, never any line of the log:
a caption that says "out of memory" means nothing.
"""

import re

from lib.jobs.causes import Cause, Finding, Rule

# What proves a cause stands early; the limits keep a line of megabytes from costing seconds.
MAX_TEXT = 4_000
MAX_LINE = 500


def _rule(cause: Cause, pattern: str, message: str, vague: str = "", *, hint: str = "", file_before: str = "") -> Rule:
    return Rule(
        cause=cause,
        pattern=re.compile(pattern),
        message=message,
        vague=vague,
        hint=hint,
        file_before=re.compile(file_before) if file_before else None,
    )


_IMAGE_BEFORE = r"Error (?:loading|processing|opening)(?: file| image)?:? *(?P<file>\S.*\.\w{3,4})\b"
_MODEL_FILE = r"\.(?:safetensors|ckpt|pt|pth|bin|gguf|onnx)"
_ERRNO_FILE = r"(?:: '(?P<file>[^']+)')?"
_PARENT_FOLDER = (
    "The folder given to the trainer must hold folders with images (such as 10_token), not the images themselves."
)
_SHM = "Give the container more shared memory (--shm-size), or use fewer data loader workers."

RULES: tuple[Rule, ...] = (
    # Memory, the graphics card's first: its text also appears inside longer ones.
    _rule(
        Cause.OUT_OF_MEMORY,
        r"(?:CUDA|HIP|MPS backend|XPU) out of memory\.?(?:.*?Tried to allocate (?P<size>[\d.]+ ?[KMGT]i?B))?",
        "The graphics card ran out of memory when {size} more were asked for.",
        "The graphics card ran out of memory.",
    ),
    _rule(
        Cause.OUT_OF_MEMORY,
        r"OutOfMemoryError|CUDA error: out of memory|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED"
        r"|OOM during training step|CUDA_ERROR_OUT_OF_MEMORY",
        "The graphics card ran out of memory.",
    ),
    _rule(
        Cause.OUT_OF_MEMORY,
        r"[Ii]nsufficient shared memory|out of shared memory",
        "The data loader ran out of shared memory.",
        hint=_SHM,
    ),
    _rule(
        Cause.OUT_OF_MEMORY,
        r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)(?:.*?allocate (?P<size>\d+) bytes)?",
        "The machine ran out of memory when {size} bytes more were asked for.",
        "The machine ran out of memory.",
    ),
    _rule(
        Cause.OUT_OF_MEMORY,
        r"Unable to allocate (?P<size>[\d.]+ [KMGTP]?i?B)",
        "The machine ran out of memory when {size} more were asked for.",
    ),
    _rule(
        Cause.OUT_OF_MEMORY,
        r"^(?:[\w.]*\.)?_?(?:Array)?MemoryError\b|std::bad_alloc|\[Errno 12\]|Cannot allocate memory|os error 1455"
        r"|paging file is too small",
        "The machine ran out of memory.",
    ),
    # The disk.
    _rule(
        Cause.DISK_FULL,
        r"No space left on device" + _ERRNO_FILE,
        "The disk is full: {file} could not be written.",
        "The disk is full.",
    ),
    _rule(
        Cause.DISK_FULL,
        r"\[Errno 28\]|Disk quota exceeded|\[Errno 122\]|database or disk is full|not enough space on the disk"
        r"|PytorchStreamWriter failed writing|inline_container\.cc.*unexpected pos",
        "The disk is full, or a quota is used up.",
    ),
    # The loss.
    _rule(
        Cause.NAN_LOSS,
        r"NaN detected in latents: (?P<file>.+)",
        "The latents of {file} are not numbers (NaN).",
        hint="Use a VAE that works in this precision, or train without half-precision VAE (--no_half_vae).",
    ),
    _rule(
        Cause.NAN_LOSS,
        r"(?i)\bloss (?:is|was|became|=) ?(?:nan|inf)|\bnan loss\b|loss diverged",
        "The loss became NaN or infinite, so the training was stopped.",
    ),
    # Images.
    _rule(
        Cause.CORRUPT_IMAGE,
        r"cannot identify image file (?:<[^>]*name=)?['\"]?(?P<file>[^'\">]+)",
        "The file {file} is not an image that can be read.",
        "A file of the dataset is not an image that can be read.",
        file_before=_IMAGE_BEFORE,
    ),
    _rule(
        Cause.CORRUPT_IMAGE,
        r"(?P<text>image file is truncated(?: \(.*?\))?|broken data stream when reading image file"
        r"|[Tt]runcated [Ff]ile(?: [Rr]ead)?|broken PNG file|not a (?:PNG|JPEG|GIF|BMP|TIFF) file"
        r"|unrecognized data stream contents when reading image file|DecompressionBombError.*"
        r"|decoder error -?\d+ when reading image file)",
        "The image {file} cannot be read: {text}.",
        "An image of the dataset cannot be read: {text}.",
        file_before=_IMAGE_BEFORE,
    ),
    _rule(Cause.CORRUPT_IMAGE, r"UnidentifiedImageError", "A file of the dataset is not an image that can be read."),
    # The dataset.
    _rule(
        Cause.MISSING_DATASET,
        r"No data found\. Please verify",
        "The trainer found no images in the dataset folder.",
        hint=_PARENT_FOLDER,
    ),
    _rule(
        Cause.MISSING_DATASET,
        r"Instance images? root doesn't exist|Class images? root doesn't exist",
        "The folder with the training images does not exist.",
    ),
    _rule(
        Cause.MISSING_DATASET,
        r"No images were discovered by the bucket manager in the dataset:? *(?P<file>[^\s.]*)",
        "No images were found in the dataset {file}.",
        "No images were found in the dataset.",
    ),
    _rule(
        Cause.MISSING_DATASET,
        r"Couldn't find (?:any data file|a dataset script|a dataset) at (?P<file>\S+)"
        r"|DatasetNotFoundError: .*?'(?P<file2>[^']+)'|doesn't contain any data files"
        r"|EmptyDatasetError|DatasetNotFoundError",
        "There is no dataset at {file}.",
        "The dataset was not found or is empty.",
    ),
    _rule(
        Cause.MISSING_DATASET,
        r"num_samples=0|num_samples should be a positive integer"
        r"|(?i:no (?:training )?(?:images|samples|data) (?:were )?found|found (?:0|no) images)"
        r"|(?i:dataset (?:is empty|has no images))"
        r"|(?i:data(?:set)? (?:folder|directory|path)\b.{0,200}(?:does not exist|doesn't exist|not found))",
        "The trainer found no images in the dataset.",
    ),
    # The base model.
    _rule(
        Cause.MISSING_MODEL,
        r"(?P<file>\S{1,300}) is not a local folder and is not a valid model identifier",
        "There is no base model {file}, neither on this machine nor on the hub.",
    ),
    _rule(
        Cause.MISSING_MODEL,
        r"(?P<file>\S{1,300}) does not appear to have (?:a file|files?) named (?P<name>[^\s,]+?)[.,]?(?:\s|$)",
        "The base model {file} has no {name}.",
    ),
    _rule(
        Cause.MISSING_MODEL,
        r"(?s)(?:GatedRepoError.*)?[Aa]ccess to model (?P<file>\S+) is restricted"
        r"|GatedRepoError|(?:is|access) a gated repo",
        "The base model {file} is only given to signed-in users.",
        "The base model is only given to signed-in users.",
        hint="Accept its licence on the hub and set HF_TOKEN where the trainer runs.",
    ),
    _rule(
        Cause.MISSING_MODEL,
        r"(?:Error no file named .{1,200}? found in directory"
        r"|Can't load (?:the )?(?:tokenizer|model|config\w*)(?: for)?)"
        r" '?(?P<file>[^\s']+?)'?[.,]?(?:\s|$)",
        "The base model {file} is not complete or not there.",
        "The base model is not complete or not there.",
    ),
    _rule(
        Cause.MISSING_MODEL,
        r"RepositoryNotFoundError|RevisionNotFoundError|EntryNotFoundError: 404|HFValidationError"
        r"|Repo id must be in the form|Cannot find (?:any )?(?:model|checkpoint)"
        r"|model (?:file |path )?(?:does not exist|doesn't exist|not found)",
        "The base model was not found.",
    ),
    _rule(
        Cause.MISSING_MODEL,
        rf"No such file or directory: ['\"]?(?P<file>[^'\"]+{_MODEL_FILE})\b"
        rf"|\"(?P<file2>[^\"]+{_MODEL_FILE})\" .*does not exist",
        "The model file {file} does not exist.",
        "A model file does not exist.",
    ),
    _rule(
        Cause.BROKEN_MODEL,
        r"Error while deserializing header: ?(?P<text>\w*)|HeaderToo(?:Large|Small)"
        r"|InvalidHeader|IncompleteBuffer",
        "The model file is broken: its safetensors header cannot be read ({text}).",
        "The model file is broken: its safetensors header cannot be read.",
    ),
    _rule(
        Cause.BROKEN_MODEL,
        r"UnpicklingError|PytorchStreamReader failed|invalid load key|failed finding central directory",
        "The model file is broken: PyTorch cannot read it.",
    ),
    _rule(
        Cause.BROKEN_MODEL,
        r"Error\(s\) in loading state_dict for (?P<name>[\w.]+)|size mismatch for \S+",
        "The model file does not fit the network {name}: it is another kind of model.",
        "The model file does not fit the network: it is another kind of model.",
    ),
    # Arguments and files of settings.
    _rule(
        Cause.BAD_ARGUMENT,
        r"unrecognized arguments: (?P<text>.+)",
        "The trainer does not know the arguments {text}.",
    ),
    _rule(
        Cause.BAD_ARGUMENT,
        r"ambiguous option: (?P<text>\S+) could match (?P<name>.+)",
        "The argument {text} is ambiguous: it could be {name}.",
    ),
    _rule(
        Cause.BAD_ARGUMENT,
        r"the following arguments are required: (?P<text>.+)",
        "The trainer also needs the arguments {text}.",
    ),
    _rule(
        Cause.BAD_ARGUMENT,
        r"argument (?P<text>-\S+): (?P<name>.+)",
        "The argument {text} is wrong: {name}.",
    ),
    _rule(Cause.BAD_ARGUMENT, r"[Nn]o such option:? (?P<text>\S+)", "The trainer does not know the argument {text}."),
    _rule(
        Cause.BAD_ARGUMENT,
        r"(?:Toml|TOML|Yaml|YAML|JSON)Decoder?Error: (?P<text>.+)"
        r"|yaml\.\w+\.(?:Scanner|Parser)Error: (?P<text2>.+)"
        r"|(?:voluptuous|multiple_invalid)\S*Invalid: (?P<text3>.+)|ValidationError: .+",
        "A settings file of the training cannot be read: {text}.",
        "A settings file of the training cannot be read.",
    ),
    # The environment of the trainer.
    _rule(
        Cause.IMPORT_ERROR,
        r"No module named '?(?P<name>[\w.]+)'?",
        "The Python module {name} is not installed where the trainer runs.",
    ),
    _rule(
        Cause.IMPORT_ERROR,
        r"cannot import name '(?P<text>[^']+)' from (?:partially initialized module )?'(?P<name>[^']+)'",
        "{text} cannot be imported from {name}: the installed version does not fit.",
    ),
    _rule(
        Cause.IMPORT_ERROR,
        r"(?P<name>\S{1,300}): cannot open shared object file|DLL load failed while importing (?P<name2>\S+?):"
        r"|undefined symbol: \S+",
        "The library {name} cannot be loaded.",
        "A library that the trainer needs cannot be loaded.",
    ),
    _rule(Cause.IMPORT_ERROR, r"^ImportError: (?P<text>.+)", "The trainer could not import what it needs: {text}"),
    # The graphics card.
    _rule(
        Cause.CUDA_ERROR,
        r"No CUDA GPUs are available|Found no NVIDIA driver|Torch not compiled with CUDA enabled"
        r"|CUDA driver version is insufficient|no NVIDIA GPU|libcuda\.so",
        "The trainer found no graphics card that it can use.",
    ),
    _rule(
        Cause.CUDA_ERROR,
        r"CUDA error: (?P<text>[^\n]+)|cuDNN error: (?P<text2>\S+)|CUDA kernel errors|device-side assert"
        r"|CUBLAS_STATUS_\w+",
        "The graphics card reported an error: {text}.",
        "The graphics card reported an error.",
    ),
    # Several processes.
    _rule(
        Cause.DISTRIBUTED,
        r"(?i:address already in use|EADDRINUSE)",
        "A network port that the trainer needs is already in use.",
        hint="Another training may run on this machine: end it, or choose another --main_process_port.",
    ),
    _rule(
        Cause.DISTRIBUTED,
        r"NCCL (?:error|WARN)|nccl\w*Error|Watchdog caught collective|DistBackendError|Connection closed by peer"
        r"|RendezvousConnectionError",
        "The processes of the training lost touch with one another (NCCL).",
    ),
    # Rights.
    _rule(
        Cause.PERMISSION_DENIED,
        r"(?:Permission denied|Operation not permitted|Read-only file system)" + _ERRNO_FILE,
        "The trainer may not use {file}.",
        "The trainer may not use a file or folder it needs.",
    ),
    # The network, last: it is often only the first of several attempts to find a file.
    _rule(
        Cause.NETWORK,
        r"(?:OfflineModeIsEnabled|offline mode is enabled)",
        "A file must be downloaded, but the hub's offline mode is on.",
        hint="Unset HF_HUB_OFFLINE where the trainer runs, or put the files on this machine beforehand.",
    ),
    _rule(
        Cause.NETWORK,
        r"LocalEntryNotFoundError|We couldn't connect to '?(?P<name>[^\s']+)|HfHubHTTPError|Max retries exceeded"
        r"|Name or service not known|[Tt]emporary failure in name resolution|(?:Read|Connect)Timeout\b|SSLError"
        r"|ConnectionError|ConnectionResetError|Network is unreachable|Connection refused"
        r"|HTTPError: (?:4|5)\d\d|gaierror"
        r"|Consistency check failed|nodename nor servname",
        "A download failed: {name} could not be reached.",
        "A download failed: the network or the hub did not answer.",
    ),
    # Any other file.
    _rule(
        Cause.MISSING_FILE,
        r"(?:No such file or directory|cannot find the (?:file|path) specified|NotADirectoryError.*?)"
        r"(?:: ['\"](?P<file>[^'\"]+)['\"])?",
        "The trainer needs {file}, which does not exist.",
        "The trainer needs a file that does not exist.",
    ),
    _rule(
        Cause.INTERRUPTED,
        r"^KeyboardInterrupt\b|^(?:[\w.]+\.)?SignalException: .*got signal: (?:2|15)\b",
        "The training was interrupted from outside.",
    ),
)

# Lines that nobody marks as an error and that mean one: these must begin the line.
LINE_RULES: tuple[Rule, ...] = (
    _rule(
        Cause.MISSING_TRAINER,
        r"(?:\S*python\S*: )can't open file '?(?P<file>[^']+)'?: \[Errno 2\]",
        "The trainer's script {file} does not exist.",
    ),
    _rule(
        Cause.MISSING_TRAINER,
        r"(?:\S*sh: )?(?:line \d+: |\d+: )?(?P<file>[\w./-]+): (?:command )?not found$",
        "The program {file} is not installed.",
    ),
    _rule(
        Cause.IMPORT_ERROR,
        r"\S*python\S*: No module named (?P<name>[\w.]+)",
        "The Python module {name} is not installed where the trainer runs.",
    ),
    _rule(
        Cause.MISSING_DATASET,
        r"No data found\. Please verify",
        "The trainer found no images in the dataset folder.",
        hint=_PARENT_FOLDER,
    ),
    _rule(
        Cause.OUT_OF_MEMORY,
        r"#* ?OOM during training step",
        "The graphics card ran out of memory during a step.",
    ),
    _rule(
        Cause.OUT_OF_MEMORY,
        r"terminate called after throwing an instance of 'std::bad_alloc'",
        "The machine ran out of memory.",
    ),
    _rule(
        Cause.DISK_FULL,
        r"[\w./-]+: (?:write error|error writing \S+): No space left on device",
        "The disk is full.",
    ),
    _rule(
        Cause.INTERRUPTED,
        r"(?:Job stopped|\^C|Terminated|Aborted!)$",
        "The training was interrupted from outside.",
    ),
)

# Lines in which a program reports its own failure; what follows the colon is judged by RULES.
REPORTED = re.compile(
    r"^(?:[\w./\\-]+\.py: error: |Error running job: |Error: |error: |Fatal: |FATAL: |fatal error: |RuntimeError: "
    r"|OOM during training step \d+ times|  what\(\): +|(?:CUDA|HIP) out of memory\b)"
)
HARMLESS = re.compile(r"^fatal: not a git repository")


def classify(text: str) -> Finding | None:
    """The first rule whose words stand in ``text``."""
    for rule in RULES:
        if match := rule.pattern.search(text, 0, MAX_TEXT):
            return Finding(rule=rule, facts=_facts(match))
    return None


def classify_line(text: str) -> Finding | None:
    """What a line means that nobody marked as an error."""
    for rule in LINE_RULES:
        if match := rule.pattern.match(text, 0, MAX_LINE):
            return Finding(rule=rule, facts=_facts(match))
    return None


def _facts(match: re.Match[str]) -> dict[str, str]:
    """The named groups; ``file2`` is a second place for ``file``, as a pattern cannot use a name twice."""
    return {
        name.rstrip("23"): " ".join(value.split())[:300].rstrip(".")
        for name, value in match.groupdict().items()
        if value and value.strip()
    }
