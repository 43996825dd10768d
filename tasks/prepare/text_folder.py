"""Folders of text files, one file per document."""

from pathlib import Path

import numpy as np

from tasks.artifacts import Dataset
from tasks.readers.paths import existing_folder, subfolders
from tasks.readers.selection import SPLITS, Grant, Limit, TestShare
from tasks.readers.text import Keywords, MaxTokens, class_index, text_dataset
from tasks.readers.text_files import files_in, read_rows, read_text

Document = tuple[Path, str, str | None]


def text_folder(
    *,
    path: str,
    manifest: str | None = None,
    keywords: Keywords | None = None,
    encoding: str = "utf-8",
    max_tokens: MaxTokens | None = None,
    test_share: TestShare | None = None,
    limit: Limit | None = None,
    grant: Grant = "none",
    seed: int = 0,
) -> Dataset:
    """Documents in files of their own, whatever the files' names end in.

    Layouts: `{train,test}/<class>/*` (20Newsgroups by date, once its two folders are called so), `<class>/*` (one set)
    or `*` (one set without labels). Or a `manifest` beside them: a table with the header `file` and, where
    known, `class` and `split` (train, val, test); it may leave out files, and an empty class is an unknown one. One
    set is all `train` unless `test_share` splits it.

    Parameters
    ----------
    path: the folder, relative to the workspace.
    manifest: name of the table in that folder: .tsv is separated by tabs, anything else by commas.
    keywords: topic -> words that name it, for methods that need them: one entry for every class; without classes any topics.
    encoding: of the files and the manifest; newsgroup articles are latin-1.
    max_tokens: length at which documents are cut.
    test_share: share of each class that becomes split `test`; only for one set.
    limit: most documents per split, equally many of each class, drawn with `seed`.
    grant: "train" hands out the labels of `train` as `given_label`; "none" hands out none.
    seed: seed of the order and of all draws.

    Returns table `documents` (sample, text) in random order, without documents that hold no word
    (`meta.empty_documents` counts them), and `samples`, with `label` if there are classes.

    Raises FileNotFoundError or ValueError naming file or key: missing, empty, not text in `encoding`, files beside
    class folders, a manifest without `file` or with a file outside of the folder, `keywords` that miss a class.
    """
    folder = existing_folder(path)
    found = _listed(folder, folder / manifest, encoding) if manifest is not None else _layout(folder, path)
    labels, names = class_index([name for _, _, name in found])
    return text_dataset(
        [read_text(file, encoding) for file, _, _ in found],
        np.array([split for _, split, _ in found]),
        labels,
        names,
        source=folder,
        keywords=keywords,
        max_tokens=max_tokens,
        test_share=test_share,
        limit=limit,
        grant=grant,
        seed=seed,
    )


def _layout(folder: Path, path: str) -> list[Document]:
    names = {sub.name for sub in subfolders(folder)}
    splits = [split for split in SPLITS if split in names] if {"train", "test"} <= names else []
    if not splits:
        return _classes(folder, "train")
    others = sorted(names - set(SPLITS))
    if others or files_in(folder):
        stray = f"{others[0]}/" if others else files_in(folder)[0].name
        raise ValueError(f"path: {path} holds {stray} beside train/ and test/; move it elsewhere")
    return [document for split in splits for document in _classes(folder / split, split)]


def _classes(folder: Path, split: str) -> list[Document]:
    direct, classes = files_in(folder), subfolders(folder)
    if direct and classes:
        raise ValueError(
            f"path: {folder} holds both files ({direct[0].name}) and folders ({classes[0].name}/); "
            "keep either documents without labels or one folder per class"
        )
    if not direct and not classes:
        raise ValueError(f"path: {folder} is empty; add documents or delete it")
    for part in classes:
        if not files_in(part):
            raise ValueError(f"path: {part} holds no file; add documents or delete it")
    return [(file, split, None) for file in direct] + [  # pyright: ignore[reportReturnType]
        (f, split, part.name) for part in classes for f in files_in(part)
    ]


def _listed(folder: Path, manifest: Path, encoding: str) -> list[Document]:
    rows = read_rows(manifest, encoding, "\t" if manifest.suffix == ".tsv" else ",")
    header = [name.strip().lower() for name in rows[0]]
    if "file" not in header:
        raise ValueError(f"manifest: {manifest} has no column 'file' (it has {', '.join(rows[0])}); add a header line")
    found: list[Document] = []
    for number, row in enumerate(rows[1:], start=2):
        entry = dict(zip(header, (field.strip() for field in row), strict=True))
        split = entry.get("split") or "train"
        if split not in SPLITS:
            raise ValueError(f"manifest: {manifest}, row {number}: split '{split}' is none of {', '.join(SPLITS)}")
        file = folder / entry["file"]
        if not file.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"manifest: {manifest}, row {number}: {entry['file']} lies outside {folder}; move it there"
            )
        found.append((file, split, entry.get("class") or None))
    if not found:
        raise ValueError(f"manifest: {manifest} lists no file; add one row for each document")
    return found
