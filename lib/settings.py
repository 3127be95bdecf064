"""Settings from the environment or .streamlit/secrets.toml, checked once, with errors that name the setting."""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError

from lib.errors import SettingsError
from lib.path_settings import Folder, TrainerPaths, absolute
from lib.ray_settings import RayGiven, RaySettings, ray_settings
from lib.sign_in_settings import (
    SignInGiven,
    SignInSettings,
    http_address,
    lowered,
    one_line,
    sign_in_settings,
    wants_sign_in,
)

ROOT = Path(__file__).resolve().parent.parent
SECRETS_FILE = ROOT / ".streamlit" / "secrets.toml"
# Streamlit's own tables in the same file: sign-in and st.connection.
STREAMLIT_TABLES = frozenset({"auth", "connections"})
ENVIRONMENT = "the environment"
TRAINER_ENV = "LORA_TRAINER_ENV"  # a table in the file; variables LORA_TRAINER_ENV_<NAME> in the environment
NOTIFY_EVENTS = ("finished", "failed", "nan", "stalled", "disk")
DEFAULT_REGION = "us-east-1"  # what stores other than AWS expect in a signature


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluencerSettings:
    """Where the InfluencerAI API is and how to sign in; secrets never appear in a repr.

    ``all_tenants`` shows the jobs of every tenant, where the API gives them away.
    """

    api_url: str
    email: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    all_tenants: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """An S3-compatible store. Empty key and secret: boto3's ordinary credential chain."""

    bucket: str
    endpoint: str = ""
    region: str = ""
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRules:
    """What a configuration may run, and what goes on without being asked.

    Attributes:
        model_dirs: Folders below which a training may read models (LORA_MODEL_DIRS).
        allow_pickles: Whether model files other than .safetensors may be opened (LORA_ALLOW_PICKLES).
        allow_any_option: Whether further options are passed on unchecked (LORA_ALLOW_ANY_OPTION).
        resume_after_restart: Whether a training goes on by itself that a restart of the machine ended, or that its
            cluster lost (LORA_RESUME_AFTER_RESTART).
    """

    model_dirs: tuple[Path, ...] = ()
    allow_pickles: bool = False
    allow_any_option: bool = False
    resume_after_restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySettings:
    """Who is told of what.

    Attributes:
        urls: Addresses of services as apprise writes them; secrets (LORA_NOTIFY_URLS).
        events: What they are told of (LORA_NOTIFY_EVENTS).
        link: Where people open the dashboard (LORA_URL); empty when unknown.
    """

    urls: tuple[str, ...] = field(default=(), repr=False)
    events: tuple[str, ...] = NOTIFY_EVENTS
    link: str = ""

    @property
    def told(self) -> tuple[str, ...]:
        """The events to write messages of: none where nobody would get them."""
        return self.events if self.urls else ()

    @property
    def variables(self) -> dict[str, str]:
        """The same for the worker's environment, which only this account can read."""
        if not self.urls:
            return {}
        urls, events = " ".join(self.urls), " ".join(self.events)
        return {"LORA_NOTIFY_URLS": urls, "LORA_NOTIFY_EVENTS": events, "LORA_URL": self.link}


def handed_notify_settings(environ: Mapping[str, str]) -> NotifySettings:
    """What the dashboard handed to the worker; nobody is told of anything where there is nothing."""
    urls, events = (environ.get(f"LORA_NOTIFY_{name}", "").split() for name in ("URLS", "EVENTS"))
    return NotifySettings(urls=tuple(urls), events=tuple(events), link=environ.get("LORA_URL", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set.

    Attributes:
        source: ``embedded`` or ``influencerai`` (LORA_SOURCE).
        data_dir: Folder of the embedded source (LORA_DATA_DIR).
        max_parallel: Trainers at once on this machine (LORA_MAX_PARALLEL).
        gpus: The cards that trainers get, by CUDA's number or id; empty: all there are (LORA_GPUS).
        trainer_paths: Setting's name -> where a trainer is installed, for the recipes that ask for it; the known names
            are the fields of ``TrainerPaths``.
        trainer_env: Variables for trainers only, such as WANDB_API_KEY; secrets (LORA_TRAINER_ENV).
        rules: What a configuration may run.
        watch_dirs: Folders in which runs that others started may be watched (LORA_WATCH_DIRS).
        s3: The store of the artifacts; the embedded source keeps a copy of its files there.
        executors: Where jobs may run: ``local``, ``ray``; the first is the usual one (LORA_EXECUTORS).
        ray: The cluster, where ``executors`` name it.
        sign_in: Who may come in, and who may do what.
        notify: Who is told of what.
    """

    source: str = "embedded"
    data_dir: Path = ROOT / "data"
    max_parallel: int = 1
    gpus: tuple[str, ...] = ()
    trainer_paths: Mapping[str, Path] = field(default_factory=dict)
    trainer_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    rules: TrainingRules = field(default_factory=TrainingRules)
    watch_dirs: tuple[Path, ...] = ()
    influencerai: InfluencerSettings | None = None
    s3: S3Settings | None = None
    executors: tuple[str, ...] = ("local",)
    ray: RaySettings | None = None
    sign_in: SignInSettings = field(default_factory=SignInSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)


def settings_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The file with settings: the one that LORA_SETTINGS_FILE names, else .streamlit/secrets.toml."""
    return Path(environ.get("LORA_SETTINGS_FILE", "").strip() or SECRETS_FILE)


def is_sign_in_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the settings, even invalid ones, ask for sign-in: nothing may be open until it works."""
    try:
        values, _ = _collect(environ, settings_file(environ))
    except SettingsError:
        return True
    return wants_sign_in(values)


def load_settings(environ: Mapping[str, str] = os.environ, secrets_file: Path | None = None) -> Settings:
    """Read the settings; the environment wins over the file. Raises SettingsError."""
    path = settings_file(environ) if secrets_file is None else secrets_file
    values, origins = _collect(environ, path)
    given = _checked(values, origins)
    return Settings(
        source=given.LORA_SOURCE,
        data_dir=Path(given.LORA_DATA_DIR) if given.LORA_DATA_DIR else ROOT / "data",
        max_parallel=given.LORA_MAX_PARALLEL,
        gpus=tuple(given.LORA_GPUS),
        trainer_paths={
            name: Path(path) for name in TrainerPaths.model_fields if (path := getattr(given, name)) is not None
        },
        trainer_env=given.LORA_TRAINER_ENV,
        rules=TrainingRules(
            model_dirs=tuple(map(Path, given.LORA_MODEL_DIRS)),
            allow_pickles=given.LORA_ALLOW_PICKLES,
            allow_any_option=given.LORA_ALLOW_ANY_OPTION,
            resume_after_restart=given.LORA_RESUME_AFTER_RESTART,
        ),
        watch_dirs=tuple(map(Path, given.LORA_WATCH_DIRS)),
        influencerai=_influencerai(given, origins),
        s3=_s3(given, origins),
        executors=tuple(dict.fromkeys(given.LORA_EXECUTORS)),
        ray=ray_settings(given, origins),
        sign_in=sign_in_settings(given, origins),
        notify=NotifySettings(
            urls=tuple(given.LORA_NOTIFY_URLS), events=tuple(given.LORA_NOTIFY_EVENTS), link=given.LORA_URL
        ),
    )


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", text):
        raise ValueError("is not a bucket name (3 to 63 letters, digits, dots and hyphens)")
    return text


def _parts(separator: str | None) -> Callable[[object], object]:
    """A TOML list stays as it is; one text is cut into its entries, by default at spaces."""

    def split(given: object) -> object:
        return [each for each in given.split(separator) if each.strip()] if isinstance(given, str) else given

    return split


def _service_address(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", text):
        raise ValueError("has an entry that is no address of a service, such as mailto://… or discord://…")
    return text


def _known_event(text: str) -> str:
    if text.lower() not in NOTIFY_EVENTS:
        raise ValueError(f"has an entry that is none of {', '.join(NOTIFY_EVENTS)}")
    return text.lower()


def _card(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,3}|(GPU|MIG)-[0-9A-Za-z/-]+", text):
        raise ValueError("has an entry that is no card: write its number, or its id as nvidia-smi -L shows it")
    return text


def _variable_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("has a name that no environment variable can have")
    return text


def _variable_value(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a value that no environment variable can have")
    return text


def _without_bearer(text: object) -> object:
    return re.sub(r"^bearer\s+", "", text, flags=re.IGNORECASE) if isinstance(text, str) else text


Address = Annotated[str, AfterValidator(http_address)]
Header = Annotated[str, BeforeValidator(_without_bearer), AfterValidator(one_line)]


ServiceAddress = Annotated[str, AfterValidator(_service_address)]
KnownEvent = Annotated[str, AfterValidator(_known_event)]
Card = Annotated[str, AfterValidator(_card)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
VariableValue = Annotated[str, AfterValidator(_variable_value)]


class _Given(TrainerPaths, SignInGiven, RayGiven):
    """The settings by the names that people write."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, coerce_numbers_to_str=True)

    LORA_SOURCE: Annotated[Literal["embedded", "influencerai"], BeforeValidator(lowered)] = "embedded"
    LORA_DATA_DIR: Annotated[str, AfterValidator(absolute)] = ""
    LORA_MAX_PARALLEL: int = Field(default=1, ge=1, le=64)
    LORA_GPUS: Annotated[list[Card], BeforeValidator(_parts(","))] = Field(default=[])
    LORA_MODEL_DIRS: Annotated[list[Folder], BeforeValidator(_parts(os.pathsep))] = Field(default=[])
    LORA_WATCH_DIRS: Annotated[list[Folder], BeforeValidator(_parts(os.pathsep))] = Field(default=[])
    LORA_ALLOW_PICKLES: bool = False
    LORA_ALLOW_ANY_OPTION: bool = False
    LORA_RESUME_AFTER_RESTART: bool = False
    LORA_NOTIFY_URLS: Annotated[list[ServiceAddress], BeforeValidator(_parts(None))] = Field(default=[])
    LORA_NOTIFY_EVENTS: Annotated[list[KnownEvent], BeforeValidator(_parts(None))] = Field(default=[*NOTIFY_EVENTS])
    LORA_TRAINER_ENV: dict[VariableName, VariableValue] = Field(default={})
    INFLUENCERAI_API_URL: Address | None = None
    INFLUENCERAI_EMAIL: str = ""
    INFLUENCERAI_PASSWORD: str = ""
    INFLUENCERAI_TOKEN: Header = ""
    INFLUENCERAI_ALL_TENANTS: bool = False
    S3_ENDPOINT: Address | None = None
    S3_KEY: Header = ""
    S3_SECRET: Header = ""
    S3_BUCKET: Annotated[str, AfterValidator(_bucket)] | None = None
    AWS_REGION: str = ""


def _collect(environ: Mapping[str, str], path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The values given, and for each name where it was read."""
    values = {name: value for name, value in _read_file(path).items() if value != ""}
    origins = dict.fromkeys(values, path.name)
    for name in _Given.model_fields:
        if environ.get(name, "").strip():
            values[name], origins[name] = environ[name], ENVIRONMENT
    if variables := trainer_variables(environ):
        from_file = values.get(TRAINER_ENV, {})
        values[TRAINER_ENV] = {**from_file, **variables} if isinstance(from_file, Mapping) else from_file
        origins.setdefault(TRAINER_ENV, ENVIRONMENT)
    return values, origins


def trainer_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What LORA_TRAINER_ENV_<NAME> gives to trainers, by NAME."""
    prefix = f"{TRAINER_ENV}_"
    return {name.removeprefix(prefix): value for name, value in environ.items() if name.startswith(prefix)}


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            found = tomllib.load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"The file {path} cannot be read: {reason}.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"The file {path} is not valid TOML: {error}.", hint='Write each setting as NAME = "value".'
        ) from None
    return {name: value for name, value in found.items() if name not in STREAMLIT_TABLES}


def _checked(values: Mapping[str, Any], origins: Mapping[str, str]) -> _Given:
    try:
        return _Given.model_validate(values)
    except ValidationError as error:
        problem = _explained(error, origins)
    # Raised out here, so that it does not carry the original error, which repeats the value: it may be a secret.
    raise problem


def _explained(error: ValidationError, origins: Mapping[str, str]) -> SettingsError:
    """The first problem as one sentence: which setting, what is wrong, where it was read; never its value."""
    problem = error.errors(include_url=False, include_input=False)[0]
    name = str(problem["loc"][0])
    where = f"(read from {origins.get(name, ENVIRONMENT)})"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name.upper(), _Given.model_fields, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known settings: {', '.join(_Given.model_fields)}."
        return SettingsError(f"There is no setting {name} {where}.", hint=hint)
    what = problem["msg"].removeprefix("Value error, ")
    if problem["type"] != "value_error":
        what = f"is wrong: {what.replace('Input should', 'it should')}"
    return SettingsError(f"{name} {what} {where}.", hint="Correct it and start the dashboard again.")


def _influencerai(given: _Given, origins: Mapping[str, str]) -> InfluencerSettings | None:
    if given.INFLUENCERAI_API_URL is None:
        if given.LORA_SOURCE == "influencerai":
            raise SettingsError(
                f"INFLUENCERAI_API_URL is missing, though LORA_SOURCE is influencerai "
                f"(read from {origins['LORA_SOURCE']}).",
                hint="Set it to the address of the API, such as https://api.example.com.",
            )
        return None
    signs_in = bool(given.INFLUENCERAI_EMAIL and given.INFLUENCERAI_PASSWORD)
    if given.LORA_SOURCE == "influencerai" and not signs_in and not given.INFLUENCERAI_TOKEN:
        missing = "INFLUENCERAI_PASSWORD" if given.INFLUENCERAI_EMAIL else "INFLUENCERAI_EMAIL"
        raise SettingsError(
            f"{missing} is missing, so the dashboard cannot sign in to the InfluencerAI API.",
            hint="Set INFLUENCERAI_EMAIL and INFLUENCERAI_PASSWORD, or INFLUENCERAI_TOKEN.",
        )
    return InfluencerSettings(
        api_url=given.INFLUENCERAI_API_URL,
        email=given.INFLUENCERAI_EMAIL,
        password=given.INFLUENCERAI_PASSWORD,
        token=given.INFLUENCERAI_TOKEN,
        all_tenants=given.INFLUENCERAI_ALL_TENANTS,
    )


def _s3(given: _Given, origins: Mapping[str, str]) -> S3Settings | None:
    if bool(given.S3_KEY) != bool(given.S3_SECRET):
        there, missing = ("S3_KEY", "S3_SECRET") if given.S3_KEY else ("S3_SECRET", "S3_KEY")
        raise SettingsError(
            f"{missing} is missing, though {there} is set (read from {origins[there]}).",
            hint="Set both, or neither to use the machine's own AWS credentials.",
        )
    if given.S3_BUCKET is None:
        for there in ("S3_ENDPOINT", "S3_KEY"):
            if there in origins:
                raise SettingsError(
                    f"S3_BUCKET is missing, though {there} is set (read from {origins[there]}).",
                    hint="Set it to the name of the bucket that holds the artifacts.",
                )
        return None
    return S3Settings(
        bucket=given.S3_BUCKET,
        endpoint=given.S3_ENDPOINT or "",
        region=given.AWS_REGION or (DEFAULT_REGION if given.S3_ENDPOINT else ""),
        key=given.S3_KEY,
        secret=given.S3_SECRET,
    )
