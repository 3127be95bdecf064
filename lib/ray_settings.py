"""The settings of a Ray cluster: checked with the others, kept apart because they are many."""

import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from lib.errors import SettingsError
from lib.sign_in_settings import http_address, one_line

LOCAL, RAY = "local", "ray"
FOLDER, S3 = "folder", "s3"
SAME = "same"  # a trainer whose command line is on the nodes as it is here
_ADDRESS, _TOKEN, _TRAINERS = "RAY_ADDRESS", "RAY_AUTH_TOKEN", "LORA_RAY_TRAINERS"
_TRANSPORT = "LORA_RAY_TRANSPORT"
_LAUNCHERS = ("uv", "docker", "podman", "apptainer", "singularity", "conda")  # they start a Python that follows


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySettings:
    """A Ray cluster that runs attempts.

    Attributes:
        address: Of its Jobs REST API, which is its dashboard's (RAY_ADDRESS).
        token: Where it asks for one (RAY_AUTH_TOKEN).
        trainers: Recipe -> what runs its Python on the nodes, as words of a command line, or ``same``
            (LORA_RAY_TRAINERS).
        transport: ``folder`` where the nodes see the data folder, ``s3`` where files go through the object store
            (LORA_RAY_TRANSPORT).
    """

    address: str
    token: str = field(default="", repr=False)
    trainers: Mapping[str, str] = field(default_factory=dict)
    transport: str = FOLDER

    @property
    def variables(self) -> dict[str, str]:
        """The same for the worker's environment, which only this account can read."""
        return {
            _ADDRESS: self.address,
            _TOKEN: self.token,
            _TRAINERS: json.dumps(dict(self.trainers)),
            _TRANSPORT: self.transport,
        }


def handed_ray_settings(environ: Mapping[str, str]) -> RaySettings | None:
    """What the dashboard handed to the worker; None where it has no cluster."""
    if not environ.get(_TRAINERS, "").startswith("{"):
        return None
    trainers = json.loads(environ[_TRAINERS])
    token, transport = environ.get(_TOKEN, ""), environ.get(_TRANSPORT, FOLDER)
    return RaySettings(address=environ[_ADDRESS], token=token, trainers=trainers, transport=transport)


def _entries(given: object) -> object:
    """One text is cut into its entries at commas."""
    return [each.strip().lower() for each in given.split(",") if each.strip()] if isinstance(given, str) else given


def _pairs(given: object) -> object:
    """A TOML table stays as it is; one text has an entry per line or semicolon, each a name, = and a command.

    JSON is what the dashboard hands to the worker.
    """
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("{"):
        with suppress(ValueError):
            return json.loads(given)
    pairs = [entry.partition("=") for entry in given.replace("\n", ";").split(";") if entry.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("has an entry without =; it should look like tiny=/opt/lora/bin/python")
    return {name.strip(): command.strip() for name, _, command in pairs}


def _command(text: str) -> str:
    """What is there in place of a program; it is started as it stands, without a shell."""
    try:
        program, *more = shlex.split(text)
    except ValueError:
        raise ValueError('has an entry that is no command, such as "/opt/sd/bin/python" or "same"') from None
    if any(word.endswith(",") for word in (program, *more)):
        raise ValueError("has a comma between entries; a semicolon parts them")
    if program == SAME and more:
        raise ValueError(f"has an entry with words after {SAME}, which stands alone")
    if found := [character for character in "$`|&<>" if character in text]:
        raise ValueError(f"has an entry with {found[0]}, which no shell reads there; write it out")
    if "/" in program and not program.startswith("/"):
        raise ValueError(f"has {program[:80]!r}, which the nodes do not find; a path begins with /")
    if PurePosixPath(program).name in _LAUNCHERS and not any(map(_is_python, more)):
        raise ValueError('has an entry that names no Python at its end, as in "uv run --project /opt/sd python"')
    return text


def _is_python(word: str) -> bool:
    return PurePosixPath(word).name.startswith("python")


class RayGiven(BaseModel):
    """The settings by the names that people write. RAY_ADDRESS counts only where the cluster is wanted."""

    LORA_EXECUTORS: Annotated[list[Literal["local", "ray"]], BeforeValidator(_entries)] = Field(
        default=["local"], min_length=1
    )
    RAY_ADDRESS: str = ""
    LORA_RAY_TRANSPORT: Literal["folder", "s3"] = "folder"
    RAY_AUTH_TOKEN: Annotated[str, AfterValidator(one_line)] = ""
    LORA_RAY_TRAINERS: Annotated[dict[str, Annotated[str, AfterValidator(_command)]], BeforeValidator(_pairs)] = Field(
        default={}
    )


def ray_settings(given: RayGiven, origins: Mapping[str, str]) -> RaySettings | None:
    """The cluster; None where LORA_EXECUTORS does not name it. Raises SettingsError."""
    if RAY not in given.LORA_EXECUTORS:
        return None
    hint = "Set it to the address of the dashboard of the cluster's head, such as http://head:8265."
    where = f"(read from {origins.get(_ADDRESS, origins['LORA_EXECUTORS'])})"
    if not given.RAY_ADDRESS:
        raise SettingsError(f"RAY_ADDRESS is missing, though LORA_EXECUTORS names ray {where}.", hint=hint)
    try:
        address = http_address(given.RAY_ADDRESS)
    except ValueError as error:
        raise SettingsError(f"RAY_ADDRESS {error} {where}.", hint=hint) from None
    if given.LORA_RAY_TRANSPORT == S3 and "S3_BUCKET" not in origins:
        raise SettingsError(
            f"S3_BUCKET is missing, though LORA_RAY_TRANSPORT is s3 (read from {origins[_TRANSPORT]}).",
            hint="Set it to the name of the bucket that the cluster's files go through.",
        )
    return RaySettings(
        address=address,
        token=given.RAY_AUTH_TOKEN,
        trainers=given.LORA_RAY_TRAINERS,
        transport=given.LORA_RAY_TRANSPORT,
    )


def trainer_problem(trainer: str, settings: RaySettings) -> str:
    """Why a trainer cannot run on the cluster; empty when it can as far as is known here."""
    if trainer in settings.trainers:
        return ""
    return (
        f"LORA_RAY_TRAINERS does not say what runs {trainer} on the cluster's nodes. "
        f"Add the path of its Python there, or {SAME} where its command is the same as here."
    )
