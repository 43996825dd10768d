"""The pseudo-labels of the test scenes' points taken for predictions: no self-training."""

from tasks.artifacts import Dataset, Model, PseudoLabels
from tasks.scenes3d.clouds import points_in
from tasks.segmentation.panoptic_inference import predicted_rows


def point_clusters_as_predictions(dataset: Dataset, pseudo_labels: PseudoLabels) -> Model:
    """Returns `rows` int64 [T], the points of the scenes of split `test` (of `train`, if there is none), `prediction` int64
    [T], and `rounds` int64 [1, T], the same; meta `n_clusters`."""
    split = dataset.samples["split"].iloc[predicted_rows(dataset)[0]]
    rows = points_in(dataset, split)
    prediction = pseudo_labels.tables["units"]["pseudo_label"].to_numpy()[rows]
    arrays = {"rows": rows, "prediction": prediction, "rounds": prediction[None]}
    return Model({}, arrays, meta={"n_clusters": pseudo_labels.meta["n_clusters"]})
