"""Settings that name folders and files of this machine: what trainers are installed where."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel


def absolute(text: str) -> str:
    """A path from the root, without ``~`` and links. Raises ValueError, which says what is wrong."""
    try:
        return str(Path(text).expanduser().resolve()) if text else ""
    except (RuntimeError, OSError, ValueError):  # ~name of an unknown user, circular links, a NUL
        raise ValueError("is not a folder on this machine; ~name needs a user of that name") from None


def _existing_folder(text: str) -> str:
    path = absolute(text)
    if not Path(path).is_dir():
        raise ValueError("is a folder that does not exist")
    return path


def _existing_file(text: str) -> str:
    path = absolute(text)
    if not Path(path).is_file():
        raise ValueError("is a file that does not exist")
    return path


def _existing_program(text: str) -> str:
    try:
        # Its links are kept: the Python of an environment is a link to one that knows nothing of it.
        path = Path.cwd() / Path(text).expanduser()
    except RuntimeError:
        raise ValueError("is not a program on this machine; ~name needs a user of that name") from None
    if not path.is_file() or not os.access(path, os.X_OK):
        raise ValueError("is a program that does not exist, or that may not be run")
    return str(path)


Folder = Annotated[str, AfterValidator(_existing_folder)]
File = Annotated[str, AfterValidator(_existing_file)]
Program = Annotated[str, AfterValidator(_existing_program)]


class TrainerPaths(BaseModel):
    """Where trainers that are not part of the dashboard are, with the Python of each, and the file of commands."""

    SD_SCRIPTS_DIR: Folder | None = None
    SD_SCRIPTS_PYTHON: Program | None = None
    MUSUBI_TUNER_DIR: Folder | None = None
    MUSUBI_TUNER_PYTHON: Program | None = None
    DIFFUSERS_DIR: Folder | None = None
    DIFFUSERS_PYTHON: Program | None = None
    AI_TOOLKIT_DIR: Folder | None = None
    AI_TOOLKIT_PYTHON: Program | None = None
    LORA_COMMANDS: File | None = None
