"""A graph in text files: edges or adjacency lists, labels, attributes."""

from typing import Literal

from tasks.artifacts import Dataset
from tasks.graphs.adjacency import graph_from_edges
from tasks.graphs.vertex_dataset import Count, NoisyLabels, vertex_dataset
from tasks.readers.graph_files import classes_of, read_adjacency, read_edges, read_matrix, read_names
from tasks.readers.paths import existing_folder


def edge_list(
    *,
    path: str,
    edges: str = "edges.txt",
    form: Literal["pairs", "adjacency"] = "pairs",
    labels: str | None = None,
    attributes: str | None = None,
    base: Literal[0, 1] = 0,
    labelled_per_class: Count = 30,
    noisy_labels: list[NoisyLabels] = [],  # noqa: B006 - read only
    seed: int = 0,
) -> Dataset:
    """A graph as SNAP, the Network Repository and many others distribute it. Fields are separated by commas, blanks or tabs;
    lines that begin with # or % are comments.

    Parameters
    ----------
    path: the folder, relative to the workspace.
    edges: its file of edges. form: `pairs`, a line 'vertex vertex' or 'vertex vertex weight' per edge; `adjacency`, line
        i lists the neighbours of vertex i, which may be none.
    labels: file with one class per line, a name or a number, blank where unknown. attributes: file with one line of numbers
        per vertex.
    base: number of the first vertex.
    labelled_per_class: vertices of each class whose `given_label` is granted; seed vertices are drawn from them.
    noisy_labels: accuracies {a1, a0} at which yes/no labels of every vertex for every class are granted.
    seed: seed of these draws.

    Edges hold in both directions, loops are left out, duplicates merge (the largest weight stays). There are as many
    vertices as labels, else rows of attributes, else adjacency lists, else as the largest number says; vertices without an
    edge are kept. Returns the arrays of `local_sbm`, those of labels and attributes only if there are files of them.

    Raises FileNotFoundError or ValueError naming file and line: what is no number, a vertex outside the graph, lines of
    different lengths, missing attributes, a label for too few vertices.
    """
    folder = existing_folder(path)
    weights, n = None, 0
    if form == "adjacency":
        pairs, n = read_adjacency(folder / edges, base)
    else:
        pairs, weights = read_edges(folder / edges, base)
    names = read_names(folder / labels) if labels is not None else None
    matrix = read_matrix(folder / attributes) if attributes is not None else None
    largest = int(pairs.max()) + 1
    n = len(names) if names is not None else len(matrix) if matrix is not None else max(n, largest)
    if largest > n:
        what = labels if names is not None else attributes
        raise ValueError(
            f"path: {folder / edges} has vertex {largest - 1 + base}, but {folder / str(what)} has {n} lines; "
            "give every vertex a line, or set 'base'"
        )
    label, classes = classes_of(names) if names is not None else (None, [])
    if label is not None and not classes:
        raise ValueError(f"labels: {folder / str(labels)} has no label; write one per line or leave 'labels' out")
    return vertex_dataset(
        graph_from_edges(n, pairs, weights),
        label,
        matrix,
        class_names=classes,
        labelled_per_class=labelled_per_class,
        noisy_labels=noisy_labels,
        seed=seed,
    )
