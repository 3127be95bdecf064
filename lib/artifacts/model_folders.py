"""Model files on this machine that a person may name: only those below folders that the operator allows."""

from collections.abc import Sequence
from pathlib import Path

from lib.errors import ArtifactError


def file_below(folders: Sequence[Path], given: str) -> Path:
    """The real path of a file below one of the folders, links followed; ``given`` may be relative to any of them.

    Raises:
        ArtifactError: There is no such file, or it lies elsewhere. Both sound alike: what lies elsewhere is nobody's
            business.
    """
    for folder in folders:
        try:
            path = (folder / given.strip()).resolve(strict=True)
            if path.is_relative_to(folder.resolve()) and path.is_file():
                return path
        except (OSError, ValueError, RuntimeError):  # not there; a NUL or an endless link
            continue
    if not folders:
        raise ArtifactError(
            "No folder is open for files of this machine.", hint="Set LORA_MODEL_DIRS to the folders that may be read."
        )
    hint = f"Name a file below {' or '.join(str(folder) for folder in folders)}."
    raise ArtifactError("There is no such file below the folders that may be read.", hint=hint)
