"""README, ARCHITECTURE and the example settings say what is there."""

import re
import tomllib
from pathlib import Path

import pytest

from lib.settings import _Given

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "THREATS.md"]


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)\n```\n<!-- end -->", README, re.DOTALL)
    assert found is not None, f"README has no block {name!r}"
    return found[1]


def settings_read() -> set[str]:
    return set(_Given.model_fields)


def test_the_two_commands() -> None:
    assert block("run").endswith("streamlit run Home.py")
    assert block("test").endswith("uv run pytest")
    assert "<!-- test -->" in (ROOT / ".ci/run").read_text()


def test_readme_names_every_setting() -> None:
    missing = {name for name in settings_read() if f"`{name}`" not in README}
    assert not missing


def test_example_secrets_are_valid_and_name_only_known_settings() -> None:
    text = (ROOT / ".streamlit/secrets.toml.example").read_text()
    named = set(re.findall(r"\b[A-Z][A-Z0-9_]{4,}\b(?= *=)", text))
    assert named
    assert named <= settings_read()
    tomllib.loads(text)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    paths = re.findall(r"`((?:lib|tests|pages|docs)/[\w./-]*\w)`", text)
    assert links + paths or document == "CHANGELOG.md"
    missing = [name for name in links + paths if not any((ROOT / f"{name}{end}").exists() for end in ("", ".py"))]
    assert not missing


def test_streamlit_is_told_to_stay_at_home() -> None:
    config = tomllib.loads((ROOT / ".streamlit/config.toml").read_text())
    assert config["browser"]["gatherUsageStats"] is False
    assert config["server"]["address"] == "localhost"
    assert config["client"]["showErrorDetails"] == "none"
