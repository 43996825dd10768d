"""Tables read in batches: against pandas, from every format, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.prepare.table import table
from tasks.readers import tables
from tasks.readers.tables import MISSING, TableReader

CSV = "price,colour,sold,click\n1.5,red,true,no\n2,blue,false,yes\n3,,true,no\n4,red,false,yes\n"


@pytest.fixture
def csv(tmp_path: Path):
    def write(text: str = CSV, name: str = "t.csv") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_numbers_and_codes_in_the_order_of_first_appearance(csv) -> None:
    reader = TableReader(label="click", missing=[""])
    numbers, codes, label = reader.read(csv())
    assert reader.numeric == ["price"]
    assert reader.coded == ["colour", "sold"]
    assert numbers.tolist() == [[1.5], [2], [3], [4]]
    assert codes.tolist() == [[0, 0], [1, 1], [MISSING, 0], [0, 1]]
    assert label is not None
    assert label.tolist() == [0, 1, 0, 1]
    assert (numbers.dtype, codes.dtype) == (np.float32, np.int32)


def test_an_undeclared_empty_text_is_a_value(csv) -> None:
    codes = TableReader(label="click").read(csv())[1]
    assert codes[:, 0].tolist() == [0, 1, 2, 0]


def big_table(rows: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(700)])
    return pd.DataFrame(
        {"x": rng.normal(size=rows), "w": words[rng.zipf(1.4, rows) % 700], "v": words[rng.integers(700, size=rows)]}
    )


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet"])
def test_blocks_do_not_matter(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against pandas: many blocks, whose codes must agree with each other."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 2048)
    frame, file = big_table(), tmp_path / f"t.{form}"
    if form == "parquet":
        frame.to_parquet(file, row_group_size=400)
    else:
        frame.to_csv(file, sep="," if form == "csv" else "\t", index=False)
    numbers, codes, _ = TableReader(delimiter="\t" if form == "tsv" else ",").read(file)
    np.testing.assert_allclose(numbers[:, 0], frame["x"], rtol=1e-6)
    for j, name in enumerate(("w", "v")):
        assert codes[:, j].tolist() == pd.factorize(frame[name])[0].tolist()


def test_limit_stops_within_a_block(tmp_path: Path) -> None:
    frame = big_table()
    frame.to_csv(tmp_path / "t.csv", index=False)
    numbers, codes, _ = TableReader().read(tmp_path / "t.csv", 17)
    assert len(numbers) == len(codes) == 17
    np.testing.assert_allclose(numbers[:, 0], frame["x"][:17], rtol=1e-6)


def test_a_second_file_shares_the_codes(csv) -> None:
    reader = TableReader(label="click")
    reader.read(csv())
    later = reader.read(csv("price,colour,sold,click\n9,green,true,yes\n8,blue,true,no\n", "u.csv"))
    assert later[1][:, 0].tolist() == [3, 1]
    assert later[2] is not None
    assert later[2].tolist() == [1, 0]
    with pytest.raises(
        ValueError, match=r"has columns \['colour', 'click'\], not \['price', 'colour', 'sold', 'click'\]"
    ):
        reader.read(csv("colour,click\nred,no\n", "v.csv"))


def test_step_table(csv) -> None:
    dataset = table(path=str(csv()), label="click", categorical="all", missing=[""], grant="train", test_share=0.5)
    dataset.check()
    assert dataset.meta["code_names"] == ["price", "colour", "sold"]
    assert "features" not in dataset.arrays
    assert dataset.meta["class_names"] == ["no", "yes"]
    train = dataset.samples["split"] == "train"
    assert dataset.samples["given_label"].notna().tolist() == train.tolist()
    assert sorted(dataset.samples["label"][train]) == [0, 1]
    hidden = dataset.without_truth()
    assert hidden.samples["given_label"][~train].isna().all()
    assert "label" not in hidden.samples


def test_step_table_keeps_rows_and_labels_together(tmp_path: Path) -> None:
    frame = big_table(400).assign(y=lambda f: np.where(f["x"] > 0, "up", "down"))
    frame.to_csv(tmp_path / "t.csv", index=False)
    dataset = table(path=str(tmp_path / "t.csv"), label="y", test_share=0.3, limit=150)
    up = dataset.samples["label"].to_numpy(dtype=int) == 1
    assert dataset.meta["class_names"] == ["down", "up"]
    assert np.array_equal(dataset.arrays["features"][:, 0] > 0, up)
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 150, "test": 120}


def test_a_second_file_is_the_test_split(csv) -> None:
    test = csv("price,colour,sold,click\n9,green,true,yes\n", "u.csv")
    dataset = table(path=str(csv()), test_path=str(test), label="click")
    assert dataset.samples["split"].tolist() == ["train"] * 4 + ["test"]
    assert dataset.arrays["codes"][4].tolist() == [3, 0]


def test_without_header_and_without_label(csv) -> None:
    dataset = table(path=str(csv("1\ta\n2\tb\n")), header=False, delimiter="\t")
    assert dataset.meta == {"feature_names": ["f0"], "code_names": ["f1"]}
    assert "label" not in dataset.samples


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("a,a\n1,2\n", {}, "column 'a' more than once"),
        ("a,b\n", {}, "has no rows"),
        ("", {}, "cannot be read"),
        ("a,b\n1,2\n3\n", {}, "cannot be read"),
        (CSV, {"label": "klick"}, r"label: .* no column 'klick' \(columns: price, colour, sold, click\)"),
        (CSV, {"ignore": ["weight"]}, "ignore: .* no column 'weight'"),
        (CSV, {"categorical": ["weight"]}, "categorical: .* no column 'weight'"),
        (CSV, {"label": "click", "ignore": ["price", "colour", "sold"]}, "no column besides the label"),
        ("a,y\n1,p\n2,\n", {"label": "y", "missing": [""]}, "row 1 has no 'y'"),
        ("a,y\n1,p\n,q\n", {"missing": [""]}, "column 'a' has a missing or infinite number in row 1"),
        ("a,y\n1,p\ninf,q\n", {}, "column 'a' has a missing or infinite number in row 1"),
    ],
)
def test_bad_tables(csv, text: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(path=str(csv(text)), **parameters)


def test_text_that_comes_late_in_a_numeric_column(csv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", 64)
    with pytest.raises(
        ValueError, match=r"'a' is numeric at first and holds text later .* list it under 'categorical'"
    ):
        table(path=str(csv("a,b\n" + "1,x\n" * 50 + "late,x\n")))


def test_nan_is_no_category(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = pa.table({"a": pa.array([1.0, float("nan")], from_pandas=False), "b": ["x", "y"]})
    pq.write_table(plain, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="column 'a' holds NaN, which is no declared missing value"):
        table(path=str(tmp_path / "t.parquet"), categorical="all")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="put the table there or correct 'path'"):
        table(path=str(tmp_path / "nothing.csv"))
