"""Rules that tell the members of a group from all others: conjunctions of thresholds, found by a decision tree.

Shape legend: N rows, F features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier

MIN_LEAF = 5


@dataclass(frozen=True)
class Condition:
    """`feature` (a column) <= or > `threshold`."""

    feature: int
    op: str
    threshold: float

    def holds(self, x_NF: np.ndarray) -> np.ndarray:
        value_N = x_NF[:, self.feature]
        return value_N <= self.threshold if self.op == "<=" else value_N > self.threshold


@dataclass(frozen=True)
class Rule:
    """A conjunction, with the rows it covers in training (`n`), and its precision and recall there."""

    conditions: list[Condition]
    n: int
    precision: float
    recall: float


def covers(conditions: list[Condition], x_NF: np.ndarray) -> np.ndarray:
    """Rows on which all conditions hold, bool [N]."""
    return np.all([c.holds(x_NF) for c in conditions], axis=0) if conditions else np.ones(len(x_NF), dtype=bool)


def extract_rule(x_NF: np.ndarray, member_N: np.ndarray, max_depth: int) -> Rule:
    """The leaf of largest precision * sqrt(recall) of a balanced tree, with every condition dropped that it can do without.

    `x_NF` float32, as the tree compares; `member_N` bool. Conditions are tried in turn, the last first, and dropped
    while precision does not fall.
    """
    tree: Any = DecisionTreeClassifier(
        max_depth=max_depth, min_samples_leaf=MIN_LEAF, class_weight="balanced", random_state=0
    )
    tree = tree.fit(x_NF, member_N).tree_
    candidates = [_judge(conditions, x_NF, member_N) for conditions in _leaves(tree)]
    best = max(candidates, key=lambda rule: rule.precision * np.sqrt(rule.recall))
    dropped = True
    while dropped:
        dropped = False
        for position in reversed(range(len(best.conditions))):
            shorter = best.conditions[:position] + best.conditions[position + 1 :]
            rule = _judge(shorter, x_NF, member_N)
            if shorter and rule.precision >= best.precision:
                best, dropped = rule, True
                break
    return best


def in_words(rule: Rule, names: list[str]) -> str:
    """For example "account age (days) <= 30 AND gift-card share > 0.55 (n = 41, precision 0.95)"."""
    terms = " AND ".join(f"{names[c.feature]} {c.op} {c.threshold:.3g}" for c in rule.conditions)
    return f"{terms} (n = {rule.n}, precision {rule.precision:.2f})"


def _judge(conditions: list[Condition], x_NF: np.ndarray, member_N: np.ndarray) -> Rule:
    covered_N = covers(conditions, x_NF)
    hits, n = int((covered_N & member_N).sum()), int(covered_N.sum())
    return Rule(conditions, n, hits / max(n, 1), hits / max(int(member_N.sum()), 1))


def _leaves(tree: Any) -> list[list[Condition]]:
    """Conditions on the way to every leaf, at most one for each feature and direction."""
    result, stack = [], [(0, [])]
    while stack:
        node, conditions = stack.pop()
        if tree.children_left[node] < 0:
            result.append(conditions)
            continue
        feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
        for child, op in ((tree.children_right[node], ">"), (tree.children_left[node], "<=")):
            # Further down the same comparison is the tighter one.
            others = [c for c in conditions if (c.feature, c.op) != (feature, op)]
            stack.append((child, [*others, Condition(feature, op, threshold)]))
    return result
