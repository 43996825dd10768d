"""pandera schemas of every table that crosses a stage; a table without a schema is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as pa_arrow

_index = pa.Column("int64", pa.Check.ge(0))
_label = pa.Column("Int64", pa.Check.ge(0), nullable=True, required=False)


def _consecutive(name: str) -> pa.Column:
    """An identifier column that is exactly 0..n-1 in order: rows of a table index arrays."""
    check = pa.Check(
        lambda s: bool((s.to_numpy() == range(len(s))).all()), name="consecutive", error="not 0..n-1 in order"
    )
    return pa.Column("int64", check, name=name)


def _table(**columns: pa.Column) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(columns, strict=True)


_finite = pa.Column("float64", pa.Check(lambda s: np.isfinite(s), name="finite", error="NaN or infinite"))
_curves = _table(curve=pa.Column(str), x=_finite, y=_finite)

# Rows of `segments` index panoptic segments or masks; `category` is a cluster id before evaluation.
_segments = _table(
    sample=_index,
    segment=_index,
    category=pa.Column("int64", pa.Check.ge(-1)),
    is_thing=pa.Column(bool),
    area=pa.Column("int64", pa.Check.ge(0)),
    score=pa.Column("float64", pa.Check.in_range(0, 1), required=False),
)

SCHEMAS: dict[str, dict[str, pa.DataFrameSchema]] = {
    "dataset": {
        "samples": _table(sample=_consecutive("sample"), split=pa.Column(str), label=_label, given_label=_label),
        "segments": _segments,
        "documents": _table(sample=_consecutive("sample"), text=pa.Column(str)),
        "captions": _table(sample=_consecutive("sample"), caption=pa.Column(str)),
        # Objects of rendered scenes: centre and radius in the image's own coordinates (-1..1), box and area in pixels.
        "objects": _table(
            sample=_index,
            object=pa.Column("int64", pa.Check.ge(1)),
            shape=pa.Column(str),
            color=pa.Column(str),
            texture=pa.Column(str),
            cx=_finite,
            cy=_finite,
            r=_finite,
            x=_index,
            y=_index,
            width=pa.Column("int64", pa.Check.ge(1)),
            height=pa.Column("int64", pa.Check.ge(1)),
            area=pa.Column("int64", pa.Check.ge(1)),
        ),
        "relations": _table(sample=_index, subject=pa.Column(str), relation=pa.Column(str), object=pa.Column(str)),
        "classes": _table(
            label=_consecutive("label"), name=pa.Column(str), attributes=pa.Column(str), seen=pa.Column(bool)
        ),
    },
    "checkpoint": {"curves": _curves},
    "representation": {
        "units": _table(
            unit=_consecutive("unit"),
            sample=pa.Column("int64", pa.Check.ge(0), required=False),  # absent where units are columns of a table
            row=pa.Column("int64", pa.Check.ge(0), required=False),
            column=pa.Column("int64", pa.Check.ge(0), required=False),
        ),
        "vocabulary": _table(word=_consecutive("word"), token=pa.Column(str), count=pa.Column("int64", pa.Check.ge(1))),
        # Units that are columns of the data set, or crosses of `order` columns; `coverage` is the share of known values.
        "features": _table(
            unit=_consecutive("unit"), name=pa.Column(str), cardinality=_index, coverage=_finite, order=_index
        ),
        "curves": _curves,
    },
    "clusters": {
        "units": _table(
            unit=_consecutive("unit"),
            cluster=pa.Column("int64", pa.Check.ge(-1)),
            sample=pa.Column("int64", pa.Check.ge(0), required=False),
            area=pa.Column("int64", pa.Check.ge(0), required=False),
        ),
        "candidates": _table(topic=_index, unit=_index, similarity=_finite, kept=pa.Column(bool)),
        "condensed_tree": _table(parent=_index, child=_index, density=_finite, size=_index, selected=pa.Column(bool)),
        "spanning_tree": _table(a=_index, b=_index, distance=_finite),
        "curves": _curves,
    },
    "pseudo_labels": {
        "units": _table(
            unit=_consecutive("unit"),
            pseudo_label=pa.Column("int64", pa.Check.ge(-1)),
            sample=pa.Column("int64", pa.Check.ge(0), required=False),
            given_label=_label,
        ),
        "clusters": _table(
            cluster=_consecutive("cluster"), size=_index, known=_index, share=_finite, risky=pa.Column(bool)
        ),
        "segments": _segments,
        "curves": _curves,
    },
    "model": {"predictions": _table(sample=_index, prediction=_index), "segments": _segments, "curves": _curves},
    "metrics": {"curves": _curves},
}


def as_declared(kind: str, name: str, table: pa_arrow.Table) -> pd.DataFrame:
    """A table read from parquet with the dtypes of its schema: <NA> in an integer column must not make it float."""
    frame = table.to_pandas(types_mapper={pa_arrow.int64(): pd.Int64Dtype()}.get)
    schema = SCHEMAS.get(kind, {}).get(name)
    whole = [c for c in frame if schema is not None and c in schema.columns and str(schema.columns[c].dtype) == "int64"]
    return frame.astype({c: "int64" for c in whole if not frame[c].isna().any()})


def check_table(kind: str, name: str, table: pd.DataFrame) -> None:
    """Raise `ValueError` naming kind, table, column and failing rows unless `table` fits its schema."""
    schema = SCHEMAS.get(kind, {}).get(name)
    if schema is None:
        raise ValueError(f"{kind}: no schema for table '{name}' in tasks/schemas.py")
    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        first = error.failure_cases.iloc[0]
        value = first["failure_case"]
        value = value.item() if isinstance(value, np.generic) else value
        raise ValueError(
            f"{kind}: table '{name}', column '{first['column']}': {first['check']} "
            f"(value {value!r}, {len(error.failure_cases)} failures)"
        ) from error
