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
        r"(?:CUDA|HIP|MPS backend|XPU)(?: driver error:)? out of memory\.?"
        r"(?:.*?Tried to allocate (?P<size>[\d.]+ ?[KMGT]i?B))?",
        "The graphics card ran out of memory when {size} more were asked for.",
        "The graphics card ran out of memory.",
    ),
    rule(
        Cause.OUT_OF_MEMORY,
        r"OutOfMemoryError|CUDA error: out of memory|cudaErrorMemoryAllocation"
        r"|OOM during training step|CUDA_ERROR_OUT_OF_MEMORY|CUDA failed with error out of memory|cudaMalloc failed"
        r"|hipErrorOutOfMemory|UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"
        r"|cuda runtime error \(2\)|not enough GPU video memory",
        "The graphics card ran out of memory.",
    ),
    rule(
        Cause.OUT_OF_MEMORY,
        r"CUBLAS_STATUS_ALLOC_FAILED|NVML_SUCCESS == r INTERNAL ASSERT",
        "The graphics card ran out of memory.",
        is_inferred=True,
    ),
    rule(
        Cause.OUT_OF_MEMORY,
        r"[Ii]nsufficient shared memory|out of shared memory"
        r"|unable to [\w ]{2,40} </?torch_\d.{0,80}: (?:No space left|Cannot allocate)",
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
        r"^(?:[\w.]*\.)?_?(?:Array)?MemoryError\b|std::bad_alloc|\[Errno 12\]|Cannot allocate memory|(?:os error "
        r"|WinError )1455"
        r"|paging file is too small",
        "The machine ran out of memory.",
    ),
    rule(
        Cause.KILLED,
        r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) exited unexpectedly",
        "A process of the data loader was killed or crashed, likely because the machine ran out of memory.",
        is_inferred=True,
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
        r"\[Errno 28\] (?!inotify)|Disk quota exceeded|\[Errno 122\]|database or disk is full"
        r"|not enough space on the disk|WinError 112\b",
        "The disk is full, or a quota is used up.",
    ),
    rule(
        Cause.DISK_FULL,
        r"PytorchStreamWriter failed writing|inline_container\.cc.*unexpected pos",
        "PyTorch could not write a file to its end: the disk is full, or a quota is used up.",
        is_inferred=True,
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
        r"|undefined symbol: \S+|\[WinError 12[67]\](?:.{0,200}Error loading \"(?P<name3>[^\"]+)\")?",
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
    rule(
        Cause.IMPORT_ERROR,
        r"PEFT backend is required|requires the PEFT (?:backend|library)",
        "The trainer needs the Python module peft, or a newer one.",
        hint="Install or upgrade peft in the trainer's environment.",
    ),
    rule(
        Cause.IMPORT_ERROR,
        r"No operator found for `?memory_efficient_attention|xFormers (?:wasn't|was not) build? with CUDA"
        r"|xformers is not available|Torch not compiled with flash attention",
        "The installed xformers does not fit this PyTorch, card or precision.",
        hint="Install the xformers that was built for this PyTorch, or train with sdpa instead.",
    ),
    rule(
        Cause.IMPORT_ERROR,
        r"Weights only load failed",
        "PyTorch does not open the model file: it holds more than weights.",
        hint="Use the .safetensors file of the model; older trainers need a PyTorch before 2.6 for .ckpt and .pt "
        "files.",
    ),
    # The graphics card.
    rule(
        Cause.CUDA_ERROR,
        r"[Gg][Pp][Uu] is lost|GpuIsLost|fallen off the bus|Unable to determine the device handle for GPU|NVRM: Xid",
        "The graphics card was lost: the driver cannot reach it any more.",
        hint="Restart the machine; if it happens again, check the card's power, heat and driver (dmesg names an Xid).",
    ),
    rule(
        Cause.CUDA_ERROR,
        r"no kernel image is available",
        "The trainer's PyTorch or an extension has no kernel image for this graphics card: it was built for others.",
        hint="Install a build for this card; when bitsandbytes says it, choose AdamW instead of an 8-bit optimizer.",
    ),
    rule(
        Cause.CUDA_ERROR,
        r"(?i)`?\bptxas\b`? (?:failed|fatal|error|exited)|PTXASError|ptxas fatal",
        "Triton's ptxas does not fit this graphics card or driver.",
        hint="Install the Triton that belongs to this PyTorch, update the driver, or turn compiling off.",
    ),
    rule(
        Cause.CUDA_ERROR,
        r"only supports? Ampere GPUs|GPUTooOldForTriton"
        r"|compute capability (?:>=|[\d.]+ or (?:higher|above))|sm_\d+ is not compatible"
        r"|forward compatibility was attempted|device kernel image is invalid|invalid device ordinal"
        r"|CUDA driver initialization failed|hipErrorNoBinaryForGpu|HIP error: (?P<text>[^\n]+)",
        "The graphics card or its driver does not fit what the trainer asks of it.",
    ),
    # Number formats.
    rule(
        Cause.PRECISION,
        r"expected scalar type (?P<text>\w+) but found (?P<name>\w+)",
        "Two parts of the training use different precisions: {text} was expected, {name} came.",
    ),
    rule(
        Cause.PRECISION,
        r"must have the same dtype|to have the same dtype"
        r"|Input type \([\w:.]+\) and \w+ type \([\w:.]+\) should be the same",
        "Two parts of the training use different precisions.",
    ),
    rule(
        Cause.PRECISION,
        r"\"\w+\" not implemented for '(?P<text>Half|BFloat16|Float8\w*)'"
        r"|Attempting to unscale (?P<text2>FP16) gradients"
        r"|cannot be converted to type at::(?P<text3>Half) without overflow|Promotion for (?P<text4>Float8) Types"
        r"|doesn't support (?P<text5>bf16)|[Uu]nsupported ScalarType (?P<text7>BFloat16|Float8\w*|Half)"
        r"|(?P<text6>bf16|fp16|fp8) (?:(?:mixed precision )?is not supported|mixed precision requires PyTorch)",
        "An operation cannot be done in the precision {text}.",
    ),
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
        r"|CUBLAS_STATUS_\w+|CUDNN_STATUS_\w+",
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
        r"Gloo \w+ failed|gloo/transport|makeDeviceForHostname|DistStoreError|TCPStore|DistNetworkError"
        r"|Timed out waiting for clients|client socket has failed to connect|use_libuv was requested",
        "The processes of the training could not find one another.",
        hint="Check the addresses and ports that they are started with (MASTER_ADDR, MASTER_PORT, "
        "--main_process_ip), and "
        "that the host's name resolves.",
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
        r"Unable to locate credentials|NoCredentialsError|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken"
        r"|DefaultCredentialsError|InvalidClientTokenId",
        "The storage does not know who asks: its keys are missing or not valid.",
        hint="Set the keys of the storage where the trainer runs (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).",
    ),
    rule(
        Cause.PERMISSION_DENIED,
        r"An error occurred \((?:AccessDenied|403)\) when calling the (?P<text>\w+)",
        "The storage does not allow {text}.",
        hint="Give the account whose keys the trainer uses the right to it.",
    ),
    rule(
        Cause.MISSING_FILE,
        r"An error occurred \((?:NoSuch(?:Bucket|Key)|404)\) when calling the (?P<text>\w+)",
        "The bucket or the file that {text} asks for does not exist.",
    ),
    rule(
        Cause.MISSING_LOGIN,
        r"Invalid (?:user token|username or password)|You are not (?:authenticated|logged in)|not logged in\b",
        "The hub does not know who asks: the token is missing or not valid.",
        hint="Run 'hf auth login' or set HF_TOKEN where the trainer runs.",
    ),
    rule(
        Cause.MISSING_LOGIN,
        r"(?i:no api key configured|api[_ ]key not configured)"
        r"|wandb\S*CommError.{0,80}(?i:permission denied|40[13])|WANDB_API_KEY",
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
        r"(?:Permission denied|Operation not permitted|Read-only file system|Access is denied"
        r"|used by another process)" + _ERRNO_FILE,
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
        r"|HTTPError: (?:4|5)\d\d|gaierror|HTTPError: HTTP Error (?:4|5)\d\d|getaddrinfo failed|URLError|ProxyError"
        r"|EndpointConnectionError|Could not connect to the endpoint|RemoteDisconnected|Connection aborted"
        r"|ProtocolError"
        r"|Connection timed out|httpx\.\w+(?:Error|Timeout)|aiohttp\.client_exceptions|Could not resolve host"
        r"|Too Many Requests|\b(?:401|403|404|429|50[0234]) (?:Client|Server) Error|WinError 100(?:60|61|54|51)\b"
        r"|CommError"
        r"|ChunkedEncodingError|IncompleteRead|ReadTimeoutError|while downloading using `?hf_transfer"
        r"|CAS service error|[Rr]eqwest|Request failed after \d+ retries|error sending request for url"
        r"|Consistency check failed|nodename nor servname",
        "A download failed: {name} could not be reached.",
        "A download failed: the network or the hub did not answer.",
    ),
)
