"""The rows that stand for all are in the middle of what they stand for."""

import numpy as np
from numpy.testing import assert_array_equal
from scipy import sparse

from sklearn_hrn._reference import medoids


def groups(rng):
    """Three groups of 21 rows, each in a ring around its middle; a row of each comes first."""
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.r_[np.c_[np.cos(angles), np.sin(angles)], [[0.0, 0.0]]]
    order = rng.permutation(np.arange(1, 21))
    return np.concatenate(
        [[r[0] for r in (ring, ring + 50, ring - 50)]]
        + [r[order] for r in (ring, ring + 50, ring - 50)]
    )


def test_the_middle_of_each_group_is_found(rng):
    Z = groups(rng)
    assert {tuple(row) for row in Z[medoids(Z, 3)]} == {(0, 0), (50, 50), (-50, -50)}


def test_sparse_rows_have_the_medoids_of_dense_ones(rng):
    Z = groups(rng)
    assert_array_equal(medoids(sparse.csr_matrix(Z), 5), medoids(Z, 5))


def test_of_few_rows_all_are_taken(rng):
    assert_array_equal(medoids(rng.normal(size=(4, 2)), 4), np.arange(4))


def test_repeated_rows_are_taken_once():
    assert len(medoids(np.ones((20, 2)), 5)) == 1


def test_rows_that_are_no_numbers_are_taken_from_the_front():
    assert_array_equal(medoids(np.array([["a"], ["b"], ["c"]], dtype=object), 2), [0, 1])


def test_rows_far_from_zero_or_enormous_are_told_apart(rng):
    Z = groups(rng)
    for moved in (Z + 1e5, Z * 1e30):
        assert_array_equal(medoids(moved, 3), medoids(Z, 3))
