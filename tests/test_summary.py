"""The summary of a method: means, verdicts and the long table from the metrics of its arms and seeds; and its figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.artifacts import Metrics
from tasks.curves import curve_table
from tasks.declaration import Method, validate
from tasks.summary import common_metrics, curve_labels, figures, long_table, summarise, write_summary

VALUES = {"main": [0.9, 0.8, 0.7], "jittered": [0.5, 0.6, 0.5], "flipped": [0.9, 0.9, 0.5]}


def metric(value: float, **more: float) -> Metrics:
    return Metrics(
        {"curves": curve_table("self_train/loss", [1, 2], [1.0, value])}, meta={"values": {"accuracy": value, **more}}
    )


@pytest.fixture
def metrics() -> dict[str, dict[int, Metrics]]:
    return {arm: {seed: metric(v) for seed, v in enumerate(values)} for arm, values in VALUES.items()}


@pytest.fixture
def method(toy_steps: Callable, toy_params: dict) -> Method:
    return validate(toy_params).method("toy")


def test_result(method: Method, metrics: Any) -> None:
    result, summary = summarise(method, "small", metrics)
    assert result["profile"] == "small"
    assert result["seeds"] == [0, 1, 2]
    assert result["main"] == {"accuracy": pytest.approx(0.8)}
    claims = result["claims"]
    assert list(claims) == ["accuracy > jittered", "accuracy > flipped"]
    assert claims["accuracy > jittered"]["difference"] == pytest.approx(np.mean([0.4, 0.2, 0.2]))
    assert claims["accuracy > jittered"]["wins"] == "3/3"
    assert claims["accuracy > flipped"]["verdict"] == "leans"
    assert claims["accuracy > flipped"]["wins"] == "1/3"
    json.dumps(result, allow_nan=False)
    assert summary.figures.keys() == {"arms", "curve-self_train-loss"}


def test_long_table_has_every_number(metrics: Any) -> None:
    table = long_table(metrics)
    assert list(table) == ["arm", "seed", "metric", "value"]
    for arm, values in VALUES.items():
        assert table.loc[table["arm"] == arm, "value"].tolist() == values


def test_metric_that_some_seeds_lack_is_left_out_of_the_means(method: Method, metrics: Any) -> None:
    metrics["main"][1] = metric(0.8, extra=0.1)
    assert common_metrics(metrics["main"]) == ["accuracy"]
    assert set(summarise(method, "small", metrics)[0]["main"]) == {"accuracy"}
    assert "extra" in set(long_table(metrics)["metric"])


def test_claim_on_a_metric_that_this_data_set_lacks(method: Method, metrics: Any) -> None:
    for seeds in metrics.values():
        for one in seeds.values():
            one.meta["values"] = {"other": 0.5}
    claim = summarise(method, "small", metrics)[0]["claims"]["accuracy > jittered"]
    assert claim == {"difference": None, "low": None, "high": None, "wins": "0/0", "verdict": "unmeasured"}


def test_written_files(method: Method, metrics: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arm, seeds in metrics.items():
        for seed, one in seeds.items():
            one.save(Path(f"filled/{arm}/seed-{seed}"))
    write_summary(method, "small", Path("filled"))
    first = {p: p.read_bytes() for p in [*Path("results").iterdir(), *Path("filled/summary").rglob("*")] if p.is_file()}
    assert {p.name for p in Path("results").iterdir()} == {"toy.json", "toy.csv"}
    with open("results/toy.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # Floats are written so that they read back to the bit.
    assert [float(r["value"]) for r in rows if r["arm"] == "flipped"] == VALUES["flipped"]
    assert list(json.loads(Path("results/toy.json").read_text())["claims"]) == [
        "accuracy > jittered",
        "accuracy > flipped",
    ]
    write_summary(method, "small", Path("filled"))
    assert {p: p.read_bytes() for p in first} == first


@pytest.mark.parametrize("seeds", [1, 3])
def test_figures_are_pngs_and_depend_on_the_numbers_alone(method: Method, metrics: Any, seeds: int) -> None:
    some = {arm: dict(list(m.items())[:seeds]) for arm, m in metrics.items()}
    one, other = figures(method, some), figures(method, some)
    assert one == other
    for png in one.values():
        with Image.open(io.BytesIO(png)) as image:
            assert image.format == "PNG"
            assert not image.info.get("Software")
    some["main"][0] = metric(0.1)
    assert figures(method, some)["arms"] != one["arms"]


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("recall_by_class size", "class size", "recall"),
        ("dollar_f1 by risk threshold", "risk threshold", "dollar f1"),
        ("AP against mask IoU", "mask IoU", "AP"),
        ("self_train/fitting_cost_by_features", "features", "fitting cost"),
        ("self_train/loss", "epoch or step", "loss"),
    ],
)
def test_the_name_of_a_curve_labels_its_axes(name: str, x: str, y: str) -> None:
    assert curve_labels(name) == (x, y)


def test_sweep(toy_steps: Callable, toy_params: dict) -> None:
    toy = toy_params["methods"]["toy"]
    toy["cluster"] = {"step": "toy_halves", "k": 2, "jitter": 0.5,
                      "arms": {"jittered": {"jitter": 3.0}, "k4": {"k": 4}, "k8": {"k": 8}, "k4_rough": {"k": 4, "jitter": 1.0}}}  # fmt: skip
    toy["sweeps"] = [{"metric": "accuracy", "against": "cluster.k", "lines": "cluster.jitter"}]
    method = validate(toy_params).method("toy")
    metrics = {arm: {0: metric(0.5), 1: metric(0.6)} for arm in method.arms()}
    drawn = figures(method, metrics)
    assert set(drawn) == {"arms", "curve-self_train-loss", "sweep-accuracy-against-cluster.k"}
    toy["sweeps"] = []
    plain = figures(validate(toy_params).method("toy"), metrics)
    assert plain["arms"] != drawn["arms"]  # swept arms that no claim names have their own figure
