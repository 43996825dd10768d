"""CSV, TSV and Parquet tables of mixed columns, read in batches and coded as they pass.

Of a table larger than memory only the codes are kept (int32) and the numbers (float32), never the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from tasks.readers.paths import reading

BLOCK_BYTES = 1 << 24
MISSING = -1


@dataclass
class Coder:
    """Codes 0, 1, ... of the values of one column in the order of their first appearance; `MISSING` for null."""

    codes: dict[str, int] = field(default_factory=dict)

    def code(self, values: pa.Array) -> np.ndarray:
        """int32 [n] codes of a string array; values not seen before are added."""
        encoded = values.dictionary_encode()
        table = np.array([self.codes.setdefault(v, len(self.codes)) for v in encoded.dictionary.to_pylist()], np.int32)
        index = encoded.indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
        return np.append(table, np.int32(MISSING))[index]  # index -1 reads the appended entry


@dataclass
class TableReader:
    """Columns of one or more files with the same header.

    categorical: names of columns to code; None: those that are text or boolean. `numbers` and `codes` give each
    kind's columns as arrays. `missing`: texts of a CSV file that stand for a missing value.
    """

    label: str | None = None
    categorical: list[str] | None = None
    ignore: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    delimiter: str = ","
    header: bool = True
    names: list[str] = field(default_factory=list)
    coders: dict[str, Coder] = field(default_factory=dict)
    numeric: list[str] = field(default_factory=list)

    def read(self, file: Path, limit: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Numbers float32 [n, p], codes int32 [n, q], codes of the label int32 [n] (None without `label`).

        `limit`: no more than this many rows are read.

        Raises ValueError naming file and column: no rows, a name twice, another header than the first file's, a
        column that is not there, text in a numeric column, NaN, infinity or a missing value in a numeric column,
        a row without label, a file that is no table.
        """
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        count = 0
        with reading(file.absolute(), "put the table there or correct 'path' (it is relative to the workspace)"):
            try:
                for batch in self._batches(file):
                    if limit is not None:
                        batch = batch.slice(0, limit - count)
                    parts.append(self._coded(file, batch, count))
                    count += batch.num_rows
                    if count == limit:
                        break
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise ValueError(f"path: {file} cannot be read ({str(error).splitlines()[0]}); correct it") from error
        if count == 0:
            raise ValueError(f"path: {file} has no rows; add some")
        numbers, codes, label = (np.concatenate(column) for column in zip(*parts, strict=True))
        return numbers, codes, label if self.label is not None else None

    @property
    def coded(self) -> list[str]:
        """Names of the coded columns without the label, in the order of the file."""
        return [name for name in self.coders if name != self.label]

    def _batches(self, file: Path) -> Iterator[pa.RecordBatch]:
        if file.suffix in (".parquet", ".pq"):
            with pq.ParquetFile(file) as table:
                schema = table.schema_arrow
                self._columns(file, schema)
                yield from table.iter_batches(columns=[n for n in schema.names if n not in self.ignore])
            return
        parse = pv.ParseOptions(delimiter=self.delimiter)
        options = pv.ReadOptions(autogenerate_column_names=not self.header, block_size=BLOCK_BYTES)
        convert = pv.ConvertOptions(null_values=self.missing, strings_can_be_null=True)
        with pv.open_csv(file, options, parse, convert) as first:
            schema = first.schema
        self._columns(file, schema)
        # A column's kind is decided once; read as text, a later block cannot contradict it unnoticed.
        convert.column_types = {name: pa.string() for name in schema.names}
        convert.include_columns = [name for name in schema.names if name not in self.ignore]
        with pv.open_csv(file, options, parse, convert) as batches:
            yield from batches

    def _columns(self, file: Path, schema: pa.Schema) -> None:
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twice:
            raise ValueError(f"path: {file} has column '{twice[0]}' more than once; rename one of them")
        for key, wanted in (("label", [self.label] if self.label else []), ("ignore", self.ignore)):
            _need(key, wanted, schema.names, file)
        kept = [name for name in schema.names if name not in self.ignore]
        if self.names:
            if kept != self.names:
                raise ValueError(
                    f"path: {file} has columns {kept}, not {self.names} as the file before; make them equal"
                )
            return
        self.names = kept
        if self.categorical is not None:
            _need("categorical", self.categorical, kept, file)
        for name in kept:
            kind = schema.field(name).type
            number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
            coded = not number if self.categorical is None else name in self.categorical
            if name == self.label or coded:
                self.coders[name] = Coder()
            else:
                self.numeric.append(name)

    def _coded(self, file: Path, batch: pa.RecordBatch, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = batch.num_rows
        numbers = np.empty((n, len(self.numeric)), np.float32)
        for j, name in enumerate(self.numeric):
            numbers[:, j] = _numbers(file, name, batch.column(name), start)
        columns = {}
        for name, coder in self.coders.items():
            column = batch.column(name)
            if pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():  # pyright: ignore[reportAttributeAccessIssue]
                raise ValueError(
                    f"path: {file}: column '{name}' holds NaN, which is no declared missing value; "
                    "store null, list the text under 'missing', or add the column to 'ignore'"
                )
            columns[name] = coder.code(column.cast(pa.string()))
        label = columns.pop(self.label) if self.label is not None else np.zeros(n, np.int32)
        if (label == MISSING).any():
            row = start + int((label == MISSING).argmax())
            raise ValueError(f"path: {file}: row {row} has no '{self.label}'; remove the row or fill it in")
        codes = np.stack(list(columns.values()), axis=1) if columns else np.empty((n, 0), np.int32)
        return numbers, codes, label


def _need(key: str, wanted: list[str], names: list[str], file: Path) -> None:
    absent = [name for name in wanted if name not in names]
    if absent:
        raise ValueError(f"{key}: {file} has no column '{absent[0]}' (columns: {', '.join(names)})")


def _numbers(file: Path, name: str, column: pa.Array, start: int) -> np.ndarray:
    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)  # " 7" was taken for a number when the kinds were decided  # pyright: ignore[reportAttributeAccessIssue]
    try:
        numbers = column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"path: {file}: column '{name}' is numeric at first and holds text later ({str(error).splitlines()[0]}); "
            "list it under 'categorical'"
        ) from error
    values = numbers.to_numpy(zero_copy_only=False).astype(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        row = start + int(bad.argmax())
        raise ValueError(
            f"path: {file}: column '{name}' has a missing or infinite number in row {row}; "
            "fill it in, list the column under 'categorical' or 'ignore'"
        )
    return values.astype(np.float32)
