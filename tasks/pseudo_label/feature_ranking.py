"""Which features to keep: a ranking of them, and the mask of the first k."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, PseudoLabels, Representation
from tasks.tables.ranking import Strategy, by_relevance, one_per_group, three_mr

Weight = Annotated[float, Field(ge=0)]


def feature_ranking(
    representation: Representation,
    clusters: Clusters,
    *,
    ranking: Literal["singles", "3mr", "one_per_group"] = "singles",
    k: Annotated[int, Field(ge=1)] | None = None,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    strategy: Strategy = "median",
) -> PseudoLabels:
    """Rankings of OutRank (Skrlj & Mramor, RecSys 2023, arXiv 2309.01552).

    Parameters
    ----------
    ranking: "singles": by score with the label; "3mr": relevance, less redundancy, plus synergy with what is chosen;
        "one_per_group": the best of each feature group first.
    k: features kept; null: all. alpha, beta: weights of redundancy and synergy in 3MR.
    strategy: how 3MR summarises over the features chosen.

    Table `units` (unit, pseudo_label: 1 kept, 0 not); `rank` int64 [F] (0 is best), `order` int64 [F] (its inverse), `weight`
    float32 [F] score with the label, `selected` bool [F]; meta `k`, `ranking`.

    Raises ValueError: `k` above the number of features.
    """
    embedding = np.array(representation.arrays["embedding"], dtype=np.float64)
    relevance_F = embedding[:, 0]
    count = len(relevance_F)
    if k is not None and k > count:
        raise ValueError(f"k = {k} is more than the {count} features; lower k")
    if ranking == "3mr":
        synergy_FF = np.asarray(representation.arrays["synergy"])
        paired = np.asarray(representation.arrays["paired"])
        order = three_mr(relevance_F, embedding[:, 1:], synergy_FF, paired, alpha=alpha, beta=beta, strategy=strategy)
    elif ranking == "one_per_group":
        order = one_per_group(relevance_F, clusters.tables["units"]["cluster"].to_numpy())
    else:
        order = by_relevance(relevance_F)
    rank = np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    selected = rank < (count if k is None else k)
    return PseudoLabels(
        {"units": representation.tables["units"][["unit"]].assign(pseudo_label=selected.astype(np.int64))},
        {"rank": rank, "order": order, "weight": relevance_F.astype(np.float32), "selected": selected},
        meta={"k": int(selected.sum()), "ranking": ranking},
    )
