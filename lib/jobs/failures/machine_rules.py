"""Which words mean that the machine is at fault: memory, disk, software, graphics card, processes, rights, network.

For the order of all rules see ``lib.jobs.failures.rules``.
"""

from lib.jobs.failures.causes import Cause, Rule, rule

_ERRNO_FILE = r"(?:: '(?P<file>[^']+)')?"
_SHM = "Give the container more shared memory (--shm-size), or use fewer data loader workers."

SPACE_RULES: tuple[Rule, ...] = (
    # Memory, the graphics card's first: its text also appears inside longer ones.
    rule(
        Cause.OUT_OF_MEMORY,
        r"(?:CUDA|HIP|MPS backend|XPU) out of memory\.?(?:.*?Tried to allocate (?P<size>[\d.]+ ?[KMGT]i?B))?",
        "The graphics card ran out of memory when {size} more were asked for.",
        "The graphics card ran out of memory.",
    ),
    rule(
        Cause.OUT_OF_MEMORY,
        r"OutOfMemoryError|CUDA error: out of memory|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED"
        r"|OOM during training step|CUDA_ERROR_OUT_OF_MEMORY",
        "The graphics card ran out of memory.",
    ),
    rule(
        Cause.OUT_OF_MEMORY,
        r"[Ii]nsufficient shared memory|out of shared memory|unable to [\w ]{2,30} </?torch_\d",
        "The data loader ran out of shared memory.",
        hint=_SHM,
    ),
    rule(
        Cause.OUT_OF_MEMORY,
        r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)(?:.*?allocate (?P<size>\d+) bytes)?",
        "The machine ran out of memory when {size} bytes more were asked for.",
        "The machine ran out of memory.",
    ),
    rule(
        Cause.OUT_OF_MEMORY,
        r"Unable to allocate (?P<size>[\d.]+ [KMGTP]?i?B)",
        "The machine ran out of memory when {size} more were asked for.",
    ),
    rule(
        Cause.OUT_OF_MEMORY,
        r"^(?:[\w.]*\.)?_?(?:Array)?MemoryError\b|std::bad_alloc|\[Errno 12\]|Cannot allocate memory|os error 1455"
        r"|paging file is too small",
        "The machine ran out of memory.",
    ),
    rule(
        Cause.KILLED,
        r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) exited unexpectedly",
        "A process of the data loader was killed or crashed, likely because the machine ran out of memory.",
    ),
    # The disk.
    rule(
        Cause.DISK_FULL,
        r"No space left on device" + _ERRNO_FILE,
        "The disk is full: {file} could not be written.",
        "The disk is full.",
    ),
    rule(
        Cause.DISK_FULL,
        r"\[Errno 28\]|Disk quota exceeded|\[Errno 122\]|database or disk is full|not enough space on the disk"
        r"|PytorchStreamWriter failed writing|inline_container\.cc.*unexpected pos",
        "The disk is full, or a quota is used up.",
    ),
)

SOFTWARE_RULES: tuple[Rule, ...] = (
    # The environment of the trainer.
    rule(
        Cause.IMPORT_ERROR,
        r"No module named '?(?P<name>[\w.]+)'?",
        "The Python module {name} is not installed where the trainer runs.",
    ),
    rule(
        Cause.IMPORT_ERROR,
        r"cannot import name '(?P<text>[^']+)' from (?:partially initialized module )?'(?P<name>[^']+)'",
        "{text} cannot be imported from {name}: the installed version does not fit.",
    ),
    rule(
        Cause.IMPORT_ERROR,
        r"(?P<name>\S{1,300}): cannot open shared object file|DLL load failed while importing (?P<name2>\S+?):"
        r"|undefined symbol: \S+",
        "The library {name} cannot be loaded.",
        "A library that the trainer needs cannot be loaded.",
    ),
    rule(Cause.IMPORT_ERROR, r"^ImportError: (?P<text>.+)", "The trainer could not import what it needs: {text}"),
    rule(
        Cause.IMPORT_ERROR,
        r"CUDA Setup failed despite|bitsandbytes\b.{0,80}compiled without GPU support|^ImportError: No bitsandbytes\b",
        "The installed bitsandbytes does not fit the CUDA and PyTorch of the trainer.",
        hint="Install the bitsandbytes that fits, or choose an optimizer without it (AdamW instead of AdamW8bit).",
    ),
    # The graphics card.
    rule(
        Cause.CUDA_ERROR,
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient"
        r"|unsupported display driver / cuda driver",
        "The graphics driver is too old for the trainer's PyTorch.",
        hint="Update the driver, or install a PyTorch that was built for an older CUDA.",
    ),
    rule(
        Cause.CUDA_ERROR,
        r"No CUDA GPUs are available|Found no NVIDIA driver|Torch not compiled with CUDA enabled"
        r"|no NVIDIA GPU|libcuda\.so|mixed precision requires a GPU|CUDA unknown error|No GPU found"
        r"|Unexpected error from cudaGetDeviceCount|cuda\.is_available\(\) is False|no CUDA-capable device",
        "The trainer found no graphics card that it can use.",
    ),
    rule(
        Cause.CUDA_ERROR,
        r"CUDA error: (?P<text>[^\n]+)|cuDNN error: (?P<text2>\S+)|CUDA kernel errors|device-side assert"
        r"|CUBLAS_STATUS_\w+",
        "The graphics card reported an error: {text}.",
        "The graphics card reported an error.",
    ),
    # Several processes.
    rule(
        Cause.DISTRIBUTED,
        r"(?i:address already in use|EADDRINUSE|another process is utilizing it)",
        "A network port that the trainer needs is already in use.",
        hint="Another training may run on this machine: end it, or choose another --main_process_port.",
    ),
    rule(
        Cause.DISTRIBUTED,
        r"NCCL (?:error|WARN)|nccl\w*Error|Watchdog caught collective|DistBackendError|Connection closed by peer"
        r"|RendezvousConnectionError",
        "The processes of the training lost touch with one another (NCCL).",
    ),
    # Rights.
    rule(
        Cause.MISSING_LOGIN,
        r"api_key not configured|wandb\S*CommError.{0,80}(?i:permission denied|40[13])|WANDB_API_KEY",
        "The trainer reports to Weights & Biases (wandb), but nobody is signed in there.",
        hint="Run 'wandb login' or set WANDB_API_KEY where the trainer runs, or train without wandb (--log_with).",
    ),
    rule(
        Cause.MISSING_LOGIN,
        r"LocalTokenNotFoundError|Token is required .{0,40}no token found",
        "The hub asks for a token, but nobody is signed in there.",
        hint="Run 'hf auth login' or set HF_TOKEN where the trainer runs, or train without uploading to the hub.",
    ),
    rule(
        Cause.PERMISSION_DENIED,
        r"(?:Permission denied|Operation not permitted|Read-only file system)" + _ERRNO_FILE,
        "The trainer may not use {file}.",
        "The trainer may not use a file or folder it needs.",
    ),
)

NETWORK_RULES: tuple[Rule, ...] = (
    # The network, last: it is often only the first of several attempts to find a file.
    rule(
        Cause.NETWORK,
        r"(?:OfflineModeIsEnabled|offline mode is enabled)",
        "A file must be downloaded, but the hub's offline mode is on.",
        hint="Unset HF_HUB_OFFLINE where the trainer runs, or put the files on this machine beforehand.",
    ),
    rule(
        Cause.NETWORK,
        r"LocalEntryNotFoundError|We couldn't connect to '?(?P<name>[^\s']+)|HfHubHTTPError|Max retries exceeded"
        r"|Name or service not known|[Tt]emporary failure in name resolution|(?:Read|Connect)Timeout\b|SSLError"
        r"|ConnectionError|ConnectionResetError|Network is unreachable|Connection refused"
        r"|HTTPError: (?:4|5)\d\d|gaierror"
        r"|ChunkedEncodingError|IncompleteRead|ReadTimeoutError|while downloading using `?hf_transfer"
        r"|Consistency check failed|nodename nor servname",
        "A download failed: {name} could not be reached.",
        "A download failed: the network or the hub did not answer.",
    ),
)
