import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from tasks.clustering.condensed_tree import condense, densities, excess_of_mass, single_linkage, stabilities
from tasks.clustering.spanning_tree import edges_of, spanning_forest


def complete_tree(x: np.ndarray, s: int = 0):
    """Minimum spanning tree of mutual reachability over all pairs (s = 0: of plain distance)."""
    i, j = np.triu_indices(len(x), 1)
    distance = pdist(x)
    square = np.zeros((len(x), len(x)))
    square[i, j] = square[j, i] = distance
    core = np.sort(square, axis=1)[:, s]
    tree, _ = spanning_forest(len(x), edges_of(i, j, np.maximum(np.maximum(core[i], core[j]), distance)))
    return tree


def points(n: int, seed: int, d: int = 2) -> np.ndarray:
    """Clumps of different density in noise; no two distances are equal."""
    rng = np.random.default_rng(seed)
    centres, spread = rng.uniform(-5, 5, (5, d)), rng.uniform(0.1, 0.8, 5)
    which = rng.integers(5, size=n)
    x = centres[which] + rng.standard_normal((n, d)) * spread[which, None]
    x[: n // 10] = rng.uniform(-6, 6, (n // 10, d))
    return x


def test_single_linkage_is_scipys():
    x = points(120, 0)
    mine, reference = single_linkage(120, complete_tree(x)), scipy_linkage(x, "single")
    assert np.allclose(mine[:, 2:], reference[:, 2:])
    assert np.array_equal(np.sort(mine[:, :2], axis=1), np.sort(reference[:, :2], axis=1))


def test_what_is_no_spanning_tree_is_refused():
    cycle = edges_of(np.array([0, 1, 0]), np.array([1, 2, 2]), np.ones(3))
    with pytest.raises(ValueError, match="cycle"):
        single_linkage(4, cycle)
    with pytest.raises(ValueError, match="5 points has 4 edges, got 3"):
        single_linkage(5, cycle)


def plain_condense(linkage: np.ndarray, least: int) -> set[tuple[float, int, int]]:
    """The definition, node by node: (density, points of the parent at birth, points that leave) of every row."""
    n = len(linkage) + 1
    members = {i: 1 for i in range(n)} | {n + r: int(linkage[r, 3]) for r in range(n - 1)}
    rows, stack = [], [(2 * n - 2, n)]

    def shed(node: int, density: float, whole: int) -> None:
        rows.extend([(round(density, 9), whole, 1)] * members[node])

    while stack:
        node, whole = stack.pop()
        left, right, distance, _ = linkage[node - n]
        density, parts = 1 / distance, [int(left), int(right)]
        if all(members[p] >= least for p in parts):
            for p in parts:
                rows.append((round(density, 9), whole, members[p]))
                stack.append((p, members[p]))
            continue
        for p in parts:
            if members[p] >= least:
                stack.append((p, whole))
            else:
                shed(p, density, whole)
    return sorted(rows)


@pytest.mark.parametrize("least", [2, 5, 20, 200])
def test_condensed_tree_is_the_definition(least):
    linkage = single_linkage(150, complete_tree(points(150, 1), 3))
    tree = condense(linkage, least)
    whole = {150: 150} | {int(c): int(s) for c, s in zip(tree.child, tree.size, strict=True) if c >= 150}
    mine = [(round(d, 9), whole[int(p)], int(s)) for p, d, s in zip(tree.parent, tree.density, tree.size, strict=True)]
    assert sorted(mine) == plain_condense(linkage, least)
    assert np.array_equal(np.sort(tree.child[tree.child < 150]), np.arange(150))
    inner = tree.child >= 150
    assert (tree.parent[inner] < tree.child[inner]).all()


def same_clusters(one: np.ndarray, two: np.ndarray) -> bool:
    """Equal up to the numbers of the clusters; noise is noise."""
    pairs = np.unique(np.stack([one, two]), axis=1)
    return len(pairs.T) == len(np.unique(one)) == len(np.unique(two)) and bool(((one < 0) == (two < 0)).all())


# Not both: scikit-learn stops with a KeyError where a bound on the size leaves a single cluster below the root.
bounds = st.one_of(
    st.builds(lambda single: {"allow_single_cluster": single}, st.booleans()),
    st.builds(lambda most: {"max_cluster_size": most}, st.integers(26, 120)),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 25), bounds)
def test_without_ties_clusters_are_those_of_scikit_learn(seed, least, options):
    """The point itself as the only sample: core distances are 0, and no two weights are equal."""
    x = points(160, seed)
    result = excess_of_mass(condense(single_linkage(160, complete_tree(x)), least), **options)
    fit = HDBSCAN(min_cluster_size=least, min_samples=1, copy=True, **options).fit(x)
    assert same_clusters(fit.labels_, result.labels)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 25), st.integers(1, 8), bounds)
def test_on_a_tree_with_ties_scikit_learn_finds_clusters_that_die_at_birth_besides(seed, least, s, options):
    """Where all weights within a group equal the one that sets it apart, the order of ties alone makes it a cluster."""
    fit = HDBSCAN(min_cluster_size=least, min_samples=s + 1, copy=True, **options).fit(points(160, seed))
    merges = fit._single_linkage_tree_
    linkage = np.column_stack([merges[f] for f in ("left_node", "right_node", "value", "cluster_size")]).astype(float)
    tree = condense(linkage, least)
    result = excess_of_mass(tree, **options)
    theirs = fit.labels_.copy()
    leaves = set(tree.parent.tolist()) - set(tree.parent[tree.child >= 160].tolist())
    for dead in leaves & set((160 + np.flatnonzero(stabilities(tree) <= 0)).tolist()):
        members = tree.child[tree.parent == dead]
        if (result.labels[members] < 0).all():
            theirs[members] = -1
    assert same_clusters(theirs, result.labels)


def test_memberships_are_those_of_scikit_learn_without_ties():
    x = points(200, 3)
    result = excess_of_mass(condense(single_linkage(200, complete_tree(x, 1)), 8))
    fit = HDBSCAN(min_cluster_size=8, min_samples=2, copy=True).fit(x)
    assert adjusted_rand_score(fit.labels_, result.labels) == 1.0
    assert np.allclose(fit.probabilities_, result.membership, atol=1e-9)


def test_stability_by_hand():
    """Pairs 1 apart, 4 between them: both are born at 1/4 and die at 1 with both points."""
    tree = edges_of(np.array([0, 2, 1]), np.array([1, 3, 2]), np.array([1.0, 1.0, 4.0]))
    condensed = condense(single_linkage(4, tree), 2)
    assert stabilities(condensed) == pytest.approx([4 * 0.25, 2 * 0.75, 2 * 0.75])
    assert excess_of_mass(condensed).labels.tolist() == [0, 0, 1, 1]


def test_children_win_only_if_strictly_more_stable():
    """The parent of both pairs is born at 1/8: its excess 4 (1/4 - 1/8) against theirs, equal at death 3/8."""
    pair = 1 / 0.375
    tree = edges_of(np.array([0, 2, 1, 4, 3]), np.array([1, 3, 2, 5, 4]), np.array([pair, pair, 4, pair, 8.0]))
    assert excess_of_mass(condense(single_linkage(6, tree), 2)).labels.tolist() == [0, 0, 0, 0, 1, 1]
    nearer = edges_of(tree.a, tree.b, np.array([pair * 0.99, pair * 0.99, 4, pair, 8.0]))
    assert excess_of_mass(condense(single_linkage(6, nearer), 2)).labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_distance_zero_gets_a_finite_density_above_all_others():
    assert densities(np.array([0.0, 0.5, 2.0])).tolist() == [4.0, 2.0, 0.5]
    assert densities(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]
    assert densities(np.array([np.inf, 1.0])).tolist() == [0.0, 1.0]


def test_labels_are_numbered_by_smallest_member():
    x = points(300, 5)
    labels = excess_of_mass(condense(single_linkage(300, complete_tree(x, 4)), 10)).labels
    _, first = np.unique(labels[labels >= 0], return_index=True)
    assert len(first) > 2
    assert (np.diff(first) > 0).all()
