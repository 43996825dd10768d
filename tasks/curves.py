"""Curves in the one form in which every artifact stores them: a table of `curve` (name), `x` and `y`.

"loss" and the like are over epochs or steps; another x is part of the name: "recall_by_class", "AP against mask IoU".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd


def curve_table(name: str, x: Iterable[float], y: Iterable[float]) -> pd.DataFrame:
    """One curve."""
    x = np.asarray(list(x), dtype=np.float64)
    y = np.asarray(list(y), dtype=np.float64)
    return pd.DataFrame({"curve": pd.Series([name] * len(x), dtype="str"), "x": x, "y": y})


def block_means(name: str, values: Sequence[float], every: int, *, before: int = 0) -> pd.DataFrame:
    """Means of `every` steps' values in a row, the last block what is left; x is a block's last step, after `before` others."""
    starts = range(0, len(values), every)
    ends = [before + min(start + every, len(values)) for start in starts]
    return curve_table(name, ends, [float(np.mean(values[start : start + every])) for start in starts])
