"""The pieces of self-distillation, each against its definition."""

import math

import numpy as np
import pytest
import torch

from tasks.nn.dino_head import DinoHead
from tasks.nn.dino_loss import (
    Centre,
    ema_update,
    entropy,
    masked_patch_loss,
    random_masks,
    teacher_distribution,
    teacher_momentum,
    view_loss,
)


def _head(seed=0):
    torch.manual_seed(seed)
    return DinoHead(6, 5)


def test_centre_is_a_running_mean_over_all_leading_dimensions():
    centre = Centre(3, momentum=0.9)
    batch = torch.arange(24.0).reshape(2, 4, 3)
    centre.update(batch)
    centre.update(batch)
    mean = batch.reshape(-1, 3).mean(dim=0)
    assert torch.allclose(centre.mean_P, (0.9 * 0.1 + 0.1) * mean)


def test_centre_moves_probability_away_from_the_dominant_prototype():
    centre, logits = Centre(2, momentum=0.0), torch.tensor([[1.0, 0.0]])
    assert teacher_distribution(logits, centre, 0.04)[0, 0] > 0.99
    centre.update(logits)
    assert torch.allclose(teacher_distribution(logits, centre, 0.04), torch.full((1, 2), 0.5))


def test_teacher_receives_no_gradient():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    student = torch.randn(3, 3, 4, requires_grad=True)
    target = teacher_distribution(logits, Centre(4), 0.04)
    assert not target.requires_grad
    view_loss(target, student, 0.1).backward()
    assert logits.grad is None
    assert student.grad is not None


def test_view_loss_is_the_mean_over_pairs_of_different_views():
    torch.manual_seed(0)
    teacher = torch.softmax(torch.randn(2, 5, 7), dim=-1)
    student = torch.randn(4, 5, 7)
    pairs = []
    for t in range(2):
        for s in range(4):
            if s != t:
                log_p = torch.log_softmax(student[s] / 0.1, dim=-1)
                pairs += [-(teacher[t, b] * log_p[b]).sum() for b in range(5)]
    assert len(pairs) == 6 * 5
    assert view_loss(teacher, student, 0.1).item() == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-5)


def test_view_loss_gradient_is_that_of_a_cross_entropy():
    torch.manual_seed(1)
    teacher = torch.softmax(torch.randn(1, 3, 4, dtype=torch.float64), dim=-1)
    student = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    view_loss(teacher, student, 0.5).backward()
    expected = (torch.softmax(student[1] / 0.5, dim=-1) - teacher[0]) / 0.5 / 3
    assert student.grad is not None
    assert torch.allclose(student.grad[1], expected)
    # The only pair of view 0 would be with itself.
    assert (student.grad[0] == 0).all()


def test_patch_loss_is_smallest_where_the_student_agrees():
    teacher = torch.softmax(torch.randn(9, 4, dtype=torch.float64), dim=-1)
    agreeing = 0.1 * teacher.log()
    assert masked_patch_loss(teacher, agreeing, 0.1).item() == pytest.approx(entropy(teacher).item())
    assert masked_patch_loss(teacher, agreeing + 0.01 * torch.randn(9, 4), 0.1) > entropy(teacher)


def test_entropy_of_known_distributions():
    assert entropy(torch.tensor([[1.0, 0.0, 0.0]])).item() == 0
    assert entropy(torch.full((2, 8), 1 / 8)).item() == pytest.approx(math.log(8))


def test_teacher_momentum_rises_to_one_along_a_cosine():
    values = [teacher_momentum(0.9, step, 100) for step in (0, 50, 100)]
    assert values == pytest.approx([0.9, 0.95, 1.0])
    assert all(np.diff([teacher_momentum(0.9, step, 100) for step in range(101)]) > 0)


def test_ema_update_averages_by_name_and_leaves_the_student():
    teacher, student = _head(0), _head(1)
    before = {k: v.clone() for k, v in teacher.named_parameters()}
    source = {k: v.clone() for k, v in student.named_parameters()}
    ema_update(teacher, student, 0.75)
    for name, value in teacher.named_parameters():
        assert torch.allclose(value, 0.75 * before[name] + 0.25 * source[name])
    for name, value in student.named_parameters():
        assert torch.equal(value, source[name])
    ema_update(teacher, student, 0.0)
    assert all(torch.allclose(v, source[k]) for k, v in teacher.named_parameters())


def test_last_layer_is_weight_normalised():
    head = _head()
    x = torch.randn(10, 6)
    before = head(x)
    assert before.abs().max() <= 1 + 1e-6
    with torch.no_grad():
        head.direction.mul_(torch.rand(5, 1) * 10 + 0.1)
    assert torch.allclose(head(x), before, atol=1e-6)


def test_head_works_on_tokens_as_on_vectors():
    head, x = _head(), torch.randn(2, 3, 6)
    assert torch.allclose(head(x)[1, 2], head(x[1, 2]), atol=1e-6)


@pytest.mark.parametrize(("ratio", "count"), [(0.3, 43), (1.0, 144), (0.001, 1)])
def test_each_image_has_its_share_of_masked_patches(ratio, count):
    masks = random_masks(20, 144, ratio, torch.Generator().manual_seed(0))
    assert (masks.sum(dim=1) == count).all()
    if count < 144:
        assert len(torch.unique(masks, dim=0)) > 1
