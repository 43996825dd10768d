import numpy as np
import pytest
import torch

from tasks.nn.encoder import image_tensor
from tasks.nn.projection_encoder import ProjectionEncoderSettings, build_projection_encoder
from tasks.nn.training import Optimizer
from tasks.pretrain.simclr import simclr
from tasks.vision.augmentation import Augmentation
from tasks.vision.crop_views import Crops, crop_views

ENCODER = ProjectionEncoderSettings(widths=[12, 8], hidden=8, projection=5)
CROPS = [Crops(n=2, size=6, scale=[0.5, 1.0])]
OPTIONS = {
    "encoder": ENCODER,
    "crops": CROPS,
    "augmentation": Augmentation(noise=0.05),
    "temperature": 0.3,
    "epochs": 1,
    "batch_size": 16,
    "optimizer": Optimizer(lr=1e-2),
    "seed": 3,
}


def loss(representation):
    table = representation.tables["curves"]
    return table.loc[table["curve"] == "loss", "y"].to_numpy()


def test_first_step_is_nt_xent(dataset):
    """l(i, j) = -log exp(z_i z_j / t) / sum over k != i of exp(z_i z_k / t), both views of all images."""
    data = dataset()
    network_stream, training_stream = np.random.SeedSequence(3).spawn(2)
    network = build_projection_encoder(ENCODER, (6, 6, 1), int(network_stream.generate_state(1)[0])).train()
    order, view_stream = training_stream.spawn(2)
    rows = np.random.default_rng(order).permutation(data.rows("train"))
    generator = torch.Generator().manual_seed(int(view_stream.generate_state(1)[0]))
    views = crop_views(image_tensor(data.arrays["images"][rows]), CROPS, Augmentation(noise=0.05), None, generator)
    with torch.no_grad():
        z = network.project(views).flatten(0, 1).numpy().astype(float)
    total = 0.0
    for i in range(32):
        others = sum(np.exp(z[i] @ z[k] / 0.3) for k in range(32) if k != i)
        total += -np.log(np.exp(z[i] @ z[(i + 16) % 32] / 0.3) / others)
    result = simclr(data, **OPTIONS)
    result.check()
    assert loss(result)[0] == pytest.approx(total / 32, rel=1e-5)
    assert result.arrays["embedding"].shape == (19, 8)


def test_it_learns_and_the_seed_decides(dataset):
    first, again = (simclr(dataset(), **{**OPTIONS, "epochs": 30}) for _ in range(2))
    assert loss(first)[-1] < loss(first)[0] - 0.3
    assert np.array_equal(first.arrays["embedding"], again.arrays["embedding"])


def test_a_single_view_is_refused(dataset):
    with pytest.raises(ValueError, match="a single view"):
        simclr(dataset(), **{**OPTIONS, "crops": [Crops(n=1, size=6, scale=[0.5, 1.0])]})
