"""The cache beside a loop over its definition."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from tasks.vision_language.cache import cache_logits, representatives, semantic_similarity, votes


def unit(*shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def drawn():
    feature, text = unit(40, 8, seed=1), 100 * unit(5, 8, seed=2)  # the logit scale of the public CLIP
    return feature, text, softmax(feature @ text.T / 10, axis=1)


def kl(p, q):
    return rel_entr(p, q).sum()


def test_representatives_are_confident_and_agree(drawn):
    _, _, p = drawn
    m = 4
    found = representatives(torch.from_numpy(p), m).numpy()
    for k in range(5):
        candidates = sorted(range(40), key=lambda i: -p[i, k])[: 2 * m]
        # Candidate against the others: KL(P_j || P_i), not the other way round.
        distance = {j: sum(kl(p[j], p[i]) for i in candidates) for j in candidates}
        assert found[k].tolist() == sorted(candidates, key=distance.__getitem__)[:m]
    confident = representatives(torch.from_numpy(p), m, prototype_filter=False).numpy()
    assert [set(row) for row in confident] == [set(np.argsort(-p[:, k])[:m]) for k in range(5)]


def test_fewer_images_than_candidates(drawn):
    _, _, p = drawn
    assert representatives(torch.from_numpy(p[:6]), 4).shape == (5, 4)
    assert representatives(torch.from_numpy(p[:3]), 4).shape == (5, 3)


def test_similarity_is_scaled_by_the_whole_cache(drawn):
    feature, text, p = drawn
    key, test = feature[:12], feature[12:]
    found = semantic_similarity(*(torch.from_numpy(x) for x in (test, key, text))).numpy()
    divergence = np.array([[kl(q, q_j) for q_j in p[:12]] for q in p[12:]])
    low, high = divergence.min(axis=1, keepdims=True), divergence.max(axis=1, keepdims=True)
    assert np.allclose(found, 2 * (1 - (divergence - low) / (high - low)), atol=1e-9)
    assert (found.max(axis=1) == 2).all()  # exactly
    assert (found.min(axis=1) == 0).all()
    assert (found[np.arange(28), divergence.argmin(axis=1)] == 2).all()
    # Standardising the divergences of a row first, as the authors' code does, is no-op.
    z = (divergence - divergence.mean(axis=1, keepdims=True)) / divergence.std(axis=1, keepdims=True)
    low, high = z.min(axis=1, keepdims=True), z.max(axis=1, keepdims=True)
    assert np.allclose(found, 2 * (1 - (z - low) / (high - low)), atol=1e-9)


def test_equal_divergences_give_one_and_no_nan(drawn):
    feature, text, _ = drawn
    key = np.repeat(feature[:1], 6, axis=0)
    found = semantic_similarity(*(torch.from_numpy(x) for x in (feature, key, text)))
    assert (found == 1).all()


def test_logits_beside_loops_and_both_temperatures(drawn):
    feature, text, p = drawn
    key, label = feature[:10], np.repeat(np.arange(5), 2)
    found = cache_logits(
        *(torch.from_numpy(x) for x in (feature, key, label, text)), alpha=0.3, beta=1.5, semantic=True
    ).numpy()
    expected = feature @ text.T
    for i in range(40):
        d = np.array([kl(p[i], p[j]) for j in range(10)])
        s = 2 * (1 - (d - d.min()) / (d.max() - d.min()))
        for j in range(10):
            expected[i, label[j]] += 0.3 * np.exp(-1.5 * (1 - feature[i] @ key[j] * s[j]))
    assert np.allclose(found, expected, atol=1e-9)
    plain = votes(*(torch.from_numpy(x) for x in (feature, key, text)), 1.5, False).numpy()
    assert np.allclose(plain, np.exp(-1.5 * (1 - feature @ key.T)))


def test_no_weight_or_no_sharpness_is_zero_shot(drawn):
    feature, text, _ = drawn
    tensors = [torch.from_numpy(x) for x in (feature, feature[:10], np.repeat(np.arange(5), 2), text)]
    zero_shot = torch.from_numpy(feature) @ torch.from_numpy(text).T
    assert torch.equal(cache_logits(*tensors, alpha=0.0, beta=1.0, semantic=True), zero_shot)
    flat = cache_logits(*tensors, alpha=0.3, beta=0.0, semantic=True)
    assert torch.allclose(flat, zero_shot + 0.3 * 2)  # two cached images of each class
    assert torch.equal(flat.argmax(dim=1), zero_shot.argmax(dim=1))


def test_more_images_than_a_chunk_give_the_same():
    feature, text = torch.from_numpy(unit(5000, 4)), torch.from_numpy(unit(3, 4, seed=1))
    arguments = feature[:3], torch.arange(3), text
    whole = cache_logits(feature, *arguments, alpha=0.3, beta=1.0, semantic=True)
    assert len(whole) == 5000
    tail = cache_logits(feature[4000:], *arguments, alpha=0.3, beta=1.0, semantic=True)
    assert torch.allclose(whole[4000:], tail)
