"""Hostile names, files with configurations, and cells of a CSV file: refused in a sentence, or harmless."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from lib.embedded.datasets.file_names import safe_name
from lib.embedded.trainers.kohya_files import file_stem
from lib.errors import InvalidRequest
from lib.jobs.config_file import MAX_FILE_BYTES, export_config, parse_config
from lib.jobs.job import Job, JobStatus
from lib.jobs.training_settings import (
    TrainingSettings,
    description_problem,
    job_name_problem,
    name_problem,
    setting_problems,
    settings_from_payload,
)
from lib.ui.job_list.csv_export import jobs_csv

NOW = datetime(2026, 11, 29, tzinfo=UTC)
HALF, NUL, ESCAPE, TURNED = "a\ud800b", "a\0b", "a\x1b[31mb", "exe\u202egpj.png"


@pytest.mark.parametrize("name", [HALF, NUL, ESCAPE, "a\nb", "a\x7fb", "\x85", "\udfff", "", " ", "\u3000", "x" * 201])
def test_a_name_that_cannot_be_stored_or_shown_is_refused(name: str) -> None:
    for problem in (name_problem(name), job_name_problem(name)):
        assert problem.endswith((".", "allowed."))
        problem.encode()


@pytest.mark.parametrize("text", [HALF, NUL, ESCAPE, "x" * 2_001])
def test_so_is_a_description(text: str) -> None:
    assert description_problem(text)
    assert description_problem("line\nline\tcell") == ""


@pytest.mark.parametrize("name", ["Ann's LoRA – v2 (ねこ) 🙂", "a/b\\c", "<b>", "مرحبا", "../../x", "=1+1", "\u202ea"])
def test_a_name_that_only_looks_odd_is_taken(name: str) -> None:
    assert job_name_problem(name) == ""
    assert not set("\u202e\u2066/\\\0<>") & set(file_stem(name))


@pytest.mark.parametrize(
    "name",
    [
        *(
            HALF,
            NUL,
            TURNED,
            "a\u2066b.png",
            "\u200ea.png",
            "a\nb.png",
            "../a.png",
            "/a.png",
            "a/../../b.png",
            "C:a.png",
        ),
        *("..", ".", "", ".hidden.png", "\\\\host\\a.png", "a/..", "x" * 197 + ".png", "\u061ca.png", "a\x85.png"),
    ],
)
def test_a_file_name_that_leads_elsewhere_or_looks_like_another_is_refused(name: str) -> None:
    found = safe_name(name)
    assert (found.name, bool(found.problem)) == ("", True)
    found.problem.encode()


FILES = {
    "a key twice": b'name = "x"\nname = "y"\n[settings]\n',
    "a setting twice": b'name = "x"\n[settings]\nepochs = 1\nepochs = 2\n',
    "a table twice": b'name = "x"\n[settings]\nepochs = 1\n[settings]\nseed = 2\n',
    "an option twice": b'name = "x"\n[settings.extra]\na = 1\na = 2\n',
    "json": b'{"name": "x", "name": "y", "settings": {"epochs": NaN}}',
    "200,000 prompts": b'name = "x"\n[settings]\nsample_prompts = [' + b'"a",' * 200_000 + b"]",
    "200,000 options": b'name = "x"\n[settings.extra]\n' + b"".join(b"k%d=1\n" % number for number in range(80_000)),
    "nan": b'name = "x"\n[settings]\nlearning_rate = nan',
    "inf": b'name = "x"\n[settings]\nlearning_rate = inf',
    "inf for a whole number": b'name = "x"\n[settings]\nepochs = -inf',
    "nan as an option": b'name = "x"\n[settings.extra]\na = nan',
    "inf in a list": b'name = "x"\n[settings.extra]\na = [1.0, inf]',
    "an endless number": b'name = "x"\n[settings]\nseed = ' + b"9" * 4_000,
    "a huge option": b'name = "x"\n[settings.extra]\na = ' + b"9" * 4_000,
    "a table as option": b'name = "x"\n[settings.extra.a]\nb = 1',
    "tables in a list": b'name = "x"\n[[settings.extra.a]]\nb = 1',
    "lists in a list": b'name = "x"\n[settings.extra]\na = [[1]]',
    "a time as option": b'name = "x"\n[settings.extra]\na = 2026-01-01',
    "a time as name": b"name = 2026-01-01\n[settings]\n",
    "an array as name": b'name = ["x"]\n[settings]\n',
    "settings are a list": b'name = "x"\nsettings = [1]\n',
    "a key too many": b'name = "x"\n__class__ = "y"\n[settings]\n',
    "a setting too many": b'name = "x"\n[settings]\n__init__ = 1\n',
    "a dotted key": b'name = "x"\nsettings.extra."a.b" = {c = 1}\n',
    "nothing": b"",
    "a NUL": b'name = "x\\u0000"\n[settings]\n',
    "an escape": b'name = "x"\n[settings]\nbase_model = "\\u001b[31m"',
    "a surrogate": b'name = "\\ud800"\n[settings]\n',
    "not text": b"\xff\xfe\x00\x00",
    "too deep": b"a = " + b"[" * 5_000,
    "too large": b"#" * (MAX_FILE_BYTES + 1),
    "a secret": b'name = "x"\n[settings.extra]\nwandb_api_key = "k"',
    "a secret in a list": b'name = "x"\n[settings.extra]\nnetwork_args = ["token=k"]',
    "an option without a name": b'name = "x"\n[settings.extra]\n"\\u0000" = 1',
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_meant_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_config(content)
    said = " ".join((str(caught.value), *caught.value.fields, *caught.value.fields.values()))
    said.encode()
    assert len(said) < 2_000


@pytest.mark.parametrize("content", [*FILES.values(), b'name = "x"\n[settings]\nepochs = 3'], ids=[*FILES, "good"])
def test_stored_settings_that_nobody_checked_become_usable_ones_or_say_what_is_wrong(content: bytes) -> None:
    try:
        payload = json.loads(content)
    except ValueError:
        payload = {"epochs": float("nan"), "extra": {"a": content.decode("utf-8", "surrogateescape")[:50]}}
    settings = settings_from_payload(payload)
    assert isinstance(settings, TrainingSettings)
    assert all(problem for problem in setting_problems(settings).values())


def test_what_people_write_is_taken_with_a_mark_at_its_beginning() -> None:
    config = parse_config(b'\xef\xbb\xbfname = "x"\r\n[settings]\r\nepochs = 3\r\n')
    assert parse_config(export_config(config).encode()).settings.epochs == 3


@pytest.mark.parametrize(
    "cell",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\n", " =1", "\u00a0=1", "\u3000=1", "\u2003+1"),
        *("\uff1d1", "\uff0b1", "\uff0d1", "\uff20A", "\ufe66" + "1", "\u200b=1", "\ufeff=1", "\u2060=1", " \u200b =1"),
        *("\x0b=1", "\x0c=1", "\x85=1", "\u2028=1", "\0=1", "=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.test")'),
    ],
)
def test_no_cell_of_the_list_is_a_formula(cell: str) -> None:
    job = Job(id="j", name=cell, status=JobStatus.FAILED, settings={"base_model": cell})
    (row,) = csv.DictReader(io.StringIO(jobs_csv([job], NOW), newline=""))
    assert row["name"].startswith("'")
    assert row["base_model"].startswith("'")


@pytest.mark.parametrize("cell", ["usual", "1e-4", "a=b", "x -1", "ねこ", "'quoted", '"', "a\nb", "ﬁ"])
def test_usual_cells_stay_as_they_are(cell: str) -> None:
    job = Job(id="j", name=cell, status=JobStatus.FAILED)
    (row,) = csv.DictReader(io.StringIO(jobs_csv([job], NOW), newline=""))
    assert row["name"] == cell
