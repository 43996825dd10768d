"""The citation graphs Cora, Citeseer and Pubmed in the forms in which they are passed round."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from tasks.artifacts import Dataset
from tasks.graphs.adjacency import graph_from_edges
from tasks.graphs.vertex_dataset import Count, NoisyLabels, vertex_dataset
from tasks.readers.graph_files import classes_of, lines_of
from tasks.readers.paths import reading

Parts = tuple[int, np.ndarray, np.ndarray, np.ndarray | None, list[str]]


def planetoid(
    *,
    path: str,
    labelled_per_class: Count = 20,
    noisy_labels: list[NoisyLabels] = [],  # noqa: B006 - read only
    seed: int = 0,
) -> Dataset:
    """Graphs of the Planetoid benchmark (Yang, Cohen & Salakhutdinov, ICML 2016, arXiv 1603.08861).

    Parameters
    ----------
    path: relative to the workspace: a folder with `NAME.content` and `NAME.cites` (Sen et al., AI Magazine 2008), or an
        `.npz` archive of SciPy CSR parts (`adj_data`, `adj_indices`, `adj_indptr`, `adj_shape`, `attr_...`, `labels`;
        Shchur et al. 2018, arXiv 1811.05868, whose Amazon and Coauthor graphs are read as well).
    labelled_per_class: vertices of each class whose `given_label` is granted (the benchmark grants 20); seed vertices are
        drawn from them.
    noisy_labels: accuracies {a1, a0} at which yes/no labels of every vertex for every class are granted.
    seed: seed of these draws.

    Citations hold in both directions, a citation of oneself is left out; citations of papers without a row in `.content`
    are left out too, as is usual. Returns the arrays of `local_sbm`. A vertex whose attributes are all 0 stays.

    Raises FileNotFoundError or ValueError naming file and line or entry: missing, cut short, pickled, no number, parts
    that do not fit together. The files `ind.NAME.*` are pickled, which can run code, and are refused.
    """
    source = Path(path)
    with reading(source.absolute(), "put the graph there or correct 'path' (it is relative to the workspace)"):
        source.stat()
    n, pairs, labels, attributes, names = _folder(source) if source.is_dir() else _archive(source)
    return vertex_dataset(
        graph_from_edges(n, pairs),
        labels,
        attributes,
        class_names=names,
        labelled_per_class=labelled_per_class,
        noisy_labels=noisy_labels,
        seed=seed,
    )


def _folder(folder: Path) -> Parts:
    contents = sorted(folder.glob("*.content"))
    if len(contents) != 1:
        if not contents and any(folder.glob("ind.*")):
            raise ValueError(
                f"path: {folder} holds pickled files (ind.*), which can run code; use the .content and .cites files or an "
                ".npz archive of the same graph"
            )
        raise ValueError(f"path: {folder} has {len(contents)} files *.content, expected one; correct 'path'")
    content, cites = contents[0], contents[0].with_suffix(".cites")
    index: dict[str, int] = {}
    rows, classes = [], []
    for number, fields in lines_of(content):
        if not fields:
            continue
        if len(fields) < 3 or (rows and len(fields) - 2 != len(rows[0])):
            expected = f"{len(rows[0]) + 2}" if rows else "at least 3"
            raise ValueError(
                f"path: {content}, line {number}: {len(fields)} fields, expected {expected} (id, attributes, class)"
            )
        if fields[0] in index:
            raise ValueError(f"path: {content}, line {number}: paper '{fields[0]}' is there twice; remove one")
        index[fields[0]] = len(index)
        try:
            rows.append(np.array(fields[1:-1], dtype=np.float32))
        except ValueError:
            raise ValueError(f"path: {content}, line {number}: an attribute is no number; correct it") from None
        classes.append(fields[-1])
    if not rows:
        raise ValueError(f"path: {content} has no line; download it again")
    pairs = []
    for number, fields in lines_of(cites):
        if fields and len(fields) != 2:
            raise ValueError(f"path: {cites}, line {number}: {len(fields)} fields, expected 'cited citing'")
        if fields and fields[0] in index and fields[1] in index:
            pairs.append((index[fields[0]], index[fields[1]]))
    if not pairs:
        raise ValueError(f"path: {cites} has no citation between papers of {content.name}; download both again")
    labels, names = classes_of(classes)
    return len(rows), np.array(pairs, dtype=np.int64), labels, np.stack(rows), names


def _archive(file: Path) -> Parts:
    with file.open("rb") as stream:  # numpy leaves a file that is no archive open
        archived = zipfile.is_zipfile(stream)
    if not archived:
        raise ValueError(f"path: {file} is no .npz archive or is cut short; download it again")
    try:
        with np.load(file, allow_pickle=False) as archive:
            # Names of vertices and attributes are often pickled, and not needed.
            wanted = [
                name
                for name in archive.files
                if name.startswith(("adj_", "attr_")) or name in ("labels", "class_names")
            ]
            parts = {}
            for name in wanted:
                try:
                    parts[name] = archive[name]
                except ValueError as error:
                    if name == "class_names":
                        continue
                    raise ValueError(f"path: {file}: '{name}' cannot be read ({error}); save plain arrays") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, AttributeError) as error:
        raise ValueError(f"path: {file} is no .npz archive or is cut short; download it again") from error
    except ValueError as error:
        if str(error).startswith("path:"):
            raise
        raise ValueError(f"path: {file} is no .npz archive of plain arrays; download it again") from error
    adjacency = _csr(file, parts, "adj")
    if "labels" not in parts:
        raise ValueError(f"path: {file} has no entry 'labels' (it has {sorted(parts)}); add the class of every vertex")
    sides, labels = [int(side) for side in parts["adj_shape"]], parts["labels"]
    n = sides[0]
    if sides != [n, n] or labels.shape != (n,):
        raise ValueError(f"path: {file}: an adjacency {sides} with {labels.shape} labels; they must be [n, n] and [n]")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError(
            f"path: {file}: 'labels' must be whole numbers 0, 1, ..., got {labels.dtype} from {labels.min()}"
        )
    attributes = None
    if "attr_matrix" in parts:
        attributes = np.asarray(parts["attr_matrix"], dtype=np.float32)
    elif "attr_data" in parts:
        attributes = _csr(file, parts, "attr").toarray().astype(np.float32)
    if attributes is not None and len(attributes) != n:
        raise ValueError(f"path: {file}: {len(attributes)} rows of attributes for {n} vertices; every vertex needs one")
    classes = int(labels.max()) + 1
    names = [str(name) for name in parts.get("class_names", [])]
    names = names if len(names) == classes else [str(c) for c in range(classes)]
    row, column = adjacency.nonzero()
    return n, np.stack([row, column], axis=1), labels.astype(np.int64), attributes, names


def _csr(file: Path, parts: dict[str, np.ndarray], prefix: str) -> csr_matrix:
    missing = [f"{prefix}_{name}" for name in ("data", "indices", "indptr", "shape") if f"{prefix}_{name}" not in parts]
    if missing:
        raise ValueError(
            f"path: {file} has no entry '{missing[0]}' (it has {sorted(parts)}); use an archive of CSR parts"
        )
    try:
        matrix = csr_matrix(
            (parts[f"{prefix}_data"], parts[f"{prefix}_indices"], parts[f"{prefix}_indptr"]),
            shape=tuple(int(side) for side in parts[f"{prefix}_shape"]),
        )
        matrix.check_format()
    except (ValueError, IndexError) as error:
        raise ValueError(f"path: {file}: '{prefix}_...' are no CSR matrix ({error}); download it again") from error
    return matrix
