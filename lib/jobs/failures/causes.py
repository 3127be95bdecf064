"""The causes a failure can have, what to do about each, and what a rule is that recognises one."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why an attempt did not succeed."""

    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"
    INTERRUPTED = "interrupted"
    MISSING_DATASET = "missing_dataset"
    MISSING_MODEL = "missing_model"
    BROKEN_MODEL = "broken_model"
    MISSING_FILE = "missing_file"
    MISSING_TRAINER = "missing_trainer"
    CORRUPT_IMAGE = "corrupt_image"
    BAD_ARGUMENT = "bad_argument"
    IMPORT_ERROR = "import_error"
    DISK_FULL = "disk_full"
    NAN_LOSS = "nan_loss"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    NODE_LOST = "node_lost"
    NODE_MEMORY = "node_memory"
    NODE_SETUP = "node_setup"
    CLUSTER_LOST = "cluster_lost"
    MISSING_LOGIN = "missing_login"
    PERMISSION_DENIED = "permission_denied"
    NO_OUTPUT = "no_output"
    NETWORK = "network"
    CUDA_ERROR = "cuda_error"
    DISTRIBUTED = "distributed"
    PRECISION = "precision"
    LIBRARY_MISMATCH = "library_mismatch"
    TRAINER_REFUSED = "trainer_refused"
    TRAINER_BUG = "trainer_bug"
    UNKNOWN = "unknown"


# Causes that are often only the echo of another one: a stronger one nearby wins.
ECHOES = frozenset({Cause.DISTRIBUTED, Cause.NETWORK, Cause.MISSING_FILE, Cause.KILLED})
CERTAIN, LIKELY = "certain", "likely"

HINTS = {
    Cause.OUT_OF_MEMORY: "Lower the batch size, the resolution or the rank, or turn on gradient checkpointing, "
    "and see that nothing else uses the memory.",
    Cause.KILLED: "See whether the kernel did it (dmesg then says: Out of memory) or the container's memory limit; "
    "if neither, somebody killed it, or the machine was shut down.",
    Cause.INTERRUPTED: "Start it again if this was not wanted.",
    Cause.MISSING_DATASET: "Check that the dataset has images and that its path is right.",
    Cause.MISSING_MODEL: "Check the name or the path of the base model, and that it can be downloaded from here.",
    Cause.BROKEN_MODEL: "Download the model file again, and check that it is of the kind the trainer expects.",
    Cause.MISSING_FILE: "Check the path in the settings.",
    Cause.MISSING_TRAINER: "Check where the trainer is installed and the settings that say so.",
    Cause.CORRUPT_IMAGE: "Replace the image or remove it from the dataset.",
    Cause.BAD_ARGUMENT: "Correct the setting; the command line is among the job's details.",
    Cause.IMPORT_ERROR: "Install what is missing into the trainer's environment.",
    Cause.DISK_FULL: "Free some space, or let the trainer keep fewer checkpoints.",
    Cause.NAN_LOSS: "Lower the learning rate, or train in another precision (bf16 instead of fp16).",
    Cause.TIMEOUT: "Raise the time limit, or train for fewer steps.",
    Cause.WORKER_LOST: "Its log and files are kept. Retry the training.",
    Cause.NODE_LOST: "Its log and files up to then are kept. Retry the training; if it happens again, see the "
    "node's system.",
    Cause.NODE_MEMORY: "Retry it with more memory on the cluster, so that fewer jobs share a node, or lower what the "
    "training needs.",
    Cause.NODE_SETUP: "Every node must have python3, and see the data folder at the same path, as the same user, or "
    "reach the store where LORA_RAY_TRANSPORT is s3; then retry.",
    Cause.CLUSTER_LOST: "See whether the cluster's head was restarted. Its log and files up to then are kept: "
    "retry the training.",
    Cause.MISSING_LOGIN: "Sign in where the trainer runs, or turn the service off in the settings.",
    Cause.PERMISSION_DENIED: "Give the user that runs the trainer access to it.",
    Cause.NO_OUTPUT: "Look at the end of the log for a warning that explains it.",
    Cause.NETWORK: "Check the connection and try again, or put the files on this machine beforehand.",
    Cause.CUDA_ERROR: "Check the graphics driver, and that the trainer's PyTorch was built for this card.",
    Cause.DISTRIBUTED: "Another process of the same run may have failed first, or still holds the port.",
    Cause.PRECISION: "Let model, VAE and training use one precision: set mixed_precision to bf16 (or no), and leave "
    "full fp16 or bf16 training off.",
    Cause.LIBRARY_MISMATCH: "Install the versions that the trainer's requirements name, in the trainer's own "
    "environment, and try again.",
    Cause.TRAINER_REFUSED: "Change the setting that the message names; the trainer checks it before the first step.",
    Cause.TRAINER_BUG: "Update the trainer, or go back to its last release, and report the traceback to its authors.",
    Cause.UNKNOWN: "Search the trainer's issues for the message above; the traceback shows where it broke.",
}
# For what is lost and left a training state.
CONTINUED_HINTS = {
    Cause.WORKER_LOST: "Its log and files are kept. Continue the training from its newest state.",
    Cause.NODE_LOST: "Its log and files up to then are kept. Continue the training from its newest state; if it "
    "happens again, see the node's system.",
    Cause.CLUSTER_LOST: "See whether the cluster's head was restarted. Its log and files up to then are kept: continue "
    "the training from its newest state.",
}
CRASH_HINT = "Look for a driver, PyTorch or extension (xformers, bitsandbytes) that does not fit, then try again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Words that mean a cause.

    Attributes:
        message: One sentence; may name groups of the pattern and ``file``.
        vague: The same sentence for when one of these is not known.
        file_before: Where an earlier line of the log names the file.
        is_inferred: The words do not say the cause, it is what they most often come from.
    """

    cause: Cause
    pattern: re.Pattern[str]
    message: str
    vague: str = ""
    hint: str = ""
    file_before: re.Pattern[str] | None = None
    is_inferred: bool = False


def rule(
    cause: Cause,
    pattern: str,
    message: str,
    vague: str = "",
    *,
    hint: str = "",
    file_before: str = "",
    is_inferred: bool = False,
) -> Rule:
    """A rule as the tables write it."""
    return Rule(
        cause=cause,
        pattern=re.compile(pattern),
        message=message,
        vague=vague,
        hint=hint,
        file_before=re.compile(file_before) if file_before else None,
        is_inferred=is_inferred,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule concludes from a text; sure only when the text says it first, not in passing."""

    rule: Rule
    facts: dict[str, str]
    is_sure: bool = True

    def sentence(self, file: str = "") -> str:
        """One plain sentence with the facts that are known."""
        known = {**({"file": file} if file else {}), **self.facts}
        try:
            return self.rule.message.format_map(known)
        except KeyError:
            return (self.rule.vague or "The training failed.").format_map(_Blank(known))


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""
