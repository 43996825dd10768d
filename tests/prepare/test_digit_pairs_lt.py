import numpy as np
import pytest
from sklearn.datasets import load_digits

from tasks.prepare.digit_pairs_lt import digit_pairs_lt


@pytest.fixture(scope="module")
def pairs():
    dataset = digit_pairs_lt()
    dataset.check()
    return dataset


def by_split(dataset, split):
    rows = dataset.rows(split)
    return rows, dataset.labels("label", rows)


def test_sizes(pairs):
    _, train = by_split(pairs, "train")
    assert np.bincount(train).tolist() == [200] * 4 + [12] * 10
    _, test = by_split(pairs, "test")
    assert np.bincount(test).tolist() == [60] * 14
    images = pairs.arrays["images"]
    assert images.shape == (len(pairs.samples), 8, 16, 1)
    assert images.dtype == np.float32
    assert images.min() == 0
    assert images.max() == 1


def test_train_labels_are_granted_and_the_rest_is_truth(pairs):
    train, test = pairs.rows("train"), pairs.rows("test")
    assert (pairs.labels("given_label", train) == pairs.labels("label", train)).all()
    assert pairs.samples["given_label"].iloc[test].isna().all()
    stripped = pairs.without_truth()
    assert "label" not in stripped.samples
    assert set(stripped.arrays) == {"images"}


def test_halves_show_the_digits_that_the_labels_say(pairs):
    """Every half is one of the source's images, of the right digit, and no image is in both splits."""
    source, target = load_digits(return_X_y=True)
    index = {image.astype(np.float32).tobytes(): i for i, image in enumerate(source)}
    images = (pairs.arrays["images"] * 16).astype(np.float32)[..., 0]
    left, right = (
        np.array([index[np.ascontiguousarray(half).tobytes()] for half in halves])
        for halves in (images[:, :, :8], images[:, :, 8:])
    )
    label = pairs.samples["label"].to_numpy(dtype=int)
    assert (target[left] == np.where(label < 4, label, 5)).all()
    assert (target[right] == pairs.arrays["substructure"]).all()
    assert (target[right] == label - 4)[label >= 4].all()
    train, test = pairs.rows("train"), pairs.rows("test")
    seen, unseen = set(left[train]) | set(right[train]), set(left[test]) | set(right[test])
    assert not seen & unseen


def test_heads_have_every_substructure_in_shuffled_rows(pairs):
    rows, label = by_split(pairs, "train")
    for c in range(4):
        assert len(set(pairs.arrays["substructure"][rows[label == c]])) == 10
    assert (np.diff(label) < 0).any()


def test_sizes_follow_the_parameters():
    dataset = digit_pairs_lt(heads=2, head_size=7, tails=3, tail_size=2, test_per_class=1)
    assert np.bincount(by_split(dataset, "train")[1]).tolist() == [7, 7, 2, 2, 2]
    assert dataset.meta["class_names"] == ["0 + any", "1 + any", "5 + 0", "5 + 1", "5 + 2"]


def test_seed():
    small = {"head_size": 5, "tail_size": 2, "test_per_class": 2}
    first, again, other = (digit_pairs_lt(**small, seed=s) for s in (0, 0, 1))
    assert first.arrays["images"].tobytes() == again.arrays["images"].tobytes()
    assert first.samples.equals(again.samples)
    assert first.arrays["images"].tobytes() != other.arrays["images"].tobytes()
