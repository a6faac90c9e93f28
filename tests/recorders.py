"""Learners that keep what they are given, in place of those that a benchmark would train."""


class Recorder:
    """Keeps its seed, parameters and rows, and scores rows by their first column."""

    def __init__(self, seed=None):
        self.seed, self.parameters = seed, {}

    def set_params(self, **parameters):
        self.parameters |= parameters
        return self

    def fit(self, X):
        self.learned = X
        return self

    def score_samples(self, X):
        return X[:, 0]
