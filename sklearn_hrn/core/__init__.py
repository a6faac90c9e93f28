"""The paper: networks, one-class loss, its gradients and the training loop.

Nothing in here imports scikit-learn. ``scoring`` is NumPy alone; the other modules are torch, and
are imported by the estimators only when they fit.
"""
