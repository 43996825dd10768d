import numpy as np
import pandas as pd
import pytest

from tasks.prepare.table_known_and_novel import table_known_and_novel

CSV = "a,b,kind\n" + "".join(f"{i},{i * i % 7},{'xyzw'[i % 4]}\n" for i in range(40))


@pytest.fixture
def csv(tmp_path):
    def write(text=CSV, name="t.csv"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_csv(csv):
    dataset = table_known_and_novel(path=csv(), label="kind", known_classes=["z", "x"], standardise=False)
    dataset.check()
    assert dataset.meta["class_names"] == ["w", "x", "y", "z"]
    assert (dataset.arrays["features"][:, 0] == np.arange(40)).all()
    assert dataset.samples["label"].tolist() == [[1, 2, 3, 0][i % 4] for i in range(40)]
    assert set(dataset.samples["given_label"].dropna()) == {1, 3}


def test_parquet_with_a_numeric_label(tmp_path):
    frame = pd.DataFrame({"a": np.arange(30.0), "kind": np.arange(30) % 3})
    frame.to_parquet(tmp_path / "t.parquet")
    dataset = table_known_and_novel(path=str(tmp_path / "t.parquet"), label="kind", known_classes=["0", "2"])
    assert dataset.meta["class_names"] == ["0", "1", "2"]
    assert dataset.arrays["is_known"].tolist() == [int(i % 3 != 1) for i in range(30)]


def test_numbers_and_labels_padded_with_blanks(csv):
    """UCI's Pendigits are laid out like this."""
    text = "".join(f"{i:3d},{100 - i:3d}, {i % 4}\n" for i in range(40))
    dataset = table_known_and_novel(
        path=csv(text), label="f2", header=False, known_classes=["1", "3"], standardise=False
    )
    assert dataset.arrays["features"][:3].tolist() == [[0, 100], [1, 99], [2, 98]]
    assert dataset.meta["class_names"] == ["0", "1", "2", "3"]


def test_a_second_file_is_the_test_split(csv):
    dataset = table_known_and_novel(
        path=csv(), test_path=csv(CSV, "u.csv"), label="kind", known_classes=["z", "x"], limit=20
    )
    assert dataset.samples["split"].tolist() == ["train"] * 20 + ["test"] * 20


def test_cap_per_class(csv):
    dataset = table_known_and_novel(path=csv(), label="kind", known_classes=["z", "x"], most_per_class=6)
    assert np.bincount(dataset.samples["label"].to_numpy(dtype=int)).tolist() == [6] * 4


def test_text_columns(csv):
    text = "a,colour,kind\n" + "".join(f"{i},{['red', 'blue', ''][i % 3]},{'xyzw'[i % 4]}\n" for i in range(36))
    keys = {"path": csv(text), "label": "kind", "known_classes": ["z", "x"], "standardise": False}
    with pytest.raises(ValueError, match="column 'colour'"):
        table_known_and_novel(**keys)
    dataset = table_known_and_novel(**keys, categories="one_hot")
    assert dataset.meta["feature_names"] == ["a", "colour=red", "colour=blue"]
    assert dataset.arrays["features"][:3, 1:].tolist() == [[1, 0], [0, 1], [0, 0]]
    assert table_known_and_novel(**keys, ignore=["colour"]).meta["feature_names"] == ["a"]


def test_what_goes_wrong(csv, tmp_path):
    def read(text=CSV, **changes):
        return table_known_and_novel(**{"path": csv(text), "label": "kind", "known_classes": ["z", "x"], **changes})

    with pytest.raises(ValueError, match="no class 'v'"):
        read(known_classes=["z", "v"])
    with pytest.raises(ValueError, match="no column 'sort'"):
        read(label="sort")
    with pytest.raises(ValueError, match="'a' has a missing or infinite number in row 40"):
        read(CSV + ",1,x\n")
    with pytest.raises(ValueError, match="no column besides the label"):
        read(ignore=["a", "b"])
    with pytest.raises(ValueError, match="no novel rows"):
        read(known_classes=["x", "y", "z", "w"])
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        read(path=str(tmp_path / "nothing.csv"))


def test_pendigits(real_data):
    dataset = table_known_and_novel(
        path=str(real_data / "uci" / "pendigits.tra"),
        label="f16",
        header=False,
        known_classes=["1", "2", "4", "8", "9"],
    )
    assert dataset.arrays["features"].shape == (7494, 16)
    assert len(dataset.meta["class_names"]) == 10
