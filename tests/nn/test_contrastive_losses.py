import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tasks.nn.contrastive_losses import (
    EMPTY,
    Pairs,
    nt_xent,
    queue_pairs,
    subclass_balancing,
    supcon,
    view_pairs,
)

CLASS = torch.tensor([0, 0, 0, 1])
SUBCLASS = torch.tensor([0, 0, 1, 2])


def circle(*degrees: float) -> torch.Tensor:
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


@pytest.fixture
def known() -> Pairs:
    return view_pairs(torch.stack([circle(0, 20, 60, 180), circle(10, 30, 70, 170)]))


def random_views(seed: int, batch: int = 6, dim: int = 5, views: int = 2) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(views, batch, dim, generator=draws, dtype=torch.float64), dim=2)


def sbcl(pairs, class_n, subclass_n, t1=0.5, t2: float | list[float] = 0.5, w1=1.0, beta=0.25):
    t2_n = (
        torch.full((len(class_n),), t2, dtype=torch.float64)
        if isinstance(t2, float)
        else torch.tensor(t2, dtype=torch.float64)[class_n]
    )
    return subclass_balancing(
        pairs, class_n, subclass_n, temperature=t1, class_temperature_n=t2_n, subclass_weight=w1, class_weight=beta
    )


def by_hand(z, image, class_n, subclass_n, t1, t2_C, w1, beta):
    """The two-level loss written out anchor by anchor, in plain Python floats."""
    total = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        y, q = class_n[image], subclass_n[image]

        def level(candidates, positives, t, i=i):
            log_total = np.log(sum(np.exp(z[i] @ z[a] / t) for a in candidates))
            return -sum(z[i] @ z[p] / t - log_total for p in positives) / len(positives)

        total += w1 * level(others, [p for p in others if q[p] == q[i]], t1)
        second = [a for a in others if q[a] != q[i] or image[a] == image[i]]
        total += beta * level(second, [p for p in second if y[p] == y[i]], t2_C[y[i]])
    return total / len(z)


def test_known_answers(known):
    assert supcon(known, CLASS, 0.5).item() == pytest.approx(1.3264006, abs=1e-7)
    assert nt_xent(known, 0.5).item() == pytest.approx(1.0202240, abs=1e-7)
    assert sbcl(known, CLASS, SUBCLASS, beta=0.0).item() == pytest.approx(1.0550595, abs=1e-7)
    assert sbcl(known, CLASS, SUBCLASS, w1=0.0, beta=1.0).item() == pytest.approx(1.0838799, abs=1e-7)
    assert sbcl(known, CLASS, SUBCLASS).item() == pytest.approx(1.3260295, abs=1e-7)


@pytest.mark.parametrize("views", [2, 3])
def test_two_levels_anchor_by_anchor(views):
    class_n, subclass_n = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 2, 3, 4])
    z_VBD = random_views(0, views=views)
    image = np.tile(np.arange(6), views)
    expected = by_hand(z_VBD.flatten(0, 1).numpy(), image, class_n, subclass_n, 0.3, [0.2, 0.4, 0.7], 1.4, 0.6)
    loss = sbcl(
        view_pairs(z_VBD), torch.tensor(class_n), torch.tensor(subclass_n), 0.3, [0.2, 0.4, 0.7], w1=1.4, beta=0.6
    )
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_one_subclass_per_class_is_supcon_plus_an_instance_term():
    pairs, class_n = view_pairs(random_views(1)), torch.tensor([0, 0, 1, 1, 1, 2])
    assert sbcl(pairs, class_n, class_n, beta=0.0).item() == pytest.approx(supcon(pairs, class_n, 0.5).item())
    # With the own view left out of P2 and A2 this would be undefined.
    instance = sbcl(pairs, class_n, class_n, w1=0.0, beta=1.0)
    others = pairs.own_AN | (pairs.candidate_AN & ~pairs.same(class_n))
    expected = nt_xent(Pairs(pairs.cosine_AN, others, pairs.own_AN, pairs.anchor_row_A1, pairs.candidate_row_AN), 0.5)
    assert instance.item() == pytest.approx(expected.item())


def test_every_image_its_own_subclass_is_nt_xent_and_supcon():
    pairs, class_n, own = view_pairs(random_views(2)), torch.tensor([0, 0, 1, 1, 1, 2]), torch.arange(6)
    assert sbcl(pairs, class_n, own, beta=0.0).item() == pytest.approx(nt_xent(pairs, 0.5).item())
    assert sbcl(pairs, class_n, own, w1=0.0, beta=1.0).item() == pytest.approx(supcon(pairs, class_n, 0.5).item())


def test_subclass_mates_do_not_enter_the_class_term():
    class_n, subclass_n = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 2])
    z = random_views(3, batch=4)
    moved = z.clone()
    moved[:, 1] = normalize(moved[:, 1] + 0.7, dim=1)

    def class_term_of_image_0(views):
        pairs = view_pairs(views)
        keep = torch.tensor([0, 4])
        first = Pairs(
            pairs.cosine_AN[keep],
            pairs.candidate_AN[keep],
            pairs.own_AN[keep],
            pairs.anchor_row_A1[keep],
            pairs.candidate_row_AN,
        )
        return sbcl(first, class_n, subclass_n, w1=0.0, beta=1.0).item()

    assert class_term_of_image_0(z) == pytest.approx(class_term_of_image_0(moved), abs=1e-12)


def test_order_of_images_does_not_matter():
    class_n, subclass_n = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 2, 3, 4])
    z, order = random_views(4), torch.tensor([3, 0, 5, 1, 4, 2])
    expected = sbcl(view_pairs(z), class_n, subclass_n, t2=[0.2, 0.3, 0.5])
    shuffled = sbcl(view_pairs(z[:, order]), class_n[order], subclass_n[order], t2=[0.2, 0.3, 0.5])
    by_row = sbcl(view_pairs(z[:, order], order), class_n, subclass_n, t2=[0.2, 0.3, 0.5])
    assert shuffled.item() == pytest.approx(expected.item())
    assert by_row.item() == pytest.approx(expected.item())


def test_gradients():
    raw = random_views(5, batch=4, dim=3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: sbcl(view_pairs(normalize(x, dim=2)), CLASS, SUBCLASS, t2=[0.3, 0.6]), (raw,)
    )
    loss = sbcl(view_pairs(random_views(5).float().requires_grad_()), torch.arange(6) // 3, torch.arange(6), 0.01, 0.01)
    assert torch.isfinite(loss)


def test_queue_against_the_same_loss_by_hand():
    draws = torch.Generator().manual_seed(0)
    query, key, queue = (normalize(torch.randn(n, 4, generator=draws, dtype=torch.float64), dim=1) for n in (2, 2, 5))
    class_n, subclass_n = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 2, 3])
    rows, queue_rows = torch.tensor([0, 3]), torch.tensor([1, 2, 4, EMPTY, 0])
    loss = sbcl(queue_pairs(query, key, queue, rows, queue_rows), class_n, subclass_n, 0.2, 0.4, w1=1.0, beta=0.5)
    expected = 0.0
    for i, row in enumerate(rows.tolist()):
        candidates = [(key[i], row, True)] + [
            (queue[j], r, False) for j, r in enumerate(queue_rows.tolist()) if r != EMPTY
        ]

        def level(candidates, positive, t, i=i):
            cosine = [float(query[i] @ z) / t for z, _, _ in candidates]
            log_total = np.log(np.exp(cosine).sum())
            chosen = [c for c, (_, r, own) in zip(cosine, candidates, strict=True) if own or positive(r)]
            return log_total - np.mean(chosen)

        expected += level(candidates, lambda r, row=row: subclass_n[r] == subclass_n[row], 0.2)
        second = [c for c in candidates if c[2] or subclass_n[c[1]] != subclass_n[row]]
        expected += 0.5 * level(second, lambda r, row=row: class_n[r] == class_n[row], 0.4)
    assert loss.item() == pytest.approx(expected / 2, rel=1e-10)


def test_an_empty_queue_leaves_only_the_own_key_and_no_gradient():
    query = normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), dim=1).requires_grad_()
    queue_rows = torch.full((2,), EMPTY)
    pairs = queue_pairs(query, query.detach(), torch.zeros(2, 4), torch.arange(3), queue_rows)
    # The last row has the class that index -1 would read.
    loss = sbcl(pairs, torch.tensor([0, 1, 1]), torch.tensor([0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert query.grad is not None
    assert query.grad.abs().max().item() == pytest.approx(0, abs=1e-6)


def test_keys_and_queue_take_no_gradient():
    z = [random_views(s, batch=3)[0].requires_grad_() for s in range(3)]
    supcon(queue_pairs(*z, torch.arange(3), torch.arange(3)), torch.tensor([0, 0, 1]), 0.1).backward()
    assert z[0].grad is not None
    assert z[1].grad is None
    assert z[2].grad is None


def test_kcl_with_many_positives_is_supcon_and_with_few_keeps_the_own_view():
    pairs, class_n = view_pairs(random_views(6)), torch.tensor([0, 0, 0, 0, 1, 1])
    draws = torch.Generator().manual_seed(0)
    assert supcon(pairs, class_n, 0.5, positives=10, generator=draws).item() == pytest.approx(
        supcon(pairs, class_n, 0.5).item()
    )
    few = {supcon(pairs, class_n, 0.5, positives=1, generator=draws).item() for _ in range(20)}
    assert len(few) > 5
    # Every draw lies between the losses of the best and of the worst single partner.
    alone = view_pairs(random_views(6)[:, :1])
    assert supcon(alone, class_n[:1], 0.5, positives=1, generator=draws).item() == pytest.approx(0)


def test_kcl_averages_to_supcon_without_own_views_weighted_alike():
    pairs, class_n = view_pairs(random_views(7)), torch.tensor([0, 0, 0, 0, 1, 1])
    draws = torch.Generator().manual_seed(0)
    mean = np.mean([supcon(pairs, class_n, 0.5, positives=1, generator=draws).item() for _ in range(4000)])
    partners = pairs.same(class_n) & ~pairs.own_AN
    only = Pairs(pairs.cosine_AN, pairs.candidate_AN, partners, pairs.anchor_row_A1, pairs.candidate_row_AN)
    expected = (nt_xent(pairs, 0.5) + nt_xent(only, 0.5)) / 2
    assert mean == pytest.approx(expected.item(), abs=0.01)


def test_bad_input(known):
    with pytest.raises(ValueError, match="at least 2 views"):
        view_pairs(random_views(0)[:1])
    for temperature in (0.0, -0.1):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            supcon(known, CLASS, temperature)
        with pytest.raises(ValueError, match="temperature must be above 0"):
            sbcl(known, CLASS, SUBCLASS, t1=temperature)
