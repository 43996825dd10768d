"""docs/data.md and the readers say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks.steps import find_step, step_names

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
READERS = (
    "image_folder",
    "idx",
    "npz",
    "cifar",
    "segmentation_folder",
    "coco",
    "video_folder",
    "point_clouds",
    "captioned_scenes",
    "text_folder",
    "text_table",
    "table",
    "table_known_and_novel",
    "edge_list",
    "planetoid",
    "clickstream_fraud",
)
EXAMPLES = [YAML(typ="safe", pure=True).load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)]


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("reader", READERS)
def test_every_key_of_a_reader_is_on_the_page(reader: str) -> None:
    listed = re.search(r"^Keys: (.*?)(\n\n|\Z)", section(reader), re.S | re.M)
    assert listed is not None
    # What stands in brackets are values and members of a key.
    keys = re.sub(r"\((?:[^()]|\([^()]*\))*\)", "", listed.group(1))
    assert set(re.findall(r"`(\w+)`", keys)) == set(find_step("prepare", reader).accepts())


def test_every_step_is_on_the_page() -> None:
    drawn = re.findall(r"^\| `(\w+)` \|", section("Data that need no files"), re.M)
    assert {*READERS, *drawn} == {*step_names("prepare")} - {"none"}


def test_every_key_of_public_checkpoints_is_on_the_page() -> None:
    rows = re.findall(r"^\| (`.*?) \|", section("Public pretrained weights"), re.M)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(find_step("checkpoint", "public").accepts())


def test_every_example_is_valid() -> None:
    seen = set()
    for example in EXAMPLES:
        checkpoints = example.pop("checkpoints", {})
        example.pop("methods", None)
        for stage, entries in (("prepare", example.pop("datasets", example)), ("checkpoint", checkpoints)):
            for entry in entries.values():
                keys = {key: value for key, value in entry.items() if key not in ("step", "data", "smoke", "full")}
                find_step(stage, entry["step"]).parameters.model_validate(keys)
                seen.add(entry["step"])
    assert seen == {*READERS, "public"}
