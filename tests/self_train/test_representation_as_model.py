import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset, Representation
from tasks.self_train.representation_as_model import representation_as_model


def dataset(n: int) -> Dataset:
    samples = pd.DataFrame({"sample": np.arange(n), "split": pd.Series(["train"] * n, dtype="str")})
    return Dataset({"samples": samples})


def representation(sample: list[int]) -> Representation:
    units = pd.DataFrame({"unit": np.arange(len(sample)), "sample": sample})
    return Representation(
        {"units": units}, {"embedding": np.arange(2.0 * len(sample), dtype=np.float32).reshape(-1, 2)}
    )


def test_the_embedding_is_handed_on_unchanged():
    model = representation_as_model(dataset(3), representation([0, 1, 2]))
    assert np.array_equal(model.arrays["embedding"], [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize("sample", [[0, 0, 1], [0, 1], [1, 0, 2]])
def test_other_units_are_refused(sample):
    with pytest.raises(ValueError, match="one unit per sample"):
        representation_as_model(dataset(3), representation(sample))
