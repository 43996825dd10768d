import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Dataset, Model, PseudoLabels
from tasks.evaluate.multilabel_probe import METRICS, multilabel_probe, probe_scores

N, D, C = 240, 6, 4
SPLITS = ["train"] * 80 + ["probe"] * 80 + ["test"] * 80
NOTHING = PseudoLabels(meta={"step": "none"})


def setting(kind: str, splits: list[str] = SPLITS, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """A data set whose truth is linear in the embedding, with noise."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, D)).astype(np.float32)
    score = x @ rng.standard_normal((D, C)) + 0.8 * rng.standard_normal((N, C))
    samples = pd.DataFrame({"sample": np.arange(N), "split": pd.Series(splits, dtype="str")})
    arrays = {"images": rng.random((N, 8, 8, 1)).astype(np.float32)}
    if kind == "label":
        samples["label"] = pd.Series(score.argmax(axis=1), dtype="Int64")
        return Dataset({"samples": samples}, arrays, meta={"class_names": list("abcd")}), x
    arrays["presence"] = (score > 0).astype(np.uint8)
    return Dataset({"samples": samples}, arrays, meta={"truth": ["presence"]}), x


def model(x: np.ndarray, **arrays: np.ndarray) -> Model:
    return Model(arrays={"embedding": x, **arrays})


@pytest.mark.parametrize("kind", ["presence", "label"])
def test_equals_scikit_learn_on_the_same_split(kind):
    data, x = setting(kind)
    result = multilabel_probe(data, NOTHING, model(x), regularization=[0.5], seed=0)
    result.check()
    scaler = StandardScaler().fit(x[80:160].astype(np.float64))
    fit, test = (scaler.transform(x[r].astype(np.float64)) for r in (slice(80, 160), slice(160, 240)))
    if kind == "label":
        y = data.samples["label"].to_numpy(dtype=int)
        reference = LogisticRegression(C=0.5, max_iter=1000).fit(fit, y[80:160])
        score, truth = reference.predict_proba(test), y[160:, None] == np.arange(C)
        accuracy = reference.score(test, y[160:])
    else:
        truth = data.arrays["presence"][160:]
        models = [
            LogisticRegression(C=0.5, max_iter=1000).fit(fit, data.arrays["presence"][80:160, c]) for c in range(C)
        ]
        score = np.stack([m.decision_function(test) for m in models], axis=1)
        accuracy = ((score > 0) == truth).mean()
    assert result.values["map"] == pytest.approx(average_precision_score(truth, score, average="macro"), abs=1e-6)
    assert result.values["accuracy"] == pytest.approx(accuracy)
    assert set(result.values) == {"map", "accuracy"}
    curve = result.tables["curves"]
    assert curve["y"].mean() == pytest.approx(result.values["map"])
    assert curve["x"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["presence", "label"])
def test_separable_features_score_one_and_random_ones_chance(kind):
    data, x = setting(kind)
    if kind == "label":
        perfect = np.eye(C)[data.samples["label"].to_numpy(dtype=int)]
        chance = 0.25
    else:
        perfect = data.arrays["presence"].astype(float)
        chance = perfect[160:].mean()
    best = multilabel_probe(data, NOTHING, model(perfect), regularization=[10.0], seed=0).values
    assert best["map"] == pytest.approx(1)
    assert best["accuracy"] == pytest.approx(1)
    noise = np.random.default_rng(5).standard_normal(x.shape)
    assert multilabel_probe(data, NOTHING, model(noise), seed=0).values["map"] == pytest.approx(chance, abs=0.12)


def test_readers_without_a_probe_split_fit_on_train():
    splits = ["train"] * 160 + ["test"] * 80
    data, x = setting("label", splits)
    result = multilabel_probe(data, NOTHING, model(x), regularization=[1.0], seed=0)
    y = data.samples["label"].to_numpy(dtype=int)
    expected = probe_scores(x[:160], y[:160], x[160:], y[160:], 1.0, 1000)
    assert result.values["accuracy"] == pytest.approx(expected[1])
    assert result.values["accuracy"] > 0.5


def test_test_labels_are_used_for_judging_only():
    data, x = setting("presence")
    flipped = Dataset(data.tables, {**data.arrays, "presence": data.arrays["presence"].copy()}, meta=data.meta)
    flipped.arrays["presence"][160:] ^= 1
    right, wrong = (multilabel_probe(d, NOTHING, model(x), seed=0).values["accuracy"] for d in (data, flipped))
    assert right + wrong == pytest.approx(1)


def test_the_held_out_quarter_chooses_the_penalty():
    data, x = setting("presence")
    noisy = np.hstack([x, np.random.default_rng(0).standard_normal((N, 30))])
    truth, candidates, choices = data.arrays["presence"], [1e-3, 1e3], []
    for seed in range(4):
        order = 80 + np.random.default_rng(seed).permutation(80)
        held, kept = order[:20], order[20:]
        scores = [
            probe_scores(noisy[kept], truth[kept], noisy[held], truth[held], c, 1000)[0].mean() for c in candidates
        ]
        choices.append(candidates[int(np.argmax(scores))])
        chosen, alone = (
            multilabel_probe(data, NOTHING, model(noisy), regularization=r, seed=seed).values["map"]
            for r in (candidates, [choices[-1]])
        )
        assert chosen == alone
    assert set(choices) == set(candidates)  # otherwise the test could not tell


def test_classes_without_examples_are_left_out():
    data, x = setting("presence")
    data.arrays["presence"][80:160, 0] = 0  # never where the probe is fitted
    data.arrays["presence"][80:160, 1] = 1  # always there
    data.arrays["presence"][160:, 2] = 0  # never in test
    result = multilabel_probe(data, NOTHING, model(x), seed=0)
    assert result.tables["curves"]["x"].tolist() == [3]
    assert result.values["map"] == result.tables["curves"]["y"].iloc[0]
    data.arrays["presence"][:] = 0
    with pytest.raises(ValueError, match="no class has examples and counter-examples"):
        multilabel_probe(data, NOTHING, model(x), seed=0)


def full_inputs(data: Dataset, x: np.ndarray, l: int) -> tuple[PseudoLabels, Model]:  # noqa: E741
    rng = np.random.default_rng(1)
    unit = np.arange(N)
    units = pd.DataFrame({"unit": unit, "sample": unit})
    nearest = np.stack([rng.permutation(20)[:l] for _ in range(N)])
    labels = PseudoLabels(
        {"units": units.assign(pseudo_label=nearest[:, 0])},
        {"nearest": nearest, "similarity": -np.sort(-rng.random((N, l)), axis=1).astype(np.float32)},
        meta={"n_clusters": 20},
    )
    cosines = {
        f"cosine_{s}_{w}": rng.uniform(-1, 1, 50).astype(np.float32)
        for s in ("positive", "negative")
        for w in ("before", "after")
    }
    return labels, model(x, **cosines)


@pytest.mark.parametrize(("kind", "l"), [("presence", 1), ("label", 12)])
def test_all_metrics_and_figures_of_mlcd(kind, l):  # noqa: E741
    data, x = setting(kind)
    labels, trained = full_inputs(data, x, l)
    result = multilabel_probe(data, labels, trained, seed=0)
    result.check()
    assert set(result.values) == set(METRICS)
    assert result.values["mean_cos_pos"] == pytest.approx(trained.arrays["cosine_positive_after"].mean(), abs=1e-6)
    assert result.values["mean_cos_neg"] == pytest.approx(trained.arrays["cosine_negative_after"].mean(), abs=1e-6)
    assert all(type(v) is float for v in result.values.values())
    assert set(result.figures) == {"cosines", "positive_clusters"}
    for data_of_png in result.figures.values():
        picture = np.asarray(Image.open(io.BytesIO(data_of_png)).convert("L"))
        assert picture.std() > 10
    again = multilabel_probe(data, labels, trained, seed=0)
    assert again.figures == result.figures
    assert again.values == result.values
    plain = multilabel_probe(data, labels, trained, figures=False, seed=0)
    assert plain.figures == {}
    assert plain.values == result.values


def test_colour_images_are_drawn():
    data, x = setting("label")
    data.arrays["images"] = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
    result = multilabel_probe(data, *full_inputs(data, x, 3), seed=0)
    colours = np.asarray(Image.open(io.BytesIO(result.figures["positive_clusters"])).convert("RGB")).astype(int)
    assert (np.ptp(colours, axis=2) > 60).mean() > 0.2


def test_bad_input_is_named():
    data, x = setting("label")
    with pytest.raises(ValueError, match="targets: the data set has no array 'presence'"):
        multilabel_probe(data, NOTHING, model(x), targets="presence", seed=0)
    with pytest.raises(ValueError, match="model: 239 embeddings for 240 samples"):
        multilabel_probe(data, NOTHING, model(x[:-1]), seed=0)
    with pytest.raises(ValueError, match="no sample has split 'test'"):
        multilabel_probe(setting("label", ["train"] * N)[0], NOTHING, model(x), seed=0)
    presence, _ = setting("presence")
    with pytest.raises(ValueError, match="column 'label' is needed and absent"):
        multilabel_probe(presence, NOTHING, model(x), targets="label", seed=0)
    presence.arrays["presence"] = presence.arrays["presence"] + 1
    with pytest.raises(ValueError, match="'presence' must be"):
        multilabel_probe(presence, NOTHING, model(x), seed=0)
