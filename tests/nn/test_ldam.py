import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tasks.nn.ldam import class_balanced_weights, cosines, fit_ldam, ldam_learning_rate, ldam_loss, ldam_margins


def test_known_margins_and_weights():
    np.testing.assert_allclose(ldam_margins(np.array([100, 10, 1])), [0.158114, 0.281171, 0.5], atol=5e-7)
    np.testing.assert_allclose(class_balanced_weights(np.array([500, 5])), [0.020291, 1.979709], atol=5e-7)


def test_weights_tend_to_equal_and_to_inverse_sizes():
    size = np.array([50, 5])
    np.testing.assert_allclose(class_balanced_weights(size, beta=1e-9), [1, 1], atol=1e-6)
    weights = class_balanced_weights(size, beta=1 - 1e-9)
    assert weights[1] / weights[0] == pytest.approx(10, rel=1e-6)


def test_loss_by_hand():
    cosine = torch.tensor([[0.9, 0.2, -0.1], [0.3, 0.4, 0.1], [0.0, 0.1, 0.6]], dtype=torch.float64)
    label, margin, weight = torch.tensor([0, 1, 2]), torch.tensor([0.1, 0.3, 0.5]).double(), torch.tensor([0.5, 1, 1.5])
    logits = 30 * cosine
    logits[[0, 1, 2], label] -= 30 * margin
    each = cross_entropy(logits, label, reduction="none")
    expected = (each * weight.double()).sum() / weight.sum()
    assert ldam_loss(cosine, label, margin, weight.double()).item() == pytest.approx(expected.item())
    # Nothing of the caller's is changed, and without margins it is cross-entropy.
    assert cosine[0, 0] == 0.9
    plain = ldam_loss(cosine, label, torch.zeros(3).double(), torch.ones(3).double())
    assert plain.item() == pytest.approx(cross_entropy(30 * cosine, label).item())


def test_margin_makes_the_rare_class_harder():
    cosine, label = torch.zeros(2, 2), torch.tensor([0, 1])
    margin = torch.from_numpy(ldam_margins(np.array([100, 1]))).float()
    frequent, rare = (ldam_loss(cosine[:1], label[i : i + 1], margin, torch.ones(2)).item() for i in (0, 1))
    assert rare > frequent


def test_schedule_of_200_epochs():
    rates = [ldam_learning_rate(0.1, epoch, 200) for epoch in (0, 4, 5, 139, 140, 179, 180, 199)]
    np.testing.assert_allclose(rates, [0.02, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_separates_unequal_classes_and_is_reproducible():
    rng = np.random.default_rng(0)
    label = rng.permutation(np.repeat([0, 1, 2], [200, 20, 5]))
    x = np.eye(3)[label] + 0.2 * rng.normal(size=(225, 3))
    first, again, other = (fit_ldam(x, label, epochs=20, seed=s) for s in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    predicted = cosines(torch.from_numpy(x).float(), torch.from_numpy(first)).argmax(dim=1).numpy()
    recall = [(predicted[label == c] == c).mean() for c in range(3)]
    assert min(recall) > 0.9
