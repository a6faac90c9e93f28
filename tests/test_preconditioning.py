"""Steps that are longer where the rows vary little."""

import numpy as np
import pytest
import torch

from sklearn_hrn import ChannelNetwork, HRNOneClassClassifier
from sklearn_hrn.core.batches import Rows
from sklearn_hrn.core.preconditioning import N_AXES, N_ROWS, Preconditioner, leading_axes


@pytest.fixture
def stretched(rng):
    """Rows whose mean squares along six hidden axes fall from 1 to 1/1000."""
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    return rng.normal(size=(250, 6)) * np.sqrt([1, 0.5, 0.1, 0.05, 0.01, 0.001]) @ axes.T


def plain_P(X, largest):
    """P as its first formula has it."""
    squares, Q = np.linalg.eigh(X.T @ X / len(X))
    return Q * np.minimum(largest, squares.max() / squares) @ Q.T


@pytest.mark.parametrize("largest", [2, 10, 1e3])
def test_the_factors_make_the_matrix_of_the_formula(stretched, largest):
    Q, excess = leading_axes(stretched, largest)
    P = largest * np.eye(6) - (Q @ excess).numpy()
    np.testing.assert_allclose(P, plain_P(stretched, largest), rtol=1e-4, atol=1e-4 * largest)


def test_rows_on_any_scale_have_the_same_axes(stretched):
    Q, excess = leading_axes(stretched, 10.0)
    for scale in (1e-150, 1e150):
        for one, other in zip(leading_axes(scale * stretched, 10.0), (Q, excess), strict=True):
            torch.testing.assert_close(one, other)


def test_fewer_rows_than_axes_and_rows_of_zeros_leave_finite_factors(rng):
    for X in (rng.normal(size=(3, 40)), np.zeros((5, 4))):
        Q, excess = leading_axes(X, 10.0)
        assert Q.shape[1] == min(N_AXES, X.shape[1])
        assert torch.isfinite(Q).all() and torch.isfinite(excess).all()


@pytest.mark.parametrize("largest", [2, 10])
def test_each_model_has_the_matrix_of_its_own_rows(stretched, rng, largest):
    X = np.vstack([stretched, rng.normal(size=(250, 6))])
    halves = [np.arange(250), np.arange(250, 500)]
    rows = Rows.of_models([(X, half) for half in halves])
    dW = torch.from_numpy(rng.normal(size=(2, 3, 6))).float()
    P = [plain_P(X[half], largest) for half in halves]
    done = Preconditioner(rows, largest, torch.device("cpu")).of(np.array([0, 1]))(dW.clone())
    np.testing.assert_allclose(done.numpy(), dW.double().numpy() @ P, rtol=1e-3, atol=1e-3)


def test_rows_of_all_parts_of_a_table_make_the_matrix(stretched, rng):
    X = np.vstack([stretched, rng.normal(size=(250, 6))])
    spaced = X[np.linspace(0, 499, N_ROWS).astype(int)]
    of_table = Preconditioner(Rows.of_models([(X, None)]), 10.0, torch.device("cpu"))
    for found, expected in zip(of_table.axes([0]), leading_axes(spaced, 10.0), strict=True):
        torch.testing.assert_close(found[0], expected)


def test_a_factor_of_one_is_plain_descent_bit_for_bit(stretched):
    plain = HRNOneClassClassifier(max_iter=3, random_state=0).fit(stretched)
    one = HRNOneClassClassifier(max_iter=3, preconditioning=1, random_state=0).fit(stretched)
    np.testing.assert_array_equal(one.coefs_[0], plain.coefs_[0])


def test_it_reaches_in_as_many_updates_a_lower_loss(stretched):
    X = stretched + np.eye(6)[0]
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    plain, longer = (
        HRNOneClassClassifier(max_updates=60, preconditioning=c, random_state=0).fit(X)
        for c in (1, 10)
    )
    assert longer.history_["loss"][-1] < plain.history_["loss"][-1]


def test_training_together_is_training_alone(stretched):
    halves = [np.arange(0, 150), np.arange(100, 250)]
    together = [
        HRNOneClassClassifier(max_iter=3, preconditioning=10, random_state=0) for _ in halves
    ]
    HRNOneClassClassifier.fit_together(together, [stretched] * 2, halves)
    for model, half in zip(together, halves, strict=True):
        alone = HRNOneClassClassifier(max_iter=3, preconditioning=10, random_state=0)
        alone.fit(stretched[half])
        np.testing.assert_allclose(model.coefs_[0], alone.coefs_[0], rtol=1e-5, atol=1e-7)


def test_a_module_of_ones_own_has_no_first_weights_to_step_with(rng):
    detector = HRNOneClassClassifier(module=ChannelNetwork(n_channels=1), preconditioning=2)
    with pytest.raises(ValueError, match="preconditioning=2 is for perceptrons"):
        detector.fit(rng.normal(size=(20, 4)))
