"""A real text corpus that is always there: what installed scientific packages say about themselves."""

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from tasks.artifacts import Dataset
from tasks.readers.selection import Limit, TestShare
from tasks.readers.text import MaxTokens, text_dataset


@dataclass(frozen=True)
class Topic:
    """Modules whose documentation is about a topic, and words that a user would name the topic by."""

    modules: tuple[str, ...]
    keywords: tuple[str, ...]


TOPICS = {
    "statistics": Topic(
        ("scipy.stats", "sklearn.covariance", "sklearn.naive_bayes", "sklearn.mixture"),
        ("distribution", "probability", "variance", "hypothesis", "statistic"),
    ),
    "signals": Topic(
        ("scipy.signal", "scipy.fft", "scipy.ndimage", "scipy.interpolate"),
        ("filter", "frequency", "signal", "fourier", "interpolation"),
    ),
    "linear algebra": Topic(
        ("scipy.linalg", "scipy.sparse", "scipy.sparse.linalg", "numpy.linalg"),
        ("matrix", "eigenvalue", "sparse", "decomposition", "solve"),
    ),
    "supervised learning": Topic(
        ("sklearn.ensemble", "sklearn.tree", "sklearn.linear_model", "sklearn.svm", "sklearn.neighbors"),
        ("classifier", "regression", "estimator", "trees", "kernel"),
    ),
    "text": Topic(
        ("gensim.models", "gensim.corpora", "sklearn.feature_extraction.text"),
        ("word", "document", "corpus", "topic", "vocabulary"),
    ),
}
# What follows is code and citations, which name modules and authors instead of describing.
_TAIL = re.compile(r"^[ \t]*(Examples|References)[ \t]*$", re.MULTILINE)


def package_docs(
    *,
    max_tokens: MaxTokens = 80,
    min_characters: Annotated[int, Field(ge=1)] = 150,
    held_out: TestShare = 0.2,
    limit: Limit | None = None,
    seed: int = 0,
) -> Dataset:
    """Docstrings of public functions, classes and methods of NumPy, SciPy, scikit-learn and gensim, as documents.

    Five topics: statistics, signals, linear algebra, supervised learning, text. The truth of a document is the group of
    modules that it comes from; the module's name is no part of the text. Only the text before "Examples" and
    "References" counts. Of documents with the same first 200 characters the first is kept (methods that classes inherit).
    The corpus is as fixed as the versions of these packages, which the lock file pins.

    Parameters
    ----------
    max_tokens: length at which documents are cut.
    min_characters: documents must be longer.
    held_out: share of each topic that becomes split `test`: documents that are new to the model.
    limit: most documents per split, equally many of each topic, drawn with `seed`.
    seed: seed of order, split and limit.

    Returns table `documents` (sample, text) and `meta` `class_names` and `keywords` (five words for each topic).

    Raises ValueError: a package that is not installed.
    """
    texts: list[str] = []
    labels: list[int] = []
    seen: set[str] = set()
    for label, topic in enumerate(TOPICS.values()):
        for text in (t for name in topic.modules for t in _documentation(_imported(name))):
            if len(text) > min_characters and text[:200] not in seen:
                seen.add(text[:200])
                texts.append(text)
                labels.append(label)
    return text_dataset(
        texts,
        np.full(len(texts), "train"),
        np.array(labels, dtype=np.int64),
        list(TOPICS),
        source="package_docs",
        keywords={name: list(topic.keywords) for name, topic in TOPICS.items()},
        max_tokens=max_tokens,
        test_share=held_out,
        limit=limit,
        seed=seed,
    )


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ValueError(f"package_docs: {name} cannot be imported ({error}); pip install {package}") from error


def _documentation(module: ModuleType) -> Iterator[str]:
    """Docstrings of a module's public functions and classes, each class followed by its own methods, by name."""
    public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    for name in sorted(public):
        member: Any = getattr(module, name, None)
        if not (inspect.isroutine(member) or inspect.isclass(member) or isinstance(member, np.ufunc)):
            continue
        yield _described(member)
        if inspect.isclass(member):
            # With what it inherits: much is written in private base classes. What is repeated is dropped later.
            for attribute in dir(member):
                method = None if attribute.startswith("_") else inspect.getattr_static(member, attribute)
                if inspect.isroutine(method) or isinstance(method, property):
                    yield _described(method)


def _described(member: Any) -> str:
    doc = member.__doc__
    return _TAIL.split(inspect.cleandoc(doc), maxsplit=1)[0].strip() if isinstance(doc, str) else ""
