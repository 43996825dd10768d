"""Our label vectors beside the authors' package: `python tests/benchmarks/lbl2vec.py`.

The package must be importable together with this project, in an environment of its own:

    python -m venv /tmp/lbl2vec && /tmp/lbl2vec/bin/pip install -r requirements.lock lbl2vec==1.0.2
    /tmp/lbl2vec/bin/python tests/benchmarks/lbl2vec.py

Otherwise it is skipped, which is said. Same corpus (package_docs), same candidates (threshold 0.3, at least 50, outliers removed):

- same vectors: label vectors from the vectors of our step `doc2vec`; every cosine must agree. The package averages the keywords'
  vectors as they are (gensim 4 takes only words' names for unit vectors), so ours is asked to (`normalize_keywords: false`).
- end to end: each trains its own vectors with the same settings on one core.

`--ag-news FOLDER` instead measures our method, and keyword LSA, on a folder with AG's Corpus (train.csv or test.csv), without the package.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.pop(0)  # this folder, whose files are called like packages
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from gensim.models.doc2vec import TaggedDocument
from sklearn.metrics import f1_score, roc_auc_score

from tasks.artifacts import Dataset, Representation
from tasks.cluster.keyword_label_vectors import keyword_label_vectors
from tasks.params import read_yaml
from tasks.prepare.package_docs import package_docs
from tasks.prepare.text_table import text_table
from tasks.pretrain.doc2vec import doc2vec
from tasks.pretrain.tfidf_lsa import tfidf_lsa
from tasks.text.paragraph_vectors import rebuild_paragraph_vectors
from tasks.text.tokens import tokenize

TRAINING: dict[str, Any] = {"vector_size": 64, "window": 8, "epochs": 15, "min_count": 2, "sample": 1e-3, "negative": 5}
SELECTION: dict[str, Any] = {"similarity_threshold": 0.3, "min_num_docs": 50, "clean_outliers": True}
SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ag-news", help="folder with AG's Corpus")
    folder = parser.parse_args().ag_news
    if folder is not None:
        ag_news(folder)
    else:
        beside_the_package()


def ag_news(folder: str) -> None:
    """F1 and AUC on the documents of split train, with the keywords that params.yaml holds for profile full."""
    warnings.simplefilter("ignore")  # "athlete" is in no two of 7,600 articles
    declared = read_yaml(Path(__file__).resolve().parents[2] / "params.yaml")["datasets"]["package_docs"]["full"]
    dataset = text_table(**{key: value for key, value in declared.items() if key != "step"} | {"path": folder})
    hidden, rows = dataset.without_truth(), dataset.rows("train")
    label = dataset.labels("label", rows)
    print(f"{len(rows):,} documents of AG's Corpus, {SEEDS} seeds\n")
    print("| | tool | micro F1 | AUC | seconds |")
    print("|---|---|---|---|---|", flush=True)
    started = time.perf_counter()
    fits = [trained(hidden, seed) for seed in range(SEEDS)]
    seconds = (time.perf_counter() - started) / SEEDS
    official = {"threshold": 0.3, "min_docs": 100, "max_docs": None}
    for name, selection in (("5 %", {}), ("threshold 0.3", official), ("keywords only", {"max_docs": 0})):
        report("AG's Corpus", name, [scores_of(hidden, fit, rows, **selection) for fit in fits], label, seconds)
    for dimensions in (10, 100):
        started = time.perf_counter()
        lsa = tfidf_lsa(hidden, dimensions=dimensions)
        scores = scores_of(hidden, lsa, rows, max_docs=0, normalize_keywords=False)
        report("AG's Corpus", f"keyword LSA, {dimensions}", [scores], label, time.perf_counter() - started)


def scores_of(dataset: Dataset, representation: Representation, rows: np.ndarray, **selection: Any) -> np.ndarray:
    """Similarities [rows, topics]; a document without a known word ranks last."""
    similarity = labelled(dataset, representation, **selection)
    scores = np.full((len(dataset.samples), similarity.shape[1]), -2.0)
    scores[representation.tables["units"]["sample"].to_numpy()] = similarity
    return scores[rows]


def beside_the_package() -> None:
    # The package's other method fetches a language model as soon as it is imported; it is not needed here.
    sys.modules["lbl2vec.lbl2transformervec"] = other = ModuleType("lbl2vec.lbl2transformervec")
    other.__dict__["Lbl2TransformerVec"] = None
    try:
        from lbl2vec import Lbl2Vec
    except ImportError as error:
        print(f"skipped: the package lbl2vec cannot be imported ({error}); see the top of {__file__}")
        return
    dataset = package_docs()
    hidden, rows, topics = dataset.without_truth(), dataset.rows("train"), dataset.meta["class_names"]
    label = dataset.labels("label", rows)

    def theirs(**source: Any) -> np.ndarray:
        model = Lbl2Vec(
            keywords_list=dataset.meta["keywords"], label_names=topics, workers=1, verbose=False, **SELECTION, **source
        )
        model.fit()
        return model.predict_model_docs()[topics].to_numpy(dtype=np.float64)

    print("| | tool | micro F1 | AUC | seconds |")
    print("|---|---|---|---|---|", flush=True)
    made = trained(hidden, 0)
    model = rebuild_paragraph_vectors(made.networks["paragraph_vectors"], made.tables["vocabulary"])
    model.dv.add_vectors(list(range(len(rows))), np.array(made.arrays["embedding"])[rows])
    started = time.perf_counter()
    scores = theirs(doc2vec_model=model)
    report("same vectors", "lbl2vec", [scores], label, time.perf_counter() - started)
    started = time.perf_counter()
    same = labelled(hidden, made, threshold=0.3, min_docs=50, max_docs=None, normalize_keywords=False)[rows]
    report("same vectors", "unlabeled", [same], label, time.perf_counter() - started)

    documents = [TaggedDocument(tokenize(dataset.tables["documents"]["text"].iloc[r]), [i]) for i, r in enumerate(rows)]
    started = time.perf_counter()
    whole = theirs(tagged_documents=documents, **TRAINING)  # it takes no seed
    report("end to end", "lbl2vec", [whole], label, time.perf_counter() - started)
    started = time.perf_counter()
    fits = [made, *(trained(hidden, seed) for seed in range(1, SEEDS))]
    training = (time.perf_counter() - started) / (SEEDS - 1)
    for name, selection in (("same threshold", {"threshold": 0.3, "min_docs": 50, "max_docs": None}), ("5 %", {})):
        started = time.perf_counter()
        found = [labelled(hidden, fit, **selection)[rows] for fit in fits]
        seconds = training + (time.perf_counter() - started) / SEEDS
        report("end to end", f"unlabeled, {name}, {SEEDS} seeds", found, label, seconds)
    print(f"\nlargest difference of a cosine with the same vectors: {np.abs(same - scores).max():.2g}")


def trained(dataset: Dataset, seed: int) -> Representation:
    return doc2vec(dataset, **TRAINING, seed=seed)


def labelled(dataset: Dataset, representation: Representation, **selection: Any) -> np.ndarray:
    return np.array(keyword_label_vectors(dataset, representation, **selection).arrays["similarity"])


def report(part: str, name: str, runs: list[np.ndarray], label: np.ndarray, seconds: float) -> None:
    f1 = np.mean([f1_score(label, s.argmax(axis=1), average="micro") for s in runs])
    auc = np.mean([roc_auc_score(label == c, s[:, c]) for s in runs for c in range(s.shape[1])])
    print(f"| {part} | {name} | {f1:.4f} | {auc:.4f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
