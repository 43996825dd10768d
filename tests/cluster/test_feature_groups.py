"""Groups of features: hand-made scores, brute force over the cuts."""

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import silhouette_score

from tasks.artifacts import Clusters, Representation
from tasks.cluster.feature_groups import feature_groups


def representation(score: np.ndarray, paired: np.ndarray | None = None) -> Representation:
    count = len(score)
    units = pd.DataFrame({"unit": np.arange(count, dtype=np.int64)})
    embedding = np.concatenate([np.zeros((count, 1)), score], axis=1).astype(np.float32)
    paired = np.arange(count) if paired is None else paired
    return Representation({"units": units}, {"embedding": embedding, "paired": paired.astype(np.int64)})


def blocks(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores near 1 within groups, near 0 between; entropies of all sizes on the diagonal; the group of each."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    noise = rng.random((len(group), len(group))) * 0.05
    score = (group[:, None] == group[None]) + (noise + noise.T) / 2
    np.fill_diagonal(score, rng.uniform(1, 9, len(group)))
    return score, group


def test_groups_that_say_the_same_are_found(tmp_path):
    score, group = blocks([4, 3, 3, 2])
    feature_groups(representation(score)).save(tmp_path / "c")
    loaded = Clusters.load(tmp_path / "c")
    assert loaded.tables["units"]["cluster"].tolist() == group.tolist()
    assert loaded.meta["n_clusters"] == 4
    assert sorted(loaded.arrays["order"].tolist()) == list(range(12))
    in_order = group[loaded.arrays["order"]]
    assert (np.diff(in_order) != 0).sum() == 3  # each group in one piece


def test_own_scores_do_not_matter():
    score, _ = blocks([4, 3, 3])
    other = score.copy()
    np.fill_diagonal(other, 100.0)
    one, two = feature_groups(representation(score)), feature_groups(representation(other))
    assert one.tables["units"].equals(two.tables["units"])
    assert one.meta == two.meta


@pytest.mark.parametrize("method", ["complete", "average", "single", "ward"])
def test_the_cut_with_the_best_silhouette(method):
    """Brute force with scikit-learn's agglomerative clustering over every number of groups."""
    rng = np.random.default_rng(3)
    score = rng.random((14, 14))
    score = (score + score.T) / 2
    np.fill_diagonal(score, 0)
    rows = 1 - score
    np.fill_diagonal(rows, 1 - score.max())
    cuts = [AgglomerativeClustering(k, linkage=method).fit_predict(rows) for k in range(3, 14)]
    values = [silhouette_score(rows, cut) for cut in cuts]
    made = feature_groups(representation(score), method=method)
    assert made.meta["silhouette"] == pytest.approx(max(values), abs=1e-6)
    best = cuts[int(np.argmax(values))]
    cluster = made.tables["units"]["cluster"].to_numpy()
    assert np.array_equal(cluster[:, None] == cluster[None], best[:, None] == best[None])
    np.testing.assert_allclose(made.arrays["linkage"], linkage(rows, method), atol=1e-5)
    assert len(np.unique(fcluster(made.arrays["linkage"], made.meta["n_clusters"], "maxclust"))) == len(np.unique(best))


def test_bounds_of_the_number_of_groups():
    score, _ = blocks([4, 3, 3, 2])
    assert feature_groups(representation(score), max_clusters=3).meta["n_clusters"] == 3
    assert feature_groups(representation(score), min_clusters=6).meta["n_clusters"] >= 6


def test_features_without_pairs_are_groups_of_their_own():
    score, _ = blocks([3, 2, 2])
    wide = np.zeros((10, 10))
    paired = np.array([1, 2, 4, 5, 6, 8, 9])
    wide[np.ix_(paired, paired)] = score
    cluster = feature_groups(representation(wide, paired)).tables["units"]["cluster"].to_numpy()
    # Numbered by the first feature of each group: 0 | 1 2 4 | 3 | 5 6 | 7 | 8 9.
    assert cluster.tolist() == [0, 1, 1, 2, 1, 3, 3, 4, 5, 5]


def test_too_few_to_cluster():
    score, _ = blocks([2, 1])
    made = feature_groups(representation(score))
    assert made.tables["units"]["cluster"].tolist() == [0, 1, 2]
    assert made.meta == {"n_clusters": 3}


def test_bad_input():
    score, _ = blocks([3, 3])
    with pytest.raises(ValueError, match="max_clusters = 3 is below min_clusters = 5"):
        feature_groups(representation(score), min_clusters=5, max_clusters=3)
    plain = representation(score)
    del plain.arrays["paired"]
    with pytest.raises(ValueError, match="no pairwise scores; use step 'feature_scores'"):
        feature_groups(plain)
