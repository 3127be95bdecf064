"""Where a trainer is installed: its checkout and the Python that runs it, and what is missing there."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_VENVS = ("venv", ".venv")
_PYTHONS = (Path("bin", "python"), Path("Scripts", "python.exe"))
_SITE_PACKAGES = ("lib/python3*/site-packages", "Lib/site-packages")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerFolder:
    """The installation of one trainer.

    Attributes:
        name: What the trainer is called.
        setting: Beginning of its two settings, such as ``MUSUBI_TUNER`` for ``MUSUBI_TUNER_DIR`` and ``…_PYTHON``.
        path: The checkout; None where the setting is missing.
        given_python: The Python that the setting names; None: that of a ``venv`` or ``.venv`` in the checkout.
    """

    name: str
    setting: str
    path: Path | None = None
    given_python: Path | None = None

    @property
    def python(self) -> Path | None:
        """The Python of its environment; None where there is none."""
        if self.given_python or not self.path:
            return self.given_python
        found = (self.path / venv / python for venv in _VENVS for python in _PYTHONS)
        return next((each for each in found if each.is_file()), None)

    def at(self, relative: str) -> str:
        """The whole path of a file of the checkout; where there is no checkout, the relative one."""
        return str(self.path / relative) if self.path else relative

    def accelerate(self) -> list[str]:
        """How to call ``accelerate launch``."""
        if self.python:
            return [str(self.python), "-m", "accelerate.commands.launch"]
        return ["accelerate", "launch"]

    def problems(self, scripts: Sequence[str], packages: Sequence[str] = ("torch", "accelerate")) -> list[str]:
        """What is missing to run scripts of the checkout with packages, in plain sentences.

        Packages are looked for in the folder of the environment only, where it has one: a Python that finds them
        elsewhere is not asked.
        """
        where = f"{self.setting}_DIR"
        if self.path is None:
            return [f"{self.name} is not set up. Set {where} to the folder of a checkout of {self.name}."]
        missing = next((each for each in scripts if not (self.path / each).is_file()), None)
        if missing:
            return [
                f"There is no {missing} in {self.path}: it is no checkout of {self.name}, or one of another version. "
                f"Set {where} to a checkout of {self.name}, or update it."
            ]
        if self.python is None:
            is_found = "accelerate" in packages and shutil.which("accelerate") is not None
            return [] if is_found else [
                f"There is no Python environment in {self.path}. Make one there, named venv, with the requirements of "
                f"{self.name}, or name its Python with {self.setting}_PYTHON."
            ]  # fmt: skip
        absent = [each for each in packages if self._lacks(each)]
        return [
            f"The Python environment of {self.name} at {self.python} has no {absent[0]}: it is not installed to the "
            f"end. Install the requirements of {self.name} there."
        ] if absent else []  # fmt: skip

    def _lacks(self, package: str) -> bool:
        root = self.python.parent.parent if self.python else Path()
        folders = [folder for pattern in _SITE_PACKAGES for folder in root.glob(pattern)]
        # "pip install -e" leaves no folder there, only what it knows about the package.
        if any(next(folder.glob(f"{package}-*.dist-info"), None) for folder in folders):
            return False
        config = root / "pyvenv.cfg"
        shares = config.is_file() and "include-system-site-packages = true" in config.read_text("utf-8", "replace")
        return bool(folders) and not shares and not any((folder / package).is_dir() for folder in folders)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What a training needs of a trainer's folder: a script that starts, and packages."""

    folder: TrainerFolder
    script: str
    packages: tuple[str, ...] = ("torch", "accelerate")
