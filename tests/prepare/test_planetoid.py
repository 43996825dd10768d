"""Citation graphs as text files and as archives, and every way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.graphs.adjacency import graph_of
from tasks.prepare.planetoid import planetoid

CONTENT = "p9 0 1 0 theory\np2 1 1 0 rules\nx 0 0 0 theory\n"
CITES = "p9 p2\np2 p9\nx x\np2 x\np2 unknown\n"
PARTS = {
    "adj_data": np.ones(3), "adj_indices": np.array([1, 0, 1]), "adj_indptr": np.array([0, 1, 2, 3]),
    "adj_shape": np.array([3, 3]), "attr_data": np.array([2.0, 1.0]), "attr_indices": np.array([0, 1]),
    "attr_indptr": np.array([0, 1, 2, 2]), "attr_shape": np.array([3, 2]), "labels": np.array([1, 0, 1]),
}  # fmt: skip


def folder(tmp_path: Path, content: str = CONTENT, cites: str = CITES) -> str:
    (tmp_path / "small.content").write_text(content)
    (tmp_path / "small.cites").write_text(cites)
    return str(tmp_path)


def archive(tmp_path: Path, **changes) -> str:
    parts = {name: value for name, value in {**PARTS, **changes}.items() if value is not None}
    np.savez(tmp_path / "small.npz", **parts)
    return str(tmp_path / "small.npz")


def test_text_files(tmp_path: Path) -> None:
    made = planetoid(path=folder(tmp_path))
    made.check()
    graph = graph_of(made)
    assert [graph.neighbours(i).tolist() for i in range(3)] == [[1], [0, 2], [1]]
    assert made.arrays["attributes"].tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert made.meta["class_names"] == ["rules", "theory"]
    assert made.samples["label"].tolist() == [1, 0, 1]


def test_archive(tmp_path: Path) -> None:
    made = planetoid(path=archive(tmp_path, class_names=np.array(["a", "b"])))
    graph = graph_of(made)
    assert [graph.neighbours(i).tolist() for i in range(3)] == [[1], [0, 2], [1]]
    assert made.arrays["attributes"].tolist() == [[2, 0], [0, 1], [0, 0]]
    assert made.meta["class_names"] == ["a", "b"]


def test_pickled_names_in_an_archive_are_left_alone(tmp_path: Path) -> None:
    made = planetoid(path=archive(tmp_path, class_names=np.array(["a", None]), node_names=np.array([{}, 1, "x"])))
    assert made.meta["class_names"] == ["0", "1"]


@pytest.mark.parametrize(
    ("content", "cites", "message"),
    [
        ("", CITES, "small.content has no line"),
        ("p9 0 1 theory\np2 1 rules\n", CITES, "line 2: 3 fields, expected 4"),
        ("p9 0 1 theory\np9 1 1 rules\n", CITES, "line 2: paper 'p9' is there twice"),
        ("p9 0 one theory\n", CITES, "line 1: an attribute is no number"),
        (CONTENT, "p9\n", "line 1: 1 fields, expected 'cited citing'"),
        (CONTENT, "a b\n", "has no citation between papers of small.content"),
    ],
)
def test_bad_text_files(tmp_path: Path, content: str, cites: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planetoid(path=folder(tmp_path, content, cites))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "has no entry 'labels'"),
        ({"adj_indptr": None}, "has no entry 'adj_indptr'"),
        ({"adj_indices": np.array([1, 0, 7])}, "'adj_...' are no CSR matrix"),
        ({"adj_shape": np.array([3, 4])}, r"an adjacency \[3, 4\] with"),
        ({"labels": np.array([0, 1])}, r"with \(2,\) labels"),
        ({"labels": np.array([0.5, 1, 1])}, "'labels' must be whole numbers"),
        ({"labels": np.array([{}, 1, 1])}, "'labels' cannot be read"),
        ({"attr_indptr": np.array([0, 1, 2]), "attr_shape": np.array([2, 2])}, "2 rows of attributes for 3 vertices"),
        ({"attr_data": np.array([np.nan, 1.0])}, "vertex 0 has missing or infinite attributes"),
    ],
)
def test_bad_archives(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planetoid(path=archive(tmp_path, **changes))


def test_missing_damaged_and_pickled_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        planetoid(path=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"0 files \*.content"):
        planetoid(path=str(tmp_path))
    (tmp_path / "ind.cora.x").write_bytes(b"\x80\x02.")
    with pytest.raises(ValueError, match="pickled files"):
        planetoid(path=str(tmp_path))
    file = Path(archive(tmp_path))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut short|plain arrays"):
        planetoid(path=str(file))


def test_cora(real_data: Path) -> None:
    made = planetoid(path=str(real_data / "graphs/cora.npz"))
    assert made.arrays["attributes"].shape == (2708, 1433)
    assert made.arrays["indptr"][-1] == 2 * 5278  # 5,429 citations, 151 of them mutual
    assert made.arrays["target_size"].tolist() == [298, 418, 818, 426, 217, 180, 351]
    assert made.samples["given_label"].notna().sum() == 140
