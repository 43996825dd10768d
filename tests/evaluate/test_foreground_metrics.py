"""Evaluation `foreground_metrics`."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.artifacts import Clusters, Model, PseudoLabels, Representation
from tasks.evaluate.foreground_metrics import METRICS, foreground_metrics
from tasks.prepare.moving_objects import moving_objects

NOTHING = [kind(meta={"step": "none"}) for kind in (Representation, Clusters, PseudoLabels)]


@pytest.fixture(scope="module")
def clips():
    return moving_objects(n_clips_train=4, n_clips_test=4, still_test=0.5, seed=2)


def model_of(clips, masks=None) -> Model:
    rows = clips.rows("test")
    truth = (clips.arrays["foreground"][rows] > 0).astype(np.float16)
    return Model({}, {"rows": rows, "masks": truth if masks is None else masks})


def teacher_of(clips) -> PseudoLabels:
    selected = np.zeros(64, dtype=bool)
    selected[[0, 1, 9]] = True
    masks = np.array(clips.arrays["foreground"], dtype=np.float16)
    masks[~selected] = 0
    return PseudoLabels({}, {"masks": masks, "score": selected.astype(np.float32), "selected": selected})


def test_perfect_masks(clips):
    metrics = foreground_metrics(clips, *NOTHING, model_of(clips))
    perfect = {
        n: 1.0 for n in ("mean_iou", "mean_iou_moving", "mean_iou_still", "f_measure", "corloc", "pixel_precision")
    }
    assert metrics.values == {**perfect, "max_f": 1.0, "mae": 0.0}
    assert metrics.figures == {}


def test_moving_and_still_frames_make_up_all(clips):
    masks = np.random.default_rng(0).random((32, 64, 64)).astype(np.float16)
    values = foreground_metrics(clips, *NOTHING, model_of(clips, masks)).values
    still = clips.arrays["still"][clips.rows("test")].mean()
    assert 0 < still < 1
    mixed = still * values["mean_iou_still"] + (1 - still) * values["mean_iou_moving"]
    assert values["mean_iou"] == pytest.approx(mixed)


def test_threshold(clips):
    faint = model_of(clips).arrays["masks"] * np.float16(0.5)
    assert foreground_metrics(clips, *NOTHING, model_of(clips, faint)).values["mean_iou"] == 0  # 0.5 is not above 0.5
    assert foreground_metrics(clips, *NOTHING, model_of(clips, faint), threshold=0.4).values["mean_iou"] == 1


def test_teacher_and_figures(clips):
    metrics = foreground_metrics(clips, *NOTHING[:2], teacher_of(clips), model_of(clips))
    metrics.check()
    assert set(metrics.values) == set(METRICS)
    assert metrics.values["teacher_iou_selected"] == 1
    assert metrics.values["teacher_iou_train"] == pytest.approx(3 / 32)
    assert metrics.values["selected_clips"] == 2
    assert set(metrics.figures) == {"masks", "selection", "iou_by_motion"}
    assert foreground_metrics(clips, *NOTHING[:2], teacher_of(clips), model_of(clips), figures=False).figures == {}


def test_real_data_have_neither_motion_nor_every_label(clips):
    arrays = {k: np.array(v) for k, v in clips.arrays.items() if k != "still"}
    arrays["foreground"][clips.rows("test")[::2]] = 255
    dataset = type(clips)(clips.tables, arrays, meta={"truth": ["foreground"]})
    values = foreground_metrics(dataset, *NOTHING[:2], teacher_of(clips), model_of(clips)).values
    assert values["mean_iou"] == 1
    assert "mean_iou_still" not in values


def test_what_does_not_fit(clips):
    with pytest.raises(ValueError, match="array 'masks' is needed and absent"):
        foreground_metrics(clips, *NOTHING, Model({}, {"rows": np.arange(2)}))
    with pytest.raises(ValueError, match=r"masks \(32, 8, 8\) do not fit the truth"):
        foreground_metrics(clips, *NOTHING, model_of(clips, np.zeros((32, 8, 8))))
    void = type(clips)(clips.tables, {**clips.arrays, "foreground": np.full((64, 64, 64), 255)}, meta=clips.meta)
    with pytest.raises(ValueError, match="no image of the model has a labelled pixel"):
        foreground_metrics(void, *NOTHING, model_of(clips))
