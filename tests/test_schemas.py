"""Tables: what does not fit its schema is refused, with kind, table, column and value in the message."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.artifacts import Clusters, Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.schemas import SCHEMAS, as_declared, check_table
from tasks.steps import STAGES


def units(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"unit": np.arange(3), **columns})


SOUND = [
    ("clusters", "units", units(cluster=[-1, 0, 5])),
    ("clusters", "units", units(cluster=[0, 0, 0], sample=[0, 0, 1], area=[1, 2, 3])),
    ("representation", "units", units(sample=[0, 0, 2], row=[0, 1, 2])),
    ("pseudo_labels", "units", units(pseudo_label=[-1, 0, 1], given_label=pd.array([None, 1, 0], dtype="Int64"))),
    ("model", "predictions", pd.DataFrame({"sample": [3, 1], "prediction": [0, 9]})),
    ("metrics", "curves", pd.DataFrame({"curve": pd.Series(["a"], dtype="str"), "x": [1.0], "y": [0.5]})),
]
UNSOUND = [
    ("clusters", "units", units(cluster=[-2, 0, 5]), "clusters: table 'units', column 'cluster': .*-1.*value -2"),
    ("clusters", "units", units(cluster=[0.0, 1.0, 2.0]), "column 'cluster': dtype"),
    ("clusters", "units", units(), "clusters: table 'units'.*cluster"),
    ("clusters", "units", units(cluster=[0, 0, 0], extra=[1, 2, 3]), "clusters: table 'units'.*extra"),
    ("clusters", "units", pd.DataFrame({"unit": [0, 2, 1], "cluster": [0, 0, 0]}), "column 'unit': not 0..n-1 in order"),
    ("clusters", "units", pd.DataFrame({"unit": [1, 2, 3], "cluster": [0, 0, 0]}), "column 'unit': not 0..n-1 in order"),
    ("representation", "units", units(sample=[0, -1, 2]), "column 'sample'.*value -1"),
    ("representation", "units", units(sample=[0, 1, 2], row=[0, -1, 2]), "column 'row'.*value -1"),
    ("model", "predictions", pd.DataFrame({"sample": [0], "prediction": [-1]}), "column 'prediction'.*value -1"),
    ("metrics", "curves", pd.DataFrame({"curve": [1], "x": [1.0], "y": [0.5]}), "column 'curve'"),
    ("metrics", "curves", pd.DataFrame({"curve": pd.Series(["a"], dtype="str"), "x": [1], "y": [0.5]}), "column 'x'"),
    ("metrics", "tables", pd.DataFrame({"x": [1]}), "metrics: no schema for table 'tables' in tasks/schemas.py"),
    ("nothing", "units", units(), "nothing: no schema for table 'units'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "table"), SOUND)
def test_sound(kind: str, name: str, table: pd.DataFrame) -> None:
    check_table(kind, name, table)


@pytest.mark.parametrize(("kind", "name", "table", "message"), UNSOUND)
def test_unsound(kind: str, name: str, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_table(kind, name, table)
    assert "\n" not in str(caught.value)


def test_message_counts_the_failures() -> None:
    with pytest.raises(ValueError, match="2 failures"):
        check_table("clusters", "units", units(cluster=[-2, -3, 0]))


def test_every_kind_and_its_required_tables_have_schemas() -> None:
    assert set(SCHEMAS) == {kind.KIND for kind in STAGES.values()}
    for kind in (Dataset, Representation, Clusters, PseudoLabels, Model, Metrics):
        assert set(kind.REQUIRED_TABLES) <= set(SCHEMAS[kind.KIND])


def test_label_with_a_gap_is_not_made_a_fraction() -> None:
    table = pa.table({"sample": pa.array([0, 1], pa.int64()), "given_label": pa.array([None, 2**60 + 1], pa.int64())})
    frame = as_declared("dataset", "samples", table)
    assert str(frame["given_label"].dtype) == "Int64"
    assert frame["given_label"].iloc[1] == 2**60 + 1
    assert frame["sample"].dtype == np.int64
