"""Our label vectors beside the authors' package: `python tests/benchmarks/lbl2vec.py`.

Same corpus (package_docs), same vectors, same candidates (threshold 0.3, at least 50, outliers removed), then F1, AUC
and the largest difference of a cosine. With gensim 4 the package averages keywords' vectors as they are; we are asked to do
the same here (`normalize_keywords: false`). Needs `pip install lbl2vec` in an environment of its own; says so if absent.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from gensim.models.doc2vec import TaggedDocument
from sklearn.metrics import f1_score, roc_auc_score

from tasks.cluster.keyword_label_vectors import keyword_label_vectors
from tasks.prepare.package_docs import package_docs
from tasks.pretrain.doc2vec import doc2vec
from tasks.text.paragraph_vectors import rebuild_paragraph_vectors
from tasks.text.tokens import tokenize


def main() -> None:
    try:
        from lbl2vec import Lbl2Vec
    except ImportError as error:
        print(f"skipped: the package lbl2vec cannot be imported ({error}); pip install lbl2vec")
        return
    dataset = package_docs()
    hidden = dataset.without_truth()
    made = doc2vec(hidden, vector_size=64, window=8, epochs=15, min_count=2, sample=1e-3, seed=0)
    rows = dataset.rows("train")
    label = dataset.labels("label", rows)
    vectors = np.array(made.arrays["embedding"])[rows]

    model = rebuild_paragraph_vectors(made.networks["paragraph_vectors"], made.tables["vocabulary"])
    texts = dataset.tables["documents"]["text"]
    model.dv.add_vectors(list(range(len(rows))), vectors)
    started = time.perf_counter()
    theirs = Lbl2Vec(
        keywords_list=dataset.meta["keywords"],
        tagged_documents=[TaggedDocument(tokenize(texts[row]), [i]) for i, row in enumerate(rows)],
        label_names=dataset.meta["class_names"],
        similarity_threshold=0.3,
        min_num_docs=50,
        clean_outliers=True,
        doc2vec_model=model,
        workers=1,
        verbose=False,
    )
    theirs.fit()
    scores = theirs.predict_model_docs()[dataset.meta["class_names"]].to_numpy(dtype=np.float64)
    report("lbl2vec package", scores, label, time.perf_counter() - started)

    started = time.perf_counter()
    selection = {"max_docs": None, "min_docs": 50, "threshold": 0.3}
    clusters = keyword_label_vectors(hidden, made, normalize_keywords=False, **selection)
    ours = clusters.arrays["similarity"][rows]
    report("unlabeled", ours, label, time.perf_counter() - started)
    print(f"largest difference of a cosine: {np.abs(ours - scores).max():.2g}")


def report(name: str, scores: np.ndarray, label: np.ndarray, seconds: float) -> None:
    f1 = f1_score(label, scores.argmax(axis=1), average="micro")
    auc = np.mean([roc_auc_score(label == c, scores[:, c]) for c in range(scores.shape[1])])
    print(f"{name:16} f1_micro {f1:.4f}  auc {auc:.4f}  {seconds:.1f} s without Doc2Vec")


if __name__ == "__main__":
    main()
