"""The key `seen` of model.yaml and of the registry."""

from pathlib import Path

import pytest

from bench.config.seen import OTHERS, SeenData
from harmonize.errors import ConfigError
from harmonize.yaml_file import parse_yaml


def read(text: str) -> dict[str, SeenData]:
    return SeenData.parse(parse_yaml(text, "here")["seen"], Path("folder"), "here: seen")


def test_one_answer_holds_for_all_hospitals() -> None:
    assert read("seen: no") == {OTHERS: SeenData("no")}
    assert read("seen: unknown") == {OTHERS: SeenData("unknown")}


def test_hospitals_that_are_not_named_are_unknown() -> None:
    assert read("seen: {nih: images, vindr: no}") == {
        OTHERS: SeenData("unknown"),
        "nih": SeenData("images"),
        "vindr": SeenData("no"),
    }
    assert read("seen: {nih: labels, others: no}")[OTHERS] == SeenData("no")


def test_a_list_is_relative_to_the_file_that_names_it() -> None:
    seen = read("seen: {nih: {answer: images, images: ids.csv}}")["nih"]
    assert seen == SeenData("images", Path("folder/ids.csv"))
    assert seen.had_seen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seen: {nih: yes}", "unknown answer True"),
        ("seen: {nih: {images: ids.csv}}", "unknown answer None"),
        ("seen: {nih: {answer: no, images: ids.csv}}", "'no' has no list"),
        ("seen: {nih: {answer: images, ids: ids.csv}}", "unknown key 'ids'"),
    ],
)
def test_anything_else_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert said in raised.value.what
    assert raised.value.where.removesuffix(".ids") == "here: seen.nih"
