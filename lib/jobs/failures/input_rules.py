"""Which words mean that something given to the training is at fault: images, dataset, base model, settings.

For the order of all rules see ``lib.jobs.failures.rules``.
"""

from lib.jobs.failures.causes import Cause, Rule, rule

_IMAGE_BEFORE = r"Error (?:loading|processing|opening)(?: file| image)?:? *(?P<file>\S.*\.\w{3,4})\b"
# States of a run and what was cached are no models, whatever their files end in.
_NO_MODEL = r"(?!['\"]?[^'\"]*(?:optimizer|scheduler|scaler|random_states|rng_state|train\w*_state|latent|cache|embed))"
_MODEL_FILE = r"\.(?:safetensors|ckpt|pt|pth|bin|gguf|onnx)"
PARENT_FOLDER = (
    "The folder given to the trainer must hold folders with images (such as 10_token), not the images themselves."
)

# Also as a line that nobody marks as an error.
NO_IMAGES = rule(
    Cause.MISSING_DATASET,
    r"No data found\. Please verify",
    "The trainer found no images in the dataset folder.",
    hint=PARENT_FOLDER,
)

DATA_RULES: tuple[Rule, ...] = (
    # The loss.
    rule(
        Cause.NAN_LOSS,
        r"NaN detected in latents: (?P<file>.+)",
        "The latents of {file} are not numbers (NaN).",
        hint="Use a VAE that works in this precision, or train without half-precision VAE (--no_half_vae).",
    ),
    rule(
        Cause.NAN_LOSS,
        r"(?i)\bloss (?:is|was|became|=) ?(?:nan|inf)|\bnan loss\b|loss diverged",
        "The loss became NaN or infinite, so the training was stopped.",
    ),
    rule(
        Cause.NAN_LOSS,
        r"loss scale already at minimum",
        "The gradients were infinite step after step: the loss scale of fp16 cannot be lowered any more.",
    ),
    # Images.
    rule(
        Cause.CORRUPT_IMAGE,
        r"cannot identify image file (?:<[^>]*name=)?['\"]?(?P<file>[^'\"<>]+)",
        "The file {file} is not an image that can be read.",
        "A file of the dataset is not an image that can be read.",
        file_before=_IMAGE_BEFORE,
    ),
    rule(
        Cause.CORRUPT_IMAGE,
        r"(?P<text>image file is truncated(?: \(.*?\))?|broken data stream when reading image file"
        r"|[Tt]runcated [Ff]ile(?: [Rr]ead)?|broken PNG file|not a (?:PNG|JPEG|GIF|BMP|TIFF) file"
        r"|unrecognized data stream contents when reading image file|DecompressionBombError.*"
        r"|decoder error -?\d+ when reading image file)",
        "The image {file} cannot be read: {text}.",
        "An image of the dataset cannot be read: {text}.",
        file_before=_IMAGE_BEFORE,
    ),
    rule(
        Cause.CORRUPT_IMAGE,
        r"UnidentifiedImageError|OpenCV.*(?:_src\.empty\(\)|!buf\.empty\(\)|ssize\.empty\(\))",
        "A file of the dataset is not an image that can be read.",
        file_before=_IMAGE_BEFORE,
    ),
    # The dataset.
    NO_IMAGES,
    rule(
        Cause.MISSING_DATASET,
        r"Instance images? root doesn't exist|Class images? root doesn't exist",
        "The folder with the training images does not exist.",
    ),
    rule(
        Cause.MISSING_DATASET,
        r"No images were discovered by the bucket manager in the dataset:? *(?P<file>[^\s.]*)",
        "No images were found in the dataset {file}.",
        "No images were found in the dataset.",
    ),
    rule(
        Cause.MISSING_DATASET,
        r"Couldn't find (?:any data file|a dataset script|a dataset) at (?P<file>\S+)"
        r"|DatasetNotFoundError: .*?'(?P<file2>[^']+)'|doesn't contain any data files"
        r"|EmptyDatasetError|DatasetNotFoundError|No \(supported\) data files found in (?P<file3>\S+)",
        "There is no dataset at {file}.",
        "The dataset was not found or is empty.",
    ),
    rule(
        Cause.MISSING_DATASET,
        r"No training items found",
        "The trainer found no training items: the latents or text encoder outputs were not cached before.",
        hint="Run the trainer's caching scripts (latents, text encoder outputs) with the same dataset description "
        "first.",
    ),
    rule(
        Cause.MISSING_DATASET,
        r"num_samples=0|num_samples should be a positive integer"
        r"|(?i:no (?:training )?(?:images|samples|data) (?:were )?found|found (?:0|no) images"
        r"|(?:there are|had|has|contains) no (?:\w+ )?(?:images|videos)"
        r"|no (?:image files|valid (?:images|samples|data)|images in|data in))"
        r"|(?i:dataset (?:is empty|has no images|produced no usable samples))"
        r"|(?i:(?:dataset|train_data_dir|image directory|image_dir)\b.{0,80} is empty)"
        r"|(?i:data(?:set)? (?:folder|directory|path)\b.{0,200}(?:does not exist|doesn't exist|not found))",
        "The trainer found no images in the dataset.",
    ),
)

MODEL_RULES: tuple[Rule, ...] = (
    # The base model.
    rule(
        Cause.MISSING_MODEL,
        r"(?P<file>\S{1,300}) is not a local folder and is not a valid model identifier"
        r"|pretrained_model_name_or_path \"(?P<file2>[^\"]{1,300})\" is neither a valid local path nor a valid repo id",
        "There is no base model {file}, neither on this machine nor on the hub.",
    ),
    rule(
        Cause.MISSING_MODEL,
        r"(?P<file>\S{1,300}) does not appear to have (?:a file|files?) named (?P<name>[^\s,]+?)[.,]?(?:\s|$)",
        "The base model {file} has no {name}.",
    ),
    rule(
        Cause.MISSING_MODEL,
        r"(?s)(?:GatedRepoError.*?)?[Aa]ccess to model (?P<file>\S+) is restricted"
        r"|(?:(?:is|access) )?a gated repo\b.{0,80}huggingface\.co/(?P<file2>[\w.-]+/[\w.-]+)"
        r"|GatedRepoError|(?:is|access) a gated repo",
        "The base model {file} is only given to signed-in users.",
        "The base model is only given to signed-in users.",
        hint="Accept its licence on the hub and set HF_TOKEN where the trainer runs.",
    ),
    rule(
        Cause.MISSING_MODEL,
        r"(?:Error no file named .{1,200}? found in directory"
        r"|Can't load (?:the )?(?:tokenizer|model|config\w*)(?: for)?)"
        r" '?(?P<file>[^\s']+?)'?[.,]?(?:\s|$)",
        "The base model {file} is not complete or not there.",
        "The base model is not complete or not there.",
    ),
    rule(
        Cause.MISSING_MODEL,
        r"RepositoryNotFoundError|RevisionNotFoundError|EntryNotFoundError: 404|HFValidationError"
        r"|Repo id must be in the form|Cannot find (?:any )?(?:model|checkpoint)"
        r"|model (?:file |path )?(?:does not exist|doesn't exist|not found)",
        "The base model was not found.",
    ),
    rule(
        Cause.MISSING_MODEL,
        rf"No such file or directory: {_NO_MODEL}['\"]?(?P<file>[^'\"]+{_MODEL_FILE})\b"
        rf"|\"(?P<file2>[^\"]+{_MODEL_FILE})\" .*does not exist",
        "The model file {file} does not exist.",
        "A model file does not exist.",
    ),
    rule(
        Cause.BROKEN_MODEL,
        r"Error while deserializing header: ?(?P<text>\w*)|HeaderToo(?:Large|Small)"
        r"|InvalidHeader|IncompleteBuffer",
        "The model file is broken: its safetensors header cannot be read ({text}).",
        "The model file is broken: its safetensors header cannot be read.",
    ),
    rule(
        Cause.BROKEN_MODEL,
        r"Unable to load weights from (?:pytorch )?checkpoint file for '(?P<file>[^']+)'",
        "The model file {file} is broken: PyTorch cannot read it.",
    ),
    rule(
        Cause.BROKEN_MODEL,
        r"UnpicklingError|PytorchStreamReader failed|invalid load key|failed finding central directory",
        "The model file is broken: PyTorch cannot read it.",
    ),
    rule(
        Cause.BROKEN_MODEL,
        r"in loading state_dict for (?i:lora|lycoris)\w*|size mismatch for (?:lora|lycoris)_"
        r"|doesn't match the size of optimizer's group|different number of parameter groups",
        "The LoRA or state to go on from does not fit this training: its rank, network or optimizer is another.",
        hint="Set rank, network and optimizer as they were then, or start anew without it.",
    ),
    rule(
        Cause.BROKEN_MODEL,
        r"Error\(s\) in loading state_dict for (?P<name>[\w.]+)|size mismatch for \S+",
        "The model file does not fit the network {name}: it is another kind of model.",
        "The model file does not fit the network: it is another kind of model.",
    ),
)

SETTINGS_RULES: tuple[Rule, ...] = (
    # Arguments and files of settings.
    rule(
        Cause.BAD_ARGUMENT,
        r"unrecognized arguments: (?P<text>.+)|arguments are not used by the \w+: (?P<text2>.+)"
        r"|remaining_argv: (?P<text3>.+)",
        "The trainer does not know the arguments {text}.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"ambiguous option: (?P<text>\S+) could match (?P<name>.+)",
        "The argument {text} is ambiguous: it could be {name}.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"the following arguments are required: (?P<text>.+)",
        "The trainer also needs the arguments {text}.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"argument (?P<text>-\S+): (?P<name>.+)|Invalid value for '?(?P<text2>-[\w-]+)[^:]{0,60}: (?P<name2>.+)",
        "The argument {text} is wrong: {name}.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"(?P<text>--\w+)'? value '(?P<name>[^']*)' needs to be one of",
        "The argument {text} is wrong: there is no {name}.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"module '(?:torch|bitsandbytes)\.optim\S*' has no attribute '(?P<text>\w+)'",
        "There is no optimizer or scheduler named {text}.",
    ),
    rule(
        Cause.MISSING_FILE,
        r"Can't find a valid checkpoint at (?P<file>\S+)",
        "There is no checkpoint to go on from at {file}.",
    ),
    rule(
        Cause.MISSING_FILE,
        r"Could not find config file (?P<file>\S+)",
        "The trainer needs the settings file {file}, which does not exist.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"[Tt]arget modules .{1,200} not found in the base model|not any lora modules in this network"
        r"|No (?:LoRA )?modules (?:were )?(?:found|matched)",
        "The LoRA has no module to train: none of the network's modules has a name that it looks for.",
        hint="Check the network settings (network_module, target modules) against the kind of the base model.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"(?:[Uu]nknown|[Uu]nsupported|[Ii]nvalid|[Uu]nrecognized) (?P<name>optimizer|(?:lr )?scheduler"
        r"|model type|network module"
        r"|attention|loss type|precision)(?: type| name)?:? '?\"?(?P<text>[\w.-]+)"
        r"|(?P<name2>[Oo]ptimizer|[Ss]cheduler) '?(?P<text2>[\w.-]+?)'? (?:was )?not (?:found|supported|recognized)",
        "The trainer knows no {name} {text}.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"(?P<text>\S{1,80}) is not a valid (?P<name>\w+)(?:, please select one of|\. Valid|\.? Choose|(?<=[a-z])$)",
        "The setting {name} cannot be {text}.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"At most one of (?P<text>\w+) and (?P<name>\w+) can be True",
        "The settings exclude one another: {text} and {name}.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"Check batch related parameters\. (?P<text>.+)",
        "The batch sizes of DeepSpeed's settings do not fit one another: {text}.",
    ),
    rule(
        Cause.BAD_ARGUMENT,
        r"Are you sure the module '(?P<text>[^']+)' exists",
        "A settings file names {text}, which the trainer does not have.",
    ),
    rule(Cause.BAD_ARGUMENT, r"[Nn]o such option:? (?P<text>\S+)", "The trainer does not know the argument {text}."),
    rule(
        Cause.BAD_ARGUMENT,
        # JSON may be anything: lib.jobs.failures.structure looks at who read it.
        r"(?:Toml|TOML|Yaml|YAML)Decoder?Error: (?P<text>.+)"
        r"|yaml\.\w+\.(?:Scanner|Parser|Constructor|Composer)Error: (?P<text2>(?s:.{1,200}))"
        r"|(?:voluptuous|multiple_invalid)\S*Invalid: (?P<text3>.+)|ValidationError: .+",
        "A settings file of the training cannot be read: {text}.",
        "A settings file of the training cannot be read.",
    ),
)
