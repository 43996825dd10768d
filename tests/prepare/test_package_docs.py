"""The corpus of package documentation: what is in it, what is not, and that nothing tells the truth."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest

from tasks.prepare import package_docs as module
from tasks.prepare.package_docs import TOPICS, package_docs
from tasks.text.tokens import tokenize


@pytest.fixture(scope="module")
def dataset():
    return package_docs()


def test_sizes_and_topics(dataset) -> None:
    dataset.check()
    samples, texts = dataset.samples, dataset.tables["documents"]["text"]
    assert 1300 < len(samples) < 1700
    assert dataset.meta["class_names"] == list(TOPICS)
    assert dataset.meta["keywords"] == [list(topic.keywords) for topic in TOPICS.values()]
    assert samples["label"].value_counts().min() > 100
    share = samples.groupby("label")["split"].agg(lambda s: (s == "test").mean())
    np.testing.assert_allclose(share, 0.2, atol=0.01)
    lengths = texts.map(lambda text: len(tokenize(text)))
    assert lengths.max() == 80
    assert lengths.min() > 5
    assert not texts.str[:200].duplicated().any()
    assert "given_label" not in dataset.without_truth().samples or samples["given_label"].isna().all()


def test_every_keyword_is_used(dataset) -> None:
    words = {word for text in dataset.tables["documents"]["text"] for word in tokenize(text)}
    assert not {word for topic in TOPICS.values() for word in topic.keywords} - words


def test_the_order_says_nothing(dataset) -> None:
    """Neighbours share their topic as often as chance has it."""
    label = dataset.samples.loc[dataset.samples["split"] == "train", "label"].to_numpy(dtype=int)
    share = np.bincount(label) / len(label)
    expected = (share**2).sum()
    assert (label[1:] == label[:-1]).mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / len(label)))


def test_seeds_draw_other_splits_of_the_same_documents(dataset) -> None:
    again, other = package_docs(), package_docs(seed=1)
    assert again.tables["documents"].equals(dataset.tables["documents"])
    assert not other.tables["documents"].equals(dataset.tables["documents"])
    assert set(other.tables["documents"]["text"]) == set(dataset.tables["documents"]["text"])


def test_limit_is_per_split_and_topic() -> None:
    small = package_docs(limit=50)
    counts = small.samples.groupby(["split", "label"]).size()
    assert (counts == 10).all()


class Base:
    def inherited(self) -> None:
        """Inherited words that are long enough to count as a document of its own."""


class Public(Base):
    """A public class whose description is long enough.

    Examples
    --------
    >>> never_seen
    """

    def method(self) -> None:
        """A method whose description is long enough."""

    def _private(self) -> None:
        """A private method whose description is long enough."""

    @property
    def attribute(self) -> int:
        """A property whose description is long enough."""
        return 0


def test_what_counts_as_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, classes with their own and inherited methods and properties; nothing private, nothing after "Examples"."""
    made = ModuleType("made")

    def function() -> None:
        """A function whose description is long enough.

        References
        ----------
        never_seen
        """

    def hidden() -> None:
        """A function that is no member of __all__ and long enough."""

    def brief() -> None:
        """Brief."""

    for member in (function, hidden, brief, Public, Public):
        setattr(made, member.__name__, member)
    made.constant = 3  # type: ignore[attr-defined]
    made.__all__ = ["function", "brief", "Public", "constant", "absent"]  # type: ignore[attr-defined]
    monkeypatch.setattr(importlib, "import_module", lambda name: made)
    monkeypatch.setattr(module, "TOPICS", {"one": module.Topic(("made", "made"), ("word",))})
    dataset = package_docs(min_characters=20, held_out=0.1)
    texts = sorted(" ".join(tokenize(text)) for text in dataset.tables["documents"]["text"])
    assert texts == [
        "function whose description is long enough",
        "inherited words that are long enough to count as document of its own",
        "method whose description is long enough",
        "property whose description is long enough",
        "public class whose description is long enough",
    ]


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOPICS", {"one": module.Topic(("nopackage.sub",), ("word",))})
    with pytest.raises(ValueError, match=r"nopackage\.sub cannot be imported .* pip install nopackage"):
        package_docs()
