"""Readers of text folders, manifests and tables, and the corpus of package documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.prepare.text_folder import text_folder
from tasks.prepare.text_table import text_table


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


SPLITS = {
    "train/sport/1": "a goal in the match",
    "train/sport/2": "the league",
    "train/world/3": "an election",
    "test/world/4": "peace talks",
    "test/sport/5": "a defeat",
}


def rows(dataset: Any) -> set[tuple[str, str, int]]:
    samples = dataset.samples
    return set(zip(dataset.tables["documents"]["text"], samples["split"], samples["label"], strict=True))


def test_splits_and_classes(tmp_path: Path) -> None:
    dataset = text_folder(path=str(write(tmp_path, SPLITS)), keywords={"world": ["war"], "sport": ["goal"]})
    dataset.save(tmp_path / "out")
    assert rows(dataset) == {
        ("a goal in the match", "train", 0),
        ("the league", "train", 0),
        ("an election", "train", 1),
        ("peace talks", "test", 1),
        ("a defeat", "test", 0),
    }
    assert dataset.meta["class_names"] == ["sport", "world"]
    assert dataset.meta["keywords"] == [["goal"], ["war"]]
    assert "label" not in dataset.without_truth().samples


def test_one_set_is_split_and_shuffled(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"{c}/{i}.txt": f"{c} document {i}" for c in ("aa", "bb") for i in range(20)}
    dataset = text_folder(path=str(write(tmp_path, files)), test_share=0.25)
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 30, "test": 10}
    train = dataset.samples["label"][dataset.samples["split"] == "train"].to_numpy()
    assert not (np.diff(train) >= 0).all()  # not class by class
    again, other = (text_folder(path=str(tmp_path), test_share=0.25, seed=s) for s in (0, 1))
    assert again.tables["documents"].equals(dataset.tables["documents"])
    assert not other.tables["documents"].equals(dataset.tables["documents"])


def test_without_labels_the_keywords_name_the_topics(tmp_path: Path) -> None:
    dataset = text_folder(
        path=str(write(tmp_path, {"1.txt": "some text", "2.txt": "more"})), keywords={"b": ["x"], "a": ["y"]}
    )
    assert "label" not in dataset.samples
    assert dataset.meta["class_names"] == ["a", "b"]
    assert dataset.meta["keywords"] == [["y"], ["x"]]


def test_manifest(tmp_path: Path) -> None:
    table = "class\tfile\tsplit\nsport\tall/1\ttrain\n\tall/2\ttrain\nworld\tall/3\ttest\n"
    write(tmp_path, {"list.tsv": table, "all/1": "the goal", "all/2": "who knows", "all/3": "war", "all/4": "left out"})
    dataset = text_folder(path=str(tmp_path), manifest="list.tsv")
    assert set(dataset.tables["documents"]["text"]) == {"the goal", "who knows", "war"}
    unknown = dataset.samples["label"][dataset.tables["documents"]["text"] == "who knows"]
    assert unknown.isna().all()


def test_empty_documents_are_dropped_with_count(tmp_path: Path) -> None:
    dataset = text_folder(path=str(write(tmp_path, {"1": "words", "2": "", "3": "1 2 3 !"})))
    assert dataset.meta["empty_documents"] == 2
    assert dataset.tables["documents"]["text"].tolist() == ["words"]


def test_encoding_and_length(tmp_path: Path) -> None:
    write(tmp_path, {"1": "caf\u00e9 au lait".encode("latin-1")})
    assert (
        text_folder(path=str(tmp_path), encoding="latin-1", max_tokens=2).tables["documents"]["text"][0]
        == "caf\u00e9 au"
    )


@pytest.mark.parametrize(
    ("files", "parameters", "message"),
    [
        ({"1": b"\xff\xfe text"}, {}, r"1 is not utf-8 .* correct 'encoding'"),
        ({"1": b"a\0b"}, {}, "1 is not a text file"),
        ({"1": "text"}, {"encoding": "utf-9"}, "encoding: 'utf-9' is unknown"),
        ({"1": "12 34"}, {}, "holds no document with a word"),
        ({"1": "text", "a/2": "text"}, {}, "holds both files"),
        ({"train/a/1": "text", "test/a/1": "text", "stray": ""}, {}, "holds stray beside train/"),
        ({"a/1": "text", "b/.hidden": ""}, {}, "b holds no file"),
        ({"a/1": "text", "b/2": "text"}, {"keywords": {"a": ["x"]}}, "topic 'b' has none"),
        ({"a/1": "text", "b/2": "text"}, {"keywords": {"a": ["x"], "b": ["x"], "c": ["x"]}}, "'c' is no class"),
        ({"m.csv": "name\n1\n"}, {"manifest": "m.csv"}, "has no column 'file'"),
        ({"m.csv": "file\n../1\n"}, {"manifest": "m.csv"}, r"row 2: \.\./1 lies outside"),
        ({"m.csv": "file,split\n1,later\n"}, {"manifest": "m.csv"}, "row 2: split 'later' is none of"),
        ({"m.csv": "file\n"}, {"manifest": "m.csv"}, "lists no file"),
        ({"m.csv": "file,class\n1\n"}, {"manifest": "m.csv"}, "line 2: 1 columns, the first line has 2"),
    ],
)
def test_bad_folders(files: dict[str, Any], parameters: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        text_folder(path=str(write(tmp_path, files)), **parameters)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        text_folder(path=str(tmp_path / "absent"))
    write(tmp_path, {"m.csv": "file\nlost\n"})
    with pytest.raises(FileNotFoundError, match="lost does not exist"):
        text_folder(path=str(tmp_path), manifest="m.csv")
    with pytest.raises(FileNotFoundError, match=r"train\.csv does not exist"):
        text_table(path=str(tmp_path), text_columns=[0])


def test_table(tmp_path: Path) -> None:
    write(
        tmp_path, {"train.csv": '"10","A ""title""","of ten"\n"9","two","lines\nhere"\n', "test.csv": '"9","x","yes"\n'}
    )
    dataset = text_table(path=str(tmp_path), text_columns=[1, 2], class_column=0, class_names=["nine", "ten"])
    assert rows(dataset) == {('A "title" of ten', "train", 1), ("two lines\nhere", "train", 0), ("x yes", "test", 0)}


@pytest.mark.parametrize(
    ("content", "parameters", "message"),
    [
        ("a,b\n", {"text_columns": [2]}, "text_columns: .* there is no column 2"),
        ("a,b\n", {"text_columns": [0], "class_column": 5}, "class_column: .* there is no column 5"),
        (
            "1,bb\n2,cc\n",
            {"text_columns": [1], "class_column": 0, "class_names": ["x"]},
            "class_names: 1 names for the 2",
        ),
        ('"a,b\n', {"text_columns": [0]}, "quote fields"),
        ("", {"text_columns": [0]}, "is empty"),
    ],
)
def test_bad_tables(content: str, parameters: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        text_table(path=str(write(tmp_path, {"train.csv": content})), **parameters)


def test_a_real_corpus(real_data: Path) -> None:
    names = ["World", "Sports", "Business", "Science/Technology"]
    dataset = text_table(
        path=str(real_data / "ag-news"), text_columns=[1, 2], class_column=0, class_names=names, test_share=0.2
    )
    assert len(dataset.samples) == 7600
    assert dataset.samples["label"].value_counts().to_dict() == dict.fromkeys(range(4), 1900)
