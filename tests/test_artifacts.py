"""Artifacts: what is saved is what is loaded, and nothing damaged is ever taken for whole."""

from __future__ import annotations

import ast
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tasks import artifacts
from tasks.artifacts import (
    MANIFEST,
    Artifact,
    ArtifactError,
    Clusters,
    Dataset,
    Metrics,
    Model,
    Network,
    Representation,
    digest,
)

REPOSITORY = Path(__file__).resolve().parents[1]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dataset(n: int = 6) -> Dataset:
    samples = pd.DataFrame(
        {
            "sample": np.arange(n),
            "split": pd.Series(["train"] * (n - 2) + ["test"] * 2, dtype="str"),
            "label": pd.array(np.arange(n) % 2, dtype="Int64"),
            "given_label": pd.array([0] + [None] * (n - 1), dtype="Int64"),
        }
    )
    points = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    return Dataset({"samples": samples}, {"points": points, "secret": np.arange(n)}, meta={"truth": ["secret"]})


def full_model() -> Model:
    """An artifact with a file of every sort."""
    curves = pd.DataFrame({"curve": pd.Series(["loss"] * 50, dtype="str"), "x": np.arange(50.0), "y": np.ones(50)})
    weights = {"weight": np.arange(12, dtype=np.float32).reshape(3, 4), "step": np.array(7)}
    return Model(
        {"curves": curves},
        {"embedding": np.arange(300, dtype=np.float32).reshape(100, 3)},
        {"encoder": Network({"width": 4, "names": ["a", "b"]}, weights)},
        {"note": "whole", "epochs": 3},
        {"picture": PNG},
    )


def assert_equal(one: Artifact, other: Artifact) -> None:
    assert type(one) is type(other)
    assert one.meta == other.meta
    assert one.figures == other.figures
    assert one.tables.keys() == other.tables.keys()
    for name in one.tables:
        pd.testing.assert_frame_equal(one.tables[name].reset_index(drop=True), other.tables[name], check_exact=True)
    assert one.arrays.keys() == other.arrays.keys()
    for name in one.arrays:
        assert one.arrays[name].dtype == other.arrays[name].dtype
        assert np.array_equal(one.arrays[name], other.arrays[name])
        assert one.arrays[name].shape == other.arrays[name].shape
    assert one.networks.keys() == other.networks.keys()
    for name, network in one.networks.items():
        assert network.config == other.networks[name].config
        assert network.state.keys() == other.networks[name].state.keys()
        for key, value in network.state.items():
            again = other.networks[name].state[key]
            assert (value.dtype, value.shape) == (again.dtype, again.shape)
            assert np.array_equal(value, again)


# ---- round trip -----------------------------------------------------------------------------------------------

names = st.from_regex(r"[a-z][a-z0-9_.\-]{0,8}[a-z0-9]", fullmatch=True)
dtypes = st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_])
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def any_array(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(dtypes)
    shape = draw(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    floating = np.issubdtype(dtype, np.floating)
    array = draw(arrays(dtype, shape, elements={"allow_nan": False, "allow_infinity": False} if floating else None))
    return np.asarray(array, order="F" if draw(st.booleans()) else "C")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
metadata = st.dictionaries(st.text(max_size=6).filter(lambda key: key != "step"), json_values, max_size=3)


@st.composite
def any_representation(draw: st.DrawFn) -> Representation:
    n = draw(st.integers(0, 6))
    units = {
        "unit": np.arange(n),
        "sample": np.array(draw(st.lists(st.integers(0, 99), min_size=n, max_size=n)), np.int64),
    }
    if draw(st.booleans()):
        units["row"] = units["sample"] * 2
    points = draw(st.lists(st.tuples(st.text(max_size=4), finite, finite), max_size=5))
    curves = pd.DataFrame(
        {
            "curve": pd.Series([p[0] for p in points], dtype="str"),
            "x": np.array([p[1] for p in points], np.float64),
            "y": np.array([p[2] for p in points], np.float64),
        }
    )
    state = st.dictionaries(names, any_array(), max_size=3)
    networks = draw(st.dictionaries(names, st.builds(Network, metadata, state), max_size=2))
    figures = draw(st.dictionaries(names, st.binary(max_size=50), max_size=2))
    arrays_ = draw(st.dictionaries(names, any_array(), max_size=3))
    return Representation({"units": pd.DataFrame(units), "curves": curves}, arrays_, networks, draw(metadata), figures)


@quick
@given(any_representation())
def test_round_trip(artifact: Representation) -> None:
    with tempfile.TemporaryDirectory() as folder:
        artifact.save(Path(folder) / "a")
        assert_equal(artifact, Representation.load(Path(folder) / "a"))


@quick
@given(st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=8), st.booleans())
def test_missing_labels_stay_missing_and_the_rest_stays_whole(given_labels: list[int | None], with_truth: bool) -> None:
    n = len(given_labels)
    samples = pd.DataFrame(
        {
            "sample": np.arange(n),
            "split": pd.Series(["train"] * n, dtype="str"),
            "given_label": pd.array(given_labels, dtype="Int64"),
        }
    )
    if with_truth:
        samples["label"] = pd.array([3] * n, dtype="Int64")
    with tempfile.TemporaryDirectory() as folder:
        Dataset({"samples": samples}).save(Path(folder) / "a")
        again = Dataset.load(Path(folder) / "a").samples
    pd.testing.assert_frame_equal(again, samples)
    assert str(again["given_label"].dtype) == "Int64"
    assert again["sample"].dtype == np.int64


def test_arrays_are_mapped_not_read(tmp_path: Path) -> None:
    full_model().save(tmp_path / "a")
    embedding = Model.load(tmp_path / "a").arrays["embedding"]
    assert isinstance(embedding, np.memmap)
    assert not embedding.flags.writeable


def test_none_needs_no_table(tmp_path: Path) -> None:
    Representation(meta={"step": "none"}).save(tmp_path / "a")
    assert Representation.load(tmp_path / "a").is_none


# ---- the same content is the same bytes -----------------------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_two_saves_are_identical_to_the_byte(tmp_path: Path) -> None:
    full_model().save(tmp_path / "a")
    full_model().save(tmp_path / "deeper" / "b")
    assert files(tmp_path / "a") == files(tmp_path / "deeper" / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "deeper" / "b")


def test_order_index_and_memory_layout_do_not_enter_the_bytes(tmp_path: Path) -> None:
    model = full_model()
    model.save(tmp_path / "a")
    model.tables["curves"].index = model.tables["curves"].index + 1000
    model.arrays["embedding"] = np.asfortranarray(model.arrays["embedding"])
    state = model.networks["encoder"].state
    model.networks["encoder"].state = {key: np.asarray(state[key], order="F") for key in reversed(state)}
    model.meta = dict(reversed(model.meta.items()))
    model.save(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_another_content_is_another_digest(tmp_path: Path) -> None:
    full_model().save(tmp_path / "a")
    seen = {digest(tmp_path / "a")}

    def table(m: Model) -> None:
        m.tables["curves"].loc[0, "y"] = 2.0

    def array(m: Model) -> None:
        m.arrays["embedding"][0, 0] = 9

    def weights(m: Model) -> None:
        m.networks["encoder"].state["weight"][0, 0] = 9

    def config(m: Model) -> None:
        m.networks["encoder"].config["width"] = 5

    def meta(m: Model) -> None:
        m.meta["epochs"] = 4

    def figure(m: Model) -> None:
        m.figures["picture"] = PNG + b"x"

    for index, change in enumerate((table, array, weights, config, meta, figure)):
        model = full_model()
        change(model)
        model.save(tmp_path / str(index))
        seen.add(digest(tmp_path / str(index)))
    assert len(seen) == 7


def test_nothing_in_a_folder_can_hold_a_pickle(tmp_path: Path) -> None:
    full_model().save(tmp_path / "a")
    suffixes = {path.suffix for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert suffixes == {".json", ".parquet", ".npy", ".safetensors", ".png"}


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("package", ["tasks", "flows"])
def test_no_source_pickles_or_loads_what_may_be_a_pickle(package: str) -> None:
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        tree = ast.parse(path.read_text())
        imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        imported |= {str(n.module).split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        imported -= {"joblib"} if path.name == "column_scores.py" else set()  # its Parallel only; nothing is stored
        assert not imported & {"pickle", "joblib", "dill", "cloudpickle", "shelve", "yaml"}, path  # YAML: ruamel's
        for name, call in calls(tree):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name == "np.load":
                assert options.get("allow_pickle", "False") == "False", f"{path}:{call.lineno}"
            if name == "torch.load":
                assert options.get("weights_only") == "True", f"{path}:{call.lineno}"
            assert name != "pd.read_pickle", f"{path}:{call.lineno}"


# ---- what must not be saved -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_array_that_is_not_finite_is_refused(tmp_path: Path, bad: float, dtype: type) -> None:
    model = Model(arrays={"embedding": np.array([1.0, bad], dtype)})
    with pytest.raises(ValueError, match="model: array 'embedding' contains NaN or infinite"):
        model.save(tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_curve_that_is_not_finite_is_refused(tmp_path: Path, bad: float) -> None:
    curves = pd.DataFrame({"curve": pd.Series(["loss"] * 2, dtype="str"), "x": [1.0, 2.0], "y": [1.0, bad]})
    with pytest.raises(ValueError, match="model: table 'curves', column 'y'"):
        Model({"curves": curves}).save(tmp_path / "a")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    network = Network({}, {"layer.weight": np.array([1.0, bad], np.float32)})
    with pytest.raises(ValueError, match=r"model: network 'encoder', 'layer\.weight' contains NaN or infinite"):
        Model(networks={"encoder": network}).save(tmp_path / "a")


def test_metadata_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Model(meta={"loss": float("nan")}).save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="array 'names' has dtype object"):
        Model(arrays={"names": np.array(["a", 1], object)}).save(tmp_path / "a")


def test_required_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="representation: table 'units' is missing"):
        Representation(arrays={"embedding": np.ones((2, 2), np.float32)}).save(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.meta.update(class_names=["only"]), "'label' outside 0..0"),
        (lambda d: d.meta.update(truth=["secret", "gone"]), "meta\\['truth'\\] names 'gone'"),
        (lambda d: d.tables.update(samples=d.samples.iloc[:0]), "no samples"),
    ],
)
def test_dataset_that_contradicts_itself_is_refused(tmp_path: Path, change, message: str) -> None:
    bad = dataset()
    change(bad)
    with pytest.raises(ValueError, match=message):
        bad.save(tmp_path / "a")


# ---- replacing ------------------------------------------------------------------------------------------------


def test_save_replaces_the_whole_folder(tmp_path: Path) -> None:
    full_model().save(tmp_path / "a")
    Model(meta={"new": 1}).save(tmp_path / "a")
    assert files(tmp_path / "a").keys() == {MANIFEST}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("moment", ["check", "parquet", "array", "weights", "manifest"])
def test_failing_save_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    full_model().save(tmp_path / "a")
    before = files(tmp_path / "a")
    new = full_model()
    new.meta["epochs"] = 99

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    if moment == "check":
        new.arrays["embedding"][0] = np.nan
    elif moment == "parquet":
        monkeypatch.setattr(artifacts.pq, "write_table", full)
    elif moment == "array":
        monkeypatch.setattr(artifacts.np, "save", full)
    elif moment == "weights":
        monkeypatch.setattr(artifacts, "save_file", full)
    else:
        new.meta["bad"] = {1, 2}
    with pytest.raises((OSError, ValueError, TypeError)):
        new.save(tmp_path / "a")
    assert files(tmp_path / "a") == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


# ---- damage ---------------------------------------------------------------------------------------------------

FILES = [
    MANIFEST,
    "tables/curves.parquet",
    "arrays/embedding.npy",
    "networks/encoder/config.json",
    "networks/encoder/model.safetensors",
    "figures/picture.png",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "a"
    full_model().save(folder)
    assert sorted(files(folder)) == sorted(FILES)
    return folder


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_file_cut_anywhere_is_detected(whole: Path, name: str, share: float) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "a"
        shutil.copytree(whole, folder)
        # artifact.json without its last newline still says all there is to say.
        size = (folder / name).stat().st_size - (name == MANIFEST)
        os.truncate(folder / name, int(share * size))
        with pytest.raises(ArtifactError) as caught:
            Model.load(folder)
        assert str(folder / name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith((".npy", MANIFEST))])
@quick
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_changed_byte_is_detected(whole: Path, name: str, share: float, flip: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "a"
        shutil.copytree(whole, folder)
        content = bytearray((folder / name).read_bytes())
        content[int(share * len(content))] ^= flip
        (folder / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=name):
            Model.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_absent_file_is_detected(whole: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(whole, tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    with pytest.raises(ArtifactError, match="no artifact here" if name == MANIFEST else f"{name}: missing"):
        Model.load(tmp_path / "a")


@pytest.mark.parametrize(
    "content",
    ["", "not json", "[]", "null", "3", "{}", '{"kind": "model"}', '{"kind": "model", "meta": {}, "files": []}',
     '{"kind": "model", "meta": [], "files": {}}', '{"kind": "model", "meta": {}, "files": {"arrays/x.npy": 3}}',
     '{"kind": "model", "meta": {}, "files": {"stray": {"bytes": 5, "sha256": ""}}}', "\xff\xfe"],
)  # fmt: skip
def test_damaged_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / "stray").write_text("stray")
    (tmp_path / MANIFEST).write_text(content, encoding="latin-1")
    with pytest.raises(ArtifactError, match=MANIFEST):
        Model.load(tmp_path)


def test_kind_mismatch(whole: Path) -> None:
    with pytest.raises(ArtifactError, match="holds 'model', expected 'clusters'"):
        Clusters.load(whole)


def test_smuggled_pickle_is_not_loaded(tmp_path: Path) -> None:
    """A manifest that vouches for an array of objects does not get it unpickled."""
    (tmp_path / "arrays").mkdir()
    path = tmp_path / "arrays" / "x.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    entry = {"bytes": path.stat().st_size, "sha256": artifacts.file_sha256(path)}
    manifest = {"kind": "model", "meta": {}, "files": {"arrays/x.npy": entry}}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"x\.npy"):
        Model.load(tmp_path)


# ---- truth ----------------------------------------------------------------------------------------------------


def test_without_truth_takes_out_label_and_truth_and_keeps_the_rest() -> None:
    full = dataset()
    seen = full.without_truth()
    assert list(seen.samples) == ["sample", "split", "given_label"]
    assert seen.arrays.keys() == {"points"}
    assert "truth" not in seen.meta
    assert list(full.samples) == ["sample", "split", "label", "given_label"]
    assert full.arrays.keys() == {"points", "secret"}
    seen.check()


def test_rows_and_labels() -> None:
    data = dataset()
    assert data.rows("test").tolist() == [4, 5]
    assert data.labels("label", np.array([1, 2])).tolist() == [1, 0]
    with pytest.raises(ValueError, match="no sample has split 'val' \\(splits present: test, train\\)"):
        data.rows("val")
    with pytest.raises(ValueError, match="1 rows have no 'given_label'"):
        data.labels("given_label", np.array([0, 1]))
    with pytest.raises(ValueError, match="column 'label' is needed and absent"):
        data.without_truth().labels("label", np.array([0]))


def test_metrics_values(tmp_path: Path) -> None:
    Metrics(meta={"values": {"accuracy": 0.5}}, figures={"hits": PNG}).save(tmp_path / "a")
    assert Metrics.load(tmp_path / "a").values == {"accuracy": 0.5}
