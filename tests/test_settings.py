"""Settings: where they come from, and errors that say which one, what and where, but never a secret."""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from lib.errors import SettingsError
from lib.ray_settings import handed_ray_settings
from lib.settings import NOTIFY_EVENTS, ROOT, Settings, TrainingRules, handed_notify_settings, load_settings

SECRET = "s3cret-value-that-must-not-show"
API = {"LORA_SOURCE": "influencerai", "INFLUENCERAI_API_URL": "https://api.test/"}
LOGIN = {"INFLUENCERAI_EMAIL": "me@x.test", "INFLUENCERAI_PASSWORD": SECRET}
EXAMPLE = ROOT / ".streamlit" / "secrets.toml.example"


@pytest.fixture
def no_file(tmp_path: Path) -> Path:
    return tmp_path / "secrets.toml"


def test_nothing_needs_to_be_set(no_file: Path) -> None:
    assert load_settings({}, no_file) == Settings(data_dir=ROOT / "data")


def test_everything_can_come_from_the_environment(no_file: Path, tmp_path: Path) -> None:
    s3 = {"S3_ENDPOINT": "http://s3.test:9000", "S3_KEY": "k", "S3_SECRET": SECRET, "S3_BUCKET": "assets"}
    more = {"LORA_DATA_DIR": str(tmp_path), "LORA_MAX_PARALLEL": "3", "SD_SCRIPTS_DIR": str(tmp_path)}
    found = load_settings({**API, **LOGIN, **s3, **more, "AWS_REGION": "eu-west-1"}, no_file)
    assert found.source == "influencerai"
    assert (found.data_dir, found.max_parallel, found.trainer_paths) == (
        tmp_path.resolve(),
        3,
        {"SD_SCRIPTS_DIR": tmp_path.resolve()},
    )
    assert found.influencerai is not None
    assert (found.influencerai.api_url, found.influencerai.password) == ("https://api.test", SECRET)
    assert found.s3 is not None
    assert (found.s3.endpoint, found.s3.bucket, found.s3.region) == ("http://s3.test:9000", "assets", "eu-west-1")
    assert SECRET not in repr(found)


def test_services_that_are_told_are_secrets_that_the_worker_gets_whole(no_file: Path) -> None:
    urls = f"json://me:{SECRET}@hooks.test/a discord://{SECRET}/{SECRET}"
    given = {"LORA_NOTIFY_URLS": f" {urls} ", "LORA_NOTIFY_EVENTS": "failed  Disk", "LORA_URL": "https://d.test/"}
    found = load_settings(given, no_file)
    assert found.notify.urls == tuple(urls.split())
    assert (found.notify.events, found.notify.link) == (("failed", "disk"), "https://d.test")
    assert handed_notify_settings(found.notify.variables) == found.notify
    assert SECRET not in repr(found)
    assert load_settings({}, no_file).notify.told == ()
    no_file.write_text(f'LORA_NOTIFY_URLS = ["json://{SECRET}.test"]')
    assert load_settings({}, no_file).notify.told == NOTIFY_EVENTS


def test_a_cluster_is_read_where_it_is_wanted_and_its_token_never_shows(no_file: Path) -> None:
    given = {"RAY_ADDRESS": "auto", "LORA_RAY_TRAINERS": "tiny=/opt/a/bin/python -u; sd-scripts = same"}
    assert load_settings(given, no_file).ray is None  # RAY_ADDRESS is Ray's own variable, too
    wanted = {**given, "LORA_EXECUTORS": "Ray, local", "RAY_ADDRESS": "http://head:8265/", "RAY_AUTH_TOKEN": SECRET}
    found = load_settings(wanted, no_file)
    assert found.executors == ("ray", "local")
    assert found.ray is not None
    assert found.ray.address == "http://head:8265"
    assert found.ray.trainers == {"tiny": "/opt/a/bin/python -u", "sd-scripts": "same"}
    assert handed_ray_settings(found.ray.variables) == found.ray
    assert load_settings({**wanted, **found.ray.variables}, no_file).ray == found.ray  # as the worker does
    assert handed_ray_settings(given) is None
    assert SECRET not in repr(found)
    for wrong, words in [
        ({"RAY_ADDRESS": "auto"}, "RAY_ADDRESS is not a web address"),
        ({"RAY_ADDRESS": ""}, "RAY_ADDRESS is missing"),
        ({"LORA_EXECUTORS": "slurm"}, "LORA_EXECUTORS is wrong"),
        ({"LORA_RAY_TRAINERS": "tiny"}, "entry without ="),
        ({"LORA_RAY_TRAINERS": "tiny="}, "no command"),
        ({"LORA_RAY_TRAINERS": "tiny='/opt/a"}, "no command"),
        ({"LORA_RAY_TRAINERS": "tiny=same, sd-scripts=same"}, "a semicolon parts them"),
        ({"LORA_RAY_TRAINERS": "tiny=same -u"}, "words after same"),
        ({"LORA_RAY_TRAINERS": "tiny=$HOME/bin/python"}, r"with \$, which no shell reads"),
        ({"LORA_RAY_TRAINERS": "tiny=~/bin/python"}, "a path begins with /"),
        ({"LORA_RAY_TRAINERS": "tiny=image:a/b:1"}, "a path begins with /"),
        ({"LORA_RAY_TRAINERS": "tiny=uv run --project /opt/sd"}, "names no Python"),
    ]:
        with pytest.raises(SettingsError, match=words):
            load_settings({**wanted, **wrong}, no_file)


def test_the_environment_wins_over_the_file_and_streamlit_keeps_its_tables(no_file: Path) -> None:
    no_file.write_text(
        'LORA_MAX_PARALLEL = 2\nLORA_SOURCE = "Embedded"\nS3_BUCKET = "from-file"\nINFLUENCERAI_PASSWORD = 12345\n'
        '[auth]\nredirect_uri = "x"\n[connections.other]\nurl = "y"\n'
    )
    found = load_settings({"S3_BUCKET": "from-env", "LORA_SOURCE": " "}, no_file)
    assert (found.max_parallel, found.source) == (2, "embedded")
    assert found.s3 is not None
    assert found.s3.bucket == "from-env"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"LORA_SOURCE": "ray"}, "LORA_SOURCE is wrong: it should be 'embedded' or 'influencerai'"),
        ({"LORA_NOTIFY_URLS": SECRET}, "LORA_NOTIFY_URLS has an entry that is no address of a service"),
        ({"LORA_NOTIFY_EVENTS": "failed, disk"}, "LORA_NOTIFY_EVENTS has an entry that is none of finished, failed"),
        ({"LORA_MAX_PARALLEL": "many"}, "LORA_MAX_PARALLEL is wrong"),
        ({"LORA_MAX_PARALLEL": "0"}, "LORA_MAX_PARALLEL is wrong: it should be greater than or equal to 1"),
        ({"SD_SCRIPTS_PYTHON": "/does/not/exist"}, "SD_SCRIPTS_PYTHON is a program that does not exist"),
        ({"SD_SCRIPTS_PYTHON": "~nobody-of-this-name/x"}, "SD_SCRIPTS_PYTHON is not a program on this machine"),
        ({"SD_SCRIPTS_DIR": "/does/not/exist"}, "SD_SCRIPTS_DIR is a folder that does not exist"),
        ({"SD_SCRIPTS_DIR": "~nobody-of-this-name/x"}, "SD_SCRIPTS_DIR is not a folder on this machine"),
        ({"LORA_DATA_DIR": "~nobody-of-this-name/x"}, "LORA_DATA_DIR is not a folder on this machine"),
        ({"LORA_DATA_DIR": "a\0b"}, "LORA_DATA_DIR is not a folder on this machine"),
        ({"LORA_SOURCE": "influencerai"}, "INFLUENCERAI_API_URL is missing"),
        (API, "INFLUENCERAI_EMAIL is missing"),
        ({**API, "INFLUENCERAI_EMAIL": "a"}, "INFLUENCERAI_PASSWORD is missing"),
        ({**API, "INFLUENCERAI_API_URL": "api.test"}, "INFLUENCERAI_API_URL is not a web address"),
        ({**API, "INFLUENCERAI_API_URL": "https://x:port"}, "INFLUENCERAI_API_URL is not a web address"),
        ({**API, "INFLUENCERAI_API_URL": f"https://a:{SECRET}@x"}, "INFLUENCERAI_API_URL contains a user name"),
        ({**API, "INFLUENCERAI_API_URL": f"https://x?token={SECRET}"}, "INFLUENCERAI_API_URL has a query or fragment"),
        ({**API, "INFLUENCERAI_TOKEN": f"{SECRET}\n{SECRET}"}, "INFLUENCERAI_TOKEN contains spaces"),
        ({"S3_KEY": "k", "S3_BUCKET": "assets"}, "S3_SECRET is missing, though S3_KEY is set"),
        ({"S3_SECRET": SECRET, "S3_BUCKET": "assets"}, "S3_KEY is missing, though S3_SECRET is set"),
        ({"S3_ENDPOINT": "http://x"}, "S3_BUCKET is missing, though S3_ENDPOINT is set"),
        ({"S3_BUCKET": "no/bucket"}, "S3_BUCKET is not a bucket name"),
    ],
)
@pytest.mark.parametrize("is_file", [False, True], ids=["environment", "file"])
def test_errors_say_which_what_and_where(environ: dict[str, str], words: str, is_file: bool, no_file: Path) -> None:
    if is_file:
        no_file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in environ.items()))
        environ = {}
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, no_file)
    text = str(caught.value) + caught.value.hint
    assert words in str(caught.value)
    assert caught.value.hint
    assert SECRET not in text + repr(caught.value.__context__)
    if "is missing, so" not in text:
        assert f"(read from {'secrets.toml' if is_file else 'the environment'})" in text


@pytest.mark.parametrize(
    ("content", "words", "hint"),
    [
        (b'S3_BUKET = "x"', "no setting S3_BUKET (read from secrets.toml)", "Did you mean S3_BUCKET?"),
        (b"[wholly.else]\na = 1", "no setting wholly", "Known settings"),
        (b'S3_BUCKET = "x', "is not valid TOML", "NAME"),
        (b'S3_BUCKET = "\xff"', "cannot be read: it is not UTF-8 text", ""),
        (b'S3_SECRET = ["s3cret-value-that-must-not-show"]', "S3_SECRET is wrong", "Correct it"),
    ],
)
def test_a_file_with_mistakes(no_file: Path, content: bytes, words: str, hint: str) -> None:
    no_file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings({}, no_file)
    assert words in str(caught.value)
    assert hint in caught.value.hint
    assert SECRET not in str(caught.value)


def test_the_example_file_names_every_setting(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    lines = [line.removeprefix("# ") for line in text.splitlines() if " = " in line]
    names = set(tomllib.loads("\n".join(lines)))
    errors = tmp_path / "x.toml"
    errors.write_text("ANYTHING = 1")
    with pytest.raises(SettingsError) as caught:
        load_settings({}, errors)
    assert names == {name.strip(" .") for name in caught.value.hint.removeprefix("Known settings: ").split(",")}
    assert tomllib.loads(text) == {}


def test_what_a_configuration_may_run(no_file: Path, tmp_path: Path) -> None:
    for name in ("models", "more"):
        (tmp_path / name).mkdir()
    both = f"{tmp_path}/models:{tmp_path}/more"
    environ = {"LORA_MODEL_DIRS": both, "LORA_ALLOW_PICKLES": "1", "LORA_TRAINER_ENV_HF_TOKEN": SECRET}
    found = load_settings(environ, no_file)
    assert found.rules == TrainingRules(model_dirs=(tmp_path / "models", tmp_path / "more"), allow_pickles=True)
    assert found.trainer_env == {"HF_TOKEN": SECRET}
    assert SECRET not in repr(found)
    no_file.write_text(
        f'LORA_MODEL_DIRS = ["{tmp_path}/more"]\nLORA_ALLOW_ANY_OPTION = true\n'
        '[LORA_TRAINER_ENV]\nHF_TOKEN = "file"\nWANDB_API_KEY = "file"\n'
    )
    found = load_settings({"LORA_TRAINER_ENV_HF_TOKEN": SECRET}, no_file)
    assert found.rules == TrainingRules(model_dirs=(tmp_path / "more",), allow_any_option=True)
    assert found.trainer_env == {"HF_TOKEN": SECRET, "WANDB_API_KEY": "file"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('LORA_MODEL_DIRS = ["/does/not/exist"]', "LORA_MODEL_DIRS is a folder that does not exist"),
        ("LORA_MODEL_DIRS = 5", "LORA_MODEL_DIRS is wrong"),
        ('LORA_ALLOW_PICKLES = "perhaps"', "LORA_ALLOW_PICKLES is wrong"),
        (f'LORA_TRAINER_ENV = "{SECRET}"', "LORA_TRAINER_ENV is wrong"),
        (f'LORA_TRAINER_ENV = {{ "a b" = "{SECRET}" }}', "LORA_TRAINER_ENV has a name that no environment variable"),
        (f'LORA_TRAINER_ENV = {{ A = "{SECRET}\\u0000" }}', "LORA_TRAINER_ENV has a value that no environment"),
    ],
)
def test_mistakes_in_what_a_configuration_may_run(no_file: Path, content: str, words: str) -> None:
    no_file.write_text(content)
    with pytest.raises(SettingsError) as caught:
        load_settings({"LORA_TRAINER_ENV_X": "y"} if "perhaps" in content else {}, no_file)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value) + repr(caught.value.__context__)


def test_the_python_of_an_environment_stays_the_link_that_it_is(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    given = {"SD_SCRIPTS_PYTHON": str(tmp_path / "python")}
    assert load_settings(given, tmp_path / "none.toml").trainer_paths == {"SD_SCRIPTS_PYTHON": tmp_path / "python"}
