"""From a minimum spanning tree to clusters: single linkage, condensed tree, excess of mass.

The hierarchy of HDBSCAN (Campello, Moulavi & Sander, PAKDD 2013; McInnes & Healy, ICDMW 2017, arXiv 1705.07321).

Shape legend: N points, C clusters of the condensed tree, R its rows.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster._hierarchical_fast import single_linkage_label  # private, but the union-find of all its trees

from tasks.clustering.spanning_tree import Edges, to_roots


@dataclass(frozen=True)
class CondensedTree:
    """Rows in which a point or a cluster leaves its cluster as density grows.

    `parent`, `child` int64 [R] (0..N-1 are points, N the root, N+1.. further clusters, parents before children),
    `density` float64 [R] (lambda, 1 / distance), `size` int64 [R].
    """

    n: int
    parent: np.ndarray
    child: np.ndarray
    density: np.ndarray
    size: np.ndarray

    @property
    def clusters(self) -> int:
        return int(self.parent.max()) - self.n + 1


@dataclass(frozen=True)
class Extraction:
    """`labels` int64 [N] (-1 noise; numbered by smallest member), `membership` float64 [N], `selected` tree clusters [K]."""

    labels: np.ndarray
    membership: np.ndarray
    selected: np.ndarray


def single_linkage(n: int, tree: Edges) -> np.ndarray:
    """Merges float64 [N-1, 4] (left, right, distance, size) in SciPy's layout, from a spanning tree's edges.

    Raises ValueError unless there are N-1 edges that join all points.
    """
    if len(tree) != n - 1:
        raise ValueError(f"a spanning tree of {n} points has {n - 1} edges, got {len(tree)}")
    if n == 1:
        return np.zeros((0, 4))
    order = np.lexsort((tree.b, tree.a, tree.weight))
    linkage = single_linkage_label(np.column_stack([tree.a[order], tree.b[order], tree.weight[order]]))
    if (linkage[:, 0] == linkage[:, 1]).any():
        raise ValueError("the edges hold a cycle; they are no spanning tree")
    return linkage


def condense(linkage: np.ndarray, min_cluster_size: int) -> CondensedTree:
    """The condensed tree: a merge of two parts of at least `min_cluster_size` points bears two clusters, others shed points.

    Merges of distance 0 get twice the largest finite density. Merges of equal distance are undone one by one, in the
    order of `linkage`, as hdbscan and scikit-learn do: with ties, clusters little above the least size depend on that order.
    """
    n = len(linkage) + 1
    left, right = linkage[:, 0].astype(np.int64), linkage[:, 1].astype(np.int64)
    density = densities(linkage[:, 2])
    size = np.concatenate([np.ones(n, np.int64), linkage[:, 3].astype(np.int64)])
    root = 2 * n - 2
    above = np.arange(2 * n - 1)  # the node that each node was merged into
    above[left], above[right] = np.arange(n, 2 * n - 1), np.arange(n, 2 * n - 1)
    large = size >= min_cluster_size
    splits = np.zeros(2 * n - 1, dtype=bool)
    splits[n:] = large[left] & large[right]
    large[root] = True
    # A cluster is named by the topmost node that bears it: the root, and both parts of every split.
    heads = np.zeros(2 * n - 1, dtype=bool)
    heads[root] = True
    heads[left[splits[n:]]] = heads[right[splits[n:]]] = True
    head_of = to_roots(np.where(heads | ~large, np.arange(2 * n - 1), above))
    # From the root down, merges happen in falling order of node number: parents are numbered first.
    head_nodes = np.flatnonzero(heads)[::-1]
    number = np.full(2 * n - 1, -1)
    number[head_nodes] = n + np.arange(len(head_nodes))
    # A point leaves at the lowest large node above it.
    last = to_roots(np.where(large, np.arange(2 * n - 1), above))[:n]
    born = head_nodes[1:]
    into = above[born]
    return CondensedTree(
        n,
        np.concatenate([number[head_of[last]], number[head_of[into]]]),
        np.concatenate([np.arange(n), number[born]]),
        np.concatenate([density[last - n], density[into - n]]),
        np.concatenate([np.ones(n, np.int64), size[born]]),
    )


def densities(distance: np.ndarray) -> np.ndarray:
    """1 / distance; distance 0 counts as half the least positive one (with no other, density is 1).

    At the largest finite density itself the nearest two groups of duplicates would die as they are born.
    """
    positive = distance > 0
    density = np.empty(len(distance))
    density[positive] = 1 / distance[positive]
    density[~positive] = 2 * density[positive].max(initial=0.0) or 1.0
    return density


def stabilities(tree: CondensedTree) -> np.ndarray:
    """Excess of mass float64 [C]: sum over a cluster's rows of (density - density at birth) * size."""
    birth_C = np.zeros(tree.clusters)
    is_cluster = tree.child >= tree.n
    birth_C[tree.child[is_cluster] - tree.n] = tree.density[is_cluster]
    parent = tree.parent - tree.n
    return np.bincount(parent, (tree.density - birth_C[parent]) * tree.size, minlength=tree.clusters)


def excess_of_mass(
    tree: CondensedTree, *, allow_single_cluster: bool = False, max_cluster_size: int | None = None
) -> Extraction:
    """The most stable set of clusters, none within another nor above `max_cluster_size`; the root only if `allow_single_cluster`.

    A cluster that dies at the density of its birth (it comes of ties alone) is none. Points that left an unselected
    cluster are noise. Membership is min(lambda of the point, lambda_max) / lambda_max of its cluster.
    """
    count = tree.clusters
    above_C = np.arange(count)
    is_cluster = tree.child >= tree.n
    above_C[tree.child[is_cluster] - tree.n] = tree.parent[is_cluster] - tree.n
    size_C = np.full(count, tree.n)
    size_C[tree.child[is_cluster] - tree.n] = tree.size[is_cluster]
    fits_C = size_C <= (tree.n if max_cluster_size is None else max_cluster_size)
    stability, below = stabilities(tree).tolist(), [0.0] * count
    chosen = np.zeros(count, dtype=bool)
    for c in range(count - 1, -1, -1):  # children before parents
        if c == 0 and not allow_single_cluster:
            break
        chosen[c] = fits_C[c] and stability[c] > 0 and not below[c] > stability[c]
        below[above_C[c]] += stability[c] if chosen[c] else below[c]
    # The topmost chosen cluster above each: itself or an ancestor wins over what lies below.
    selected_C = np.full(count, -1)
    for c in range(count):
        upper = selected_C[above_C[c]] if c else -1
        selected_C[c] = upper if upper >= 0 else (c if chosen[c] else -1)
    cluster_N, density_N = tree.parent[: tree.n] - tree.n, tree.density[: tree.n]
    label_N = selected_C[cluster_N]
    death_C = np.zeros(count)
    np.maximum.at(death_C, tree.parent - tree.n, tree.density)
    if selected_C[0] == 0:  # a single cluster: what is less dense than all that the root shed is noise
        label_N = np.where(density_N >= death_C[0], 0, -1)
    member = label_N >= 0
    membership_N = np.zeros(tree.n)
    membership_N[member] = np.minimum(density_N[member] / death_C[label_N[member]], 1.0)
    selected, first = np.unique(label_N[member], return_index=True)
    selected = selected[np.argsort(np.flatnonzero(member)[first])]
    number_C = np.full(count, -1)
    number_C[selected] = np.arange(len(selected))
    return Extraction(np.where(member, number_C[label_N], -1), membership_N, tree.n + selected)
