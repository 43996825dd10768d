"""Splits, limits, long tails and grants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.readers.selection import NO_LABEL, check_labels, choose_samples

LABELS = np.repeat([0, 1, 2], [60, 40, 20])
TRAIN = np.full(120, "train")


def test_without_keys_all_rows_come_in_order_and_no_label_is_granted() -> None:
    splits = np.repeat(["train", "test"], [80, 40])
    rows, samples = choose_samples(splits, LABELS, source="here")
    assert rows.tolist() == list(range(120))
    assert samples["label"].tolist() == LABELS.tolist()
    assert samples["split"].tolist() == splits.tolist()
    assert samples["given_label"].isna().all()


def test_grant_gives_the_labels_of_train_only() -> None:
    _, samples = choose_samples(np.repeat(["train", "test"], [80, 40]), LABELS, source="here", grant="train")
    train = samples["split"] == "train"
    assert samples.loc[train, "given_label"].tolist() == LABELS[:80].tolist()
    assert samples.loc[~train, "given_label"].isna().all()


def test_without_labels_there_are_no_label_columns() -> None:
    _, samples = choose_samples(TRAIN, None, source="here")
    assert list(samples) == ["sample", "split"]


def test_rows_are_ordered_by_split() -> None:
    splits = np.array(["test", "train", "val", "train"])
    rows, samples = choose_samples(splits, None, source="here")
    assert rows.tolist() == [1, 3, 2, 0]
    assert samples["split"].tolist() == ["train", "train", "val", "test"]


@given(
    share=st.floats(0.01, 0.99), counts=st.lists(st.integers(2, 30), min_size=1, max_size=5), seed=st.integers(0, 99)
)
def test_test_share_is_stratified_and_a_partition(share: float, counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    splits = np.full(len(labels), "train")
    rows, samples = choose_samples(splits, labels, source="here", test_share=share, seed=seed)
    assert sorted(rows.tolist()) == list(range(len(labels)))
    for value, count in enumerate(counts):
        in_test = int(((samples["label"] == value) & (samples["split"] == "test")).sum())
        assert 1 <= in_test <= count - 1
        assert abs(in_test - share * count) <= 1


@given(limit=st.integers(3, 130), seed=st.integers(0, 99))
def test_limit_is_balanced_as_far_as_classes_go(limit: int, seed: int) -> None:
    rows, samples = choose_samples(TRAIN, LABELS, source="here", limit=limit, seed=seed)
    counts = np.bincount(samples["label"].to_numpy(dtype=np.int64), minlength=3)
    assert len(rows) == len(set(rows.tolist())) == min(limit, 120)
    for value, available in enumerate([60, 40, 20]):
        # A class is smaller than another by more than one only if it is used up.
        assert counts[value] == available or counts[value] >= counts.max() - 1


def test_limit_holds_for_each_split() -> None:
    splits = np.tile(["train", "test"], 60)
    _, samples = choose_samples(splits, LABELS, source="here", limit=30)
    assert samples["split"].value_counts().to_dict() == {"train": 30, "test": 30}


def test_limit_below_the_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"limit: 2 is below the 3 classes of split 'train'"):
        choose_samples(TRAIN, LABELS, source="here", limit=2)


def test_imbalance_shapes_train_only() -> None:
    labels = np.tile(np.repeat([0, 1, 2], 50), 2)
    splits = np.repeat(["train", "test"], 150)
    _, samples = choose_samples(splits, labels, source="here", imbalance=10)
    counts = samples.groupby("split")["label"].value_counts().unstack()
    assert counts.loc["test"].tolist() == [50, 50, 50]
    assert sorted(counts.loc["train"].tolist(), reverse=True)[0] == 50
    assert sorted(counts.loc["train"].tolist())[0] == 5


def test_a_class_that_only_test_has_does_not_hinder_imbalance() -> None:
    labels, splits = np.repeat([0, 1, 2], 20), np.repeat(["train", "test", "train"], 20)
    _, samples = choose_samples(splits, labels, source="here", imbalance=5)
    assert samples["label"].value_counts().to_dict() == {0: 20, 1: 20, 2: 4}


def test_equal_seeds_give_equal_rows_and_others_do_not() -> None:
    keys = {"source": "here", "test_share": 0.3, "limit": 30, "imbalance": 4.0}
    first, again, other = (choose_samples(TRAIN, LABELS, seed=seed, **keys)[0] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_the_split_does_not_depend_on_the_limit() -> None:
    full, _ = choose_samples(TRAIN, LABELS, source="here", test_share=0.3, seed=1)
    full_test = {int(row) for row in full[-36:]}
    rows, samples = choose_samples(TRAIN, LABELS, source="here", test_share=0.3, limit=9, seed=1)
    assert {int(row) for row in rows[(samples["split"] == "test").to_numpy()]} <= full_test


def test_test_share_beside_a_test_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"test_share: here has a test split already"):
        choose_samples(np.array(["train", "test"]), None, source="here", test_share=0.5)


def test_an_empty_train_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"here leaves no sample in split 'train'"):
        choose_samples(np.array(["test", "test"]), None, source="here")


@pytest.mark.parametrize(("key", "value"), [("grant", "train"), ("imbalance", 10.0)])
def test_labels_that_are_used_must_exist_and_differ(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{key}: here has no labels for split 'train'"):
        choose_samples(TRAIN, None, source="here", **{key: value})
    with pytest.raises(ValueError, match=rf"{key}: here has no labels for split 'train'"):
        choose_samples(TRAIN, np.where(LABELS == 2, NO_LABEL, LABELS), source="here", **{key: value})
    with pytest.raises(ValueError, match=rf"{key}: here has only one class"):
        choose_samples(TRAIN, np.zeros(120, dtype=np.int64), source="here", **{key: value})


def test_one_class_is_fine_where_labels_are_not_used() -> None:
    _, samples = choose_samples(TRAIN, np.zeros(120, dtype=np.int64), source="here")
    assert samples["label"].eq(0).all()


def test_check_labels_names_file_and_value() -> None:
    check_labels(np.array([0, 2]), 3, "labels.bin")
    check_labels(np.array([0, 999]), None, "labels.bin")
    with pytest.raises(ValueError, match=r"labels.bin holds label 3, expected 0..2 \(1 labels"):
        check_labels(np.array([0, 3]), 3, "labels.bin")
    with pytest.raises(ValueError, match=r"holds label -1"):
        check_labels(np.array([0, -1]), None, "labels.bin")
