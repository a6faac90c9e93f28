"""Scores of perceptrons: the equation, block by block, in a precision of one's choice."""

import numpy as np
import pytest
from oracles import network

from sklearn_hrn import ChannelNetwork, HRNOneClassClassifier
from sklearn_hrn.core import scoring
from sklearn_hrn.core.scoring import score_in_blocks, score_rows

SLOPE = 0.3


@pytest.fixture
def coefs(rng):
    """Three networks 5-4-2-1."""
    return [rng.normal(size=(3, a, b)).astype(np.float32) for a, b in ((5, 4), (4, 2), (2, 1))]


def outputs(coefs, X):
    of_models = [[W[m].T.astype(float) for W in coefs] for m in range(len(coefs[0]))]
    return [network(weights, X.astype(float), SLOPE)[0] for weights in of_models]


@pytest.mark.parametrize("block_bytes", [1, 500, 2**20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_score_is_the_mean_output_whatever_the_blocks(
    coefs, rng, monkeypatch, block_bytes, dtype
):
    monkeypatch.setattr(scoring, "BLOCK_BYTES", block_bytes)
    X = rng.normal(size=(37, 5)).astype(dtype)
    scores = score_rows(coefs, X, SLOPE)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, np.mean(outputs(coefs, X), axis=0), rtol=1e-12)
    rows = np.array([3, 30, 4])
    np.testing.assert_allclose(score_rows(coefs, X, SLOPE, rows), scores[rows], rtol=1e-12)


def test_blocks_are_bounded_and_hold_every_row_once(monkeypatch, coefs, rng):
    sizes = []
    X = np.arange(50.0).reshape(10, 5)

    def first_column(block):
        sizes.append(len(block))
        return block[:, 0]

    np.testing.assert_array_equal(score_in_blocks(first_column, X, None, 4), X[:, 0])
    assert sizes == [4, 4, 2]
    # A block of rows of five values beside two activations of four, eight bytes each.
    monkeypatch.setattr(scoring, "BLOCK_BYTES", 8 * (5 + 2 * 4) * 3)
    seen = []
    monkeypatch.setattr(scoring, "score_in_blocks", lambda *a: seen.append(a[3:]) or np.zeros(1))
    score_rows(coefs, X, SLOPE)
    score_rows(coefs, X, SLOPE, dtype=np.float32)
    assert seen == [(3, np.float64), (6, np.float32)]


def test_rows_are_not_changed(coefs, rng):
    X = rng.normal(size=(20, 5))
    before = X.copy()
    score_rows(coefs, X, SLOPE)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("module", [None, ChannelNetwork(branch_size=5, hidden_size=4, init=0.4)])
def test_float32_is_an_option_near_float64(rng, module):
    X = rng.normal(0.3, 0.3, size=(200, 6))
    fits = [
        HRNOneClassClassifier(module=module, max_iter=5, score_dtype=dtype, random_state=0).fit(X)
        for dtype in ("float64", "float32")
    ]
    exact, fast = (fit.score_samples(X) for fit in fits)
    assert fast.dtype == np.float64
    assert 0 < np.abs(fast - exact).max() < 1e-5 * np.abs(exact).max()
    np.testing.assert_array_equal(fast, fast.astype(np.float32))
    weights = [fit.coefs_ if module is None else list(fit.module_state_.values()) for fit in fits]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert fits[1].offset_ == pytest.approx(fits[0].offset_, rel=1e-5)


def test_no_other_precision_is_an_option(rng):
    X = rng.normal(size=(20, 6))
    with pytest.raises(ValueError, match="'score_dtype' parameter"):
        HRNOneClassClassifier(score_dtype="float16").fit(X)


def test_threads_of_the_blas_change_no_more_than_the_last_digits(rng):
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    X = rng.normal(0.3, 0.3, size=(3000, 300))
    fitted = HRNOneClassClassifier(max_iter=1, random_state=0, device="cpu").fit(X)
    scores = []
    for n_threads in (1, 2):
        with limits(n_threads, user_api="blas"):
            scores.append(fitted.score_samples(X))
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-13 * np.abs(X).max() * len(X[0]))
