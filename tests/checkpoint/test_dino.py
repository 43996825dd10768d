"""The self-distilled ViT: what is trained, what is stored, what is refused."""

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel

from tasks.artifacts import Dataset
from tasks.checkpoint import dino as module
from tasks.checkpoint.dino import dino
from tasks.cluster.maskcut_clustering import Dense, MaskCut, Regions, maskcut_clustering
from tasks.nn.dino_loss import Centre
from tasks.nn.vit import load_vit
from tasks.prepare.panoptic_scenes import panoptic_scenes
from tasks.pretrain.dino_features import dino_features
from tasks.segmentation.mask_quality import mask_quality

SMALL = {
    "patch": 4,
    "hidden": 12,
    "layers": 1,
    "heads": 3,
    "prototypes": 8,
    "batch_size": 4,
    "global_size": 16,
    "global_scale": [0.4, 1.0],
    "local_size": 8,
    "local_scale": [0.1, 0.4],
    "local_crops": 2,
}


@pytest.fixture(scope="module")
def dataset():
    return panoptic_scenes(n_train=10, n_test=4, image_size=32).without_truth()


@pytest.fixture(scope="module")
def trained(dataset):
    checkpoint = dino(dataset, **SMALL, steps=8)
    checkpoint.check()
    return checkpoint


def test_backbone_is_read_by_transformers(trained, tmp_path):
    trained.save(tmp_path / "checkpoint")
    vit, info = ViTModel.from_pretrained(
        tmp_path / "checkpoint" / "networks" / "vit", add_pooling_layer=False, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(vit(pixels).last_hidden_state, load_vit(trained)(pixels).last_hidden_state)
    assert vit.config.patch_size == 4
    assert trained.meta["size"] == [32, 32]


def test_curves_of_losses_and_entropy(trained):
    curves = trained.tables["curves"]
    assert set(curves["curve"]) == {"loss", "loss_cls", "loss_patch", "teacher_entropy"}
    y = curves.set_index("curve")["y"]
    assert y["loss"] == pytest.approx(0.5 * y["loss_cls"] + 2 * y["loss_patch"], rel=1e-5)
    assert 0 < y["teacher_entropy"] < np.log(8)


def test_statistics_and_training_use_the_train_split_alone(dataset, trained):
    images = np.array(dataset.arrays["images"])
    rows = dataset.rows("train")
    assert trained.meta["image_mean"] == pytest.approx(images[rows].mean(axis=(0, 1, 2)) / 255, abs=1e-4)
    assert trained.meta["image_std"] == pytest.approx(images[rows].std(axis=(0, 1, 2)) / 255, abs=1e-4)
    images[dataset.rows("test")] = 0
    again = dino(Dataset(dataset.tables, {"images": images}, meta=dataset.meta), **SMALL, steps=8)
    assert _same(trained, again)


def test_equal_seeds_give_equal_bits_whatever_the_global_state(dataset, trained):
    torch.manual_seed(123)
    assert _same(trained, dino(dataset, **SMALL, steps=8))
    assert not _same(trained, dino(dataset, **SMALL, steps=8, seed=1))


def test_global_state_is_left_alone(dataset):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    dino(dataset, **SMALL, steps=2)
    assert torch.equal(torch.rand(1), expected)


def test_teacher_is_stored_not_the_student(dataset):
    untrained = dino(dataset, **SMALL, steps=0)
    # With momentum 1 the teacher never moves, however the student trains.
    assert _same(untrained, dino(dataset, **SMALL, steps=4, ema=1.0))
    assert not _same(untrained, dino(dataset, **SMALL, steps=4, ema=0.5))


def test_prototypes_rest_while_the_last_layer_is_frozen(dataset, monkeypatch):
    states = []
    real = module.ema_update

    def spy(teacher, student, momentum):
        states.append(student["head"].direction.detach().clone())
        real(teacher, student, momentum)

    monkeypatch.setattr(module, "ema_update", spy)
    dino(dataset, **SMALL, steps=6, freeze_last_layer=0.5)
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
    assert not torch.equal(states[2], states[3])


def test_student_sees_masks_and_the_teacher_does_not():
    networks = module._network(_config(), 8, seed=0)
    with torch.no_grad():
        networks["vit"].embeddings.mask_token.normal_()
    crops = [torch.randn(2, 3, 16, 16) for _ in range(2)]
    some, others = torch.zeros(4, 16, dtype=torch.bool), torch.zeros(4, 16, dtype=torch.bool)
    some[:, :5], others[:, 5:10] = True, True
    results = []
    for masked in (some, others):
        centres = Centre(8), Centre(8)
        results.append((*module._losses(networks, networks, crops, masked, *centres, 0.04, 0.1), centres))
    # The teacher sees no mask: its centre and entropy on whole views do not depend on it, the student's loss does.
    assert torch.equal(results[0][3][0].mean_P, results[1][3][0].mean_P)
    assert results[0][2] == results[1][2]
    assert results[0][0] != results[1][0]
    tokens = networks["vit"](torch.cat(crops)).last_hidden_state
    expected = networks["head"](tokens[:, 1:])[some].mean(dim=0) * 0.1
    assert torch.allclose(results[0][3][1].mean_P, expected, atol=1e-6)
    # A masked patch's own pixels do not reach the student: its loss hides no shortcut.
    changed = crops[0].clone()
    changed[:, :, :4, :16] += 1
    top = torch.zeros(2, 16, dtype=torch.bool)
    top[:, :4] = True
    one, two = (networks["vit"](x, bool_masked_pos=top).last_hidden_state for x in (crops[0], changed))
    assert torch.equal(one, two)


def test_every_weight_of_the_backbone_is_trained(dataset):
    before, after = (dino(dataset, **SMALL, steps=steps).networks["vit"].state for steps in (0, 6))
    assert before.keys() == after.keys()
    for name, value in before.items():
        # Attention does not depend on the bias of its keys.
        if not name.endswith("k_proj.bias"):
            assert not np.array_equal(value, after[name]), name


@pytest.mark.slow
def test_declared_size_learns_without_collapse_and_finds_objects():
    scenes = panoptic_scenes(n_train=120, n_test=0)
    settings = SMALL | {
        "hidden": 48,
        "layers": 3,
        "prototypes": 64,
        "batch_size": 16,
        "global_size": 48,
        "local_size": 24,
    }
    checkpoint = dino(scenes.without_truth(), **settings, steps=300)
    curves = checkpoint.tables["curves"].set_index("curve")["y"]
    assert curves["loss"].iloc[-1] < 0.5 * curves["loss"].iloc[0]
    assert 0.2 < curves["teacher_entropy"].iloc[-1] < 0.8 * np.log(64)
    representation = dino_features(scenes.without_truth(), checkpoint, features="patch_tokens", smooth=0.6)
    found = maskcut_clustering(
        scenes.without_truth(),
        checkpoint,
        representation,
        maskcut=MaskCut(n_masks=5, tau=0.6, max_corners=1, max_area=0.4, min_area=0.01),
        regions=Regions(n_clusters=8, embed="masked_mean"),
        dense=Dense(step="kmeans", n_clusters=8),
        seed=0,
    )
    owner = found.tables["units"]["sample"].to_numpy()
    recall, precision = mask_quality(found.arrays["masks"], owner, scenes.arrays["instance"])
    assert recall > 0.4
    assert precision > 0.65


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"global_size": 18}, "global_size: 18 is not a multiple of patch 4"),
        ({"local_size": 9}, "local_size: 9"),
        ({"hidden": 13}, "hidden: 13 is not a multiple of heads 3"),
        ({"global_scale": [1.0, 0.4]}, "global_scale"),
    ],
)
def test_bad_settings_are_named(dataset, change, message):
    with pytest.raises(ValueError, match=message):
        dino(dataset, **{**SMALL, **change}, steps=1)


def test_needs_images(dataset):
    with pytest.raises(ValueError, match="images"):
        dino(Dataset(dataset.tables), **SMALL, steps=1)


def _config():
    return ViTConfig(
        image_size=16, patch_size=4, hidden_size=12, num_hidden_layers=1, num_attention_heads=3, intermediate_size=48
    )


def _same(a, b):
    first, second = a.networks["vit"].state, b.networks["vit"].state
    return all(np.array_equal(value, second[name]) for name, value in first.items())
