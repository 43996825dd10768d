"""Rules in words for risky clusters, applied to what comes later.

Shape legend: N units, F features.
"""

from dataclasses import asdict
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Model, PseudoLabels
from tasks.sequences.rules import covers, extract_rule, in_words


def rule_extraction(
    dataset: Dataset,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    *,
    max_depth: Annotated[int, Field(ge=1)] = 3,
    min_precision: Annotated[float, Field(ge=0, le=1)] = 0.8,
) -> Model:
    """Rules on the experts' features for each risky cluster (FinDeepBehaviorCluster, Min et al., 2021, arXiv 2101.04285).

    For every risky cluster a decision tree tells its members from all other units; the leaf with the largest
    precision * sqrt(recall) becomes a conjunction, conditions that it can do without are dropped. The digest of the paper at
    hand does not say how rules are found; this is chosen here as the plainest way to a readable rule.

    Parameters
    ----------
    max_depth: depth of the tree, the most conditions of a rule.
    min_precision: least share of a rule's training rows that belong to the cluster; other rules are dropped.

    Trees see the units that were clustered, and of the labels nothing. Returns meta `rules` (cluster, conditions, n,
    precision, recall, text), `dropped` (clusters without a rule); table `predictions`: 1 for samples of split test that a rule
    covers, else 0. Without risky cluster or rule all predictions are 0. Raises ValueError: features not finite.
    """
    units = clusters.tables["units"]
    cluster_N = units["cluster"].to_numpy()
    later = dataset.rows("test")
    names = list(dataset.meta["feature_names"])
    x_NF = np.array(dataset.arrays["features"][units["sample"].to_numpy()], dtype=np.float32)
    later_NF = np.array(dataset.arrays["features"][later], dtype=np.float32)
    if not (np.isfinite(x_NF).all() and np.isfinite(later_NF).all()):
        raise ValueError("dataset: features are not finite; replace missing values before rules are sought")
    table = pseudo_labels.tables["clusters"]
    rules, dropped, flagged = [], [], np.zeros(len(later), dtype=bool)
    for c in table.loc[table["risky"], "cluster"].tolist():
        rule = extract_rule(x_NF, cluster_N == c, max_depth)
        if not rule.conditions or rule.precision < min_precision:
            dropped.append(int(c))
            continue
        conditions = [{**asdict(k), "feature": names[k.feature]} for k in rule.conditions]
        text = in_words(rule, names)
        rules.append({**asdict(rule), "cluster": int(c), "conditions": conditions, "text": text})
        flagged |= covers(rule.conditions, later_NF)
    predictions = pd.DataFrame({"sample": later, "prediction": flagged.astype(np.int64)})
    return Model({"predictions": predictions}, meta={"rules": rules, "dropped": dropped})
