"""Graphs in text files, and every way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.graphs.adjacency import graph_of
from tasks.prepare.edge_list import edge_list


def write(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return str(folder)


@pytest.mark.parametrize("text", ["# a comment\n0 1\n\n1\t2\n", "0,1\n1, 2\n", "% c\n1 0\n2 1\n1 2\n2 2\n"])
def test_forms_of_the_same_path(tmp_path: Path, text: str) -> None:
    graph = graph_of(edge_list(path=write(tmp_path, edges=text)))
    assert [graph.neighbours(i).tolist() for i in range(3)] == [[1], [0, 2], [1]]


def test_labels_attributes_weights_and_first_number(tmp_path: Path) -> None:
    path = write(tmp_path, edges="1 2 0.5\n2 3 2\n", labels="cat\n\ndog\ncat\n", x="0 1.5\n1 0\n2 2\n3 3\n")
    made = edge_list(path=path, labels="labels.txt", attributes="x.txt", base=1, labelled_per_class=1)
    made.check()
    assert graph_of(made).edge_weights(1).tolist() == [0.5, 2.0]
    assert graph_of(made).n == 4  # the last one has no edge
    assert made.meta["class_names"] == ["cat", "dog"]
    assert made.samples["label"].fillna(-1).tolist() == [0, -1, 1, 0]
    assert made.samples["given_label"].notna().sum() == 2
    assert made.arrays["attributes"].tolist() == [[0, 1.5], [1, 0], [2, 2], [3, 3]]
    assert made.arrays["target_size"].tolist() == [2, 1]


def test_adjacency_lists(tmp_path: Path) -> None:
    path = write(tmp_path, adj="2 3\n1\n\n\n", labels="10\n9\n9\n10\n")
    made = edge_list(path=path, edges="adj.txt", form="adjacency", base=1, labels="labels.txt")
    graph = graph_of(made)
    assert [graph.neighbours(i).tolist() for i in range(4)] == [[1, 2], [0], [0], []]
    assert made.meta["class_names"] == ["9", "10"]  # by number, not by letter


@pytest.mark.parametrize(
    ("files", "keys", "message"),
    [
        ({"edges": "# none\n"}, {}, "edges.txt has no edge"),
        ({"edges": "0 1\n1 x\n"}, {}, "line 2: 'x' is no vertex; number them 0, 1"),
        ({"edges": "0 1\n1 2 3\n"}, {}, "line 2: 3 fields where the lines before have 2"),
        ({"edges": "0 1 2 3\n"}, {}, "line 1: 4 fields, expected"),
        ({"edges": "0 1 -2\n"}, {}, "line 1: weight -2"),
        ({"edges": "0 1 nan\n"}, {}, "line 1: weight nan"),
        ({"edges": "0 1\n"}, {"base": 1}, "vertex 0 is below 1"),
        ({"edges": "0 5\n", "y": "a\nb\n"}, {"labels": "y.txt"}, "has vertex 5, but .*y.txt has 2 lines"),
        ({"edges": "0 1\n", "y": "a b\nc\n"}, {"labels": "y.txt"}, "line 1: 2 fields, expected one label"),
        ({"edges": "0 1\n", "y": "\n\n"}, {"labels": "y.txt"}, "y.txt has no label"),
        ({"edges": "0 1\n", "x": "1 2\n3\n"}, {"attributes": "x.txt"}, "line 2: 1 attributes where the lines before have 2"),
        ({"edges": "0 1\n", "x": "1 2\n3 z\n"}, {"attributes": "x.txt"}, "line 2: 'z' is no number"),
        ({"edges": "0 1\n", "x": "1\nnan\n"}, {"attributes": "x.txt"}, "vertex 1 has missing or infinite attributes"),
        ({"edges": "0 1\n", "x": "1\n2\n", "y": "a\nb\na\n"}, {"attributes": "x.txt", "labels": "y.txt"}, "2 rows for 3"),
    ],
)  # fmt: skip
def test_mistakes_name_file_and_line(tmp_path: Path, files: dict, keys: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edge_list(path=write(tmp_path, **files), **keys)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"edges.txt does not exist"):
        edge_list(path=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        edge_list(path=str(tmp_path / "nowhere"))
    (tmp_path / "edges.txt").write_bytes(b"0 1\n\xff\xfe 2\n")
    with pytest.raises(ValueError, match="is no UTF-8 text"):
        edge_list(path=str(tmp_path))


def test_coauthor_cs(real_data: Path) -> None:
    made = edge_list(
        path=str(real_data / "graphs/coauthor_cs"), edges="adj.txt", form="adjacency", labels="labels.txt", base=1
    )
    graph = graph_of(made)
    assert (graph.n, graph.indptr[-1], len(made.meta["class_names"])) == (18333, 163788, 15)
    row = np.array((real_data / "graphs/coauthor_cs/adj.txt").read_text().splitlines()[4].split(), dtype=int) - 1
    assert graph.neighbours(4).tolist() == sorted(row.tolist())
