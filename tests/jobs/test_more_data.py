import pytest

from lib.jobs.dataset import Dataset
from lib.jobs.more_data import MOST_MORE_DATA, MoreData, more_data_from, more_data_json, more_data_problem, suggested

DOG = MoreData(dataset_id="dog-1", name="Dog", repeats=5, class_tokens='a "dog"')
PERSON = MoreData(dataset_id="person-1", is_regularisation=True)
CAT = MoreData(dataset_id="cat-1", caption_prefix="sks cat, ")


def test_further_datasets_come_back_as_they_were_written_and_usual_values_take_no_room() -> None:
    text = more_data_json([DOG, CAT, PERSON])
    assert more_data_from(text) == (DOG, CAT, PERSON)
    assert text.endswith('{"dataset_id":"person-1","is_regularisation":true}]')
    assert more_data_json([]) == ""
    assert more_data_from("") == more_data_from(None) == more_data_from("[]") == ()
    assert more_data_from('[{"dataset_id":"a","weight":2}]') == (MoreData(dataset_id="a"),)


@pytest.mark.parametrize(
    "text",
    [
        "x", "{}", "[1]", "[{}]", '[{"dataset_id":""}]', '[{"dataset_id":1}]', '[{"dataset_id":"a","repeats":"2"}]',
        '[{"dataset_id":"a","repeats":true}]', '[{"dataset_id":"a","is_regularisation":1}]',
        '[{"dataset_id":"a","class_tokens":[]}]', '[{"dataset_id":"a","class_tokens":"\\ud800"}]',
        "[" * 50_000, " " * 200_000,
    ],
)  # fmt: skip
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no list of datasets"):
        more_data_from(text)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([DOG, PERSON], ""),
        ([MoreData(dataset_id="main")], "The dataset 'main' is chosen twice."),
        ([DOG, DOG], "The dataset 'Dog' is chosen twice. Take one out, or give it more repeats."),
        ([MoreData(dataset_id="a", repeats=0)], "Repeats must be between 1 and 1000 (the further dataset 'a')."),
        ([MoreData(dataset_id="a", class_tokens="x\ny")], "control character"),
        ([MoreData(dataset_id="a", class_tokens="x" * 501)], "the further dataset 'a'"),
        ([MoreData(dataset_id="a", caption_prefix="x" * 501)], "Caption prefix must have at most 500 characters"),
        ([MoreData(dataset_id=str(n)) for n in range(MOST_MORE_DATA)], ""),
        ([MoreData(dataset_id=str(n)) for n in range(MOST_MORE_DATA + 1)], "at most 20 further datasets"),
    ],
)
def test_what_no_trainer_could_use_is_refused(more: list[MoreData], words: str) -> None:
    problem = more_data_problem("main", more)
    assert bool(problem) == bool(words)
    assert words in problem


def test_what_is_said_of_a_dataset_is_one_line() -> None:
    assert DOG.text == 'Dog, 5 repeats, "a "dog""'
    assert PERSON.text == "person-1, 1 repeat, regularisation"
    assert CAT.text == 'cat-1, 1 repeat, prefix "sks cat, "'


@pytest.mark.parametrize(
    ("name", "repeats", "words"),
    [("10_red fox", 10, "red fox"), ("10_", 1, ""), ("fox", 1, ""), ("0_fox", 1, ""), ("2000_fox", 1, "")],
)
def test_a_name_like_kohyas_folders_suggests_repeats_and_words(name: str, repeats: int, words: str) -> None:
    dataset = Dataset(id="d", name=name, uncaptioned=("a.png",))
    assert suggested(dataset) == MoreData(dataset_id="d", repeats=repeats, class_tokens=words)
    captioned = Dataset(id="d", name=name)
    assert suggested(captioned) == MoreData(dataset_id="d", repeats=repeats)
