"""The IDX format of the MNIST family: a magic number, the dimensions, then the values, all big-endian."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from tasks.readers.paths import reading

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_AGAIN = "download it again"


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array in an IDX file (plain, or gzip if the name ends in .gz), in native byte order.

    Raises ValueError naming the file if the magic number is not that of an IDX file with `dimensions`
    dimensions, or if the file is shorter or longer than its header says.
    """
    with reading(path):
        try:
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (EOFError, zlib.error) as error:
            raise ValueError(f"path: {path} is cut short ({error}); {_AGAIN}") from error
        except gzip.BadGzipFile as error:
            raise ValueError(f"path: {path} is not a gzip file; {_AGAIN} or drop the suffix .gz") from error
    start = 4 + 4 * dimensions
    if len(data) >= 4 and (data[:2] != b"\0\0" or data[2] not in TYPES or data[3] != dimensions):
        raise ValueError(
            f"path: {path} has magic number 0x{data[:4].hex()}, not that of IDX data with {dimensions} dimension(s); "
            "check that images and labels are not swapped"
        )
    if len(data) < start:
        raise ValueError(f"path: {path} is cut short (no complete IDX header); {_AGAIN}")
    dtype = np.dtype(TYPES[data[2]])
    shape = tuple(int(side) for side in np.frombuffer(data[4:start], dtype=">u4"))
    expected = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) != expected:
        raise ValueError(f"path: {path} holds {len(data)} bytes, its header says {expected}; {_AGAIN}")
    values = np.frombuffer(data, dtype=dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
