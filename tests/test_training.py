"""The training loop: what it computes for a model does not depend on how, or beside what."""

import dataclasses

import numpy as np
import pytest
import torch
from oracles import finite_differences, network, objective

from sklearn_hrn.core import batches, training
from sklearn_hrn.core.batches import Rows, epochs_of, updates_of
from sklearn_hrn.core.threads import side_by_side, threads
from sklearn_hrn.core.training import Trainer, TrainingPlan


@pytest.fixture
def X(rng):
    X = rng.normal(1, 1, size=(230, 12)).astype(np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def make_plan(X, n_models=1, n_epochs=3, hidden=(20,), batch_size=50, **settings):
    columns = {
        "reg_lambda": 0.1,
        "reg_exponent": 12.0,
        "anomaly_weight": 0.0,
        "learning_rate": 0.1,
        "tol": 0.0,
        "seed": np.arange(n_models),
        "n_updates": updates_of(n_epochs, len(X), batch_size),
    }
    columns = {k: np.broadcast_to(settings.pop(k, v), n_models).copy() for k, v in columns.items()}
    n_updates = columns.pop("n_updates")
    sizes = (X.shape[1], *hidden, 1)
    return TrainingPlan(layer_sizes=sizes, batch_size=batch_size, **columns, **settings), n_updates


def all_rows(X, n_models=1):
    return Rows.of_models([(X, None)] * n_models)


def run(rows, plan, start=None, **options):
    """The final state."""
    plan, n_updates = plan
    trainer = Trainer(rows, plan, start, **options)
    trainer.run(n_updates)
    return trainer.state()


def alone(rows, plan, m):
    """Model m without the others."""
    plan, n_updates = plan
    mine = {name: getattr(plan, name)[m : m + 1] for name in training.OF_MODELS}
    return run(rows.of([m]), (dataclasses.replace(plan, **mine), n_updates[m : m + 1]))


def assert_same(state, m, other, **tolerance):
    for ours, theirs in zip(state.weights, other.weights, strict=True):
        if tolerance:
            np.testing.assert_allclose(ours[m], theirs[0], **tolerance)
        else:
            np.testing.assert_array_equal(ours[m], theirs[0])


@pytest.mark.parametrize("n_threads", [1, 3], ids="threads={}".format)
@pytest.mark.parametrize("cache", [1, 10**5, 10**9], ids="cache={}".format)
@pytest.mark.parametrize("hidden", [(20,), (60,), (8, 6)], ids=str)
def test_a_model_among_others_is_bit_for_bit_the_model_alone(
    X, monkeypatch, hidden, cache, n_threads
):
    monkeypatch.setattr(training, "CACHE_BYTES", cache)
    monkeypatch.setattr(training, "SHARED_PRODUCTS", 0)
    n_models = 7
    plan = make_plan(
        X,
        n_models,
        hidden=hidden,
        reg_lambda=np.linspace(0, 1, n_models),
        reg_exponent=np.array([1.0, 2, 5, 12, 12, 12, 20]),
        learning_rate=np.array([0.1, 0.05, 0.1, 0.1, 0.2, 0.1, 0.1]),
        seed=np.array([0, 0, 0, 1, 1, 2, 3]),
        n_updates=np.array([14, 14, 14, 14, 9, 14, 3]),
    )
    even, first = np.arange(0, 230, 2), np.arange(150)
    rows = Rows.of_models([(X, rows) for rows in [None] * 4 + [even, even, first]])
    with threads(n_threads):
        together = run(rows, plan)
        for m in range(n_models):
            assert_same(together, m, alone(rows, plan, m))


def test_models_are_shared_out_among_threads_if_their_products_are_large(X, monkeypatch):
    shares = []

    def spy(function, groups, n_threads, size):
        shares.append((n_threads, sorted(map(size, groups))))
        return side_by_side(function, groups, n_threads, size)

    monkeypatch.setattr(training, "side_by_side", spy)
    for least, expected in ((0, (2, [2, 3])), (10**9, (1, [5]))):
        monkeypatch.setattr(training, "SHARED_PRODUCTS", least)
        with threads(2):
            run(all_rows(X, 5), make_plan(X, 5, n_epochs=1))
        assert shares.pop() == expected


def test_a_large_model_among_others_is_the_model_alone_at_any_thread_count(rng, monkeypatch):
    monkeypatch.setattr(training, "SMALL_PRODUCT", 0)
    X = rng.normal(size=(300, 300)).astype(np.float32) / 17
    plan = make_plan(X, 3, hidden=(100,), batch_size=100)
    for n_threads in (1, 2):
        with threads(n_threads):
            together = run(all_rows(X, 3), plan)
            for m in range(3):
                assert_same(together, m, alone(all_rows(X, 3), plan, m))


def test_threads_and_blocks_change_no_more_than_rounding(X, monkeypatch):
    plan = make_plan(X, 2)
    with threads(1):
        expected = run(all_rows(X, 2), plan)
    monkeypatch.setattr(training, "SMALL_PRODUCT", 0)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 1)
    with threads(2):
        for dtype in (np.float32, np.float64):
            state = run(all_rows(X.astype(dtype), 2), plan)
            for m in range(2):
                one = dataclasses.replace(
                    expected, weights=[w[m : m + 1] for w in expected.weights]
                )
                # float32 sums in another order, through 15 steps.
                assert_same(state, m, one, atol=1e-5)


def test_training_moves_no_global_state(X):
    # NPY002: the global state is what is watched here.
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    before = torch.get_rng_state(), torch.get_num_threads()
    run(all_rows(X), make_plan(X))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.get_num_threads() == before[1]


@pytest.mark.parametrize("n_first", [1, 4, 5, 9, 13])
def test_a_run_that_stops_and_continues_is_the_run_that_did_not(X, n_first):
    plan = make_plan(X, 2, n_updates=14)
    whole = run(all_rows(X, 2), plan)
    first = run(all_rows(X, 2), (plan[0], np.full(2, n_first)))
    continued = run(all_rows(X, 2), plan, start=first)
    for name in ("weights", "velocities"):
        for a, b in zip(getattr(whole, name), getattr(continued, name), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(continued.n_updates, 14)


def test_one_full_batch_step_is_the_equation(X):
    X = X[:60]
    plan = make_plan(X, n_updates=1, batch_size=len(X), hidden=(6,), init=0.5, momentum=0.9)
    start = [w.numpy() for w in training.initial_weights(plan[0].layer_sizes, [0], 0.5)]
    before = [w[0].astype(float) for w in start]
    loss = objective(before, X.astype(float), 0.01)
    derivatives = finite_differences(lambda: objective(before, X.astype(float), 0.01), before)
    state = run(all_rows(X), plan)
    for W, dW, after in zip(before, derivatives, state.weights, strict=True):
        # float32 training against float64 finite differences.
        np.testing.assert_allclose(after[0], W - 0.1 * dW, atol=1e-6)
    assert state.history[0, 0, 0] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(
    ("regularizer", "lam", "n"), [("h", 0.5, 3.0), ("l2", 0.3, 12.0), (None, 0.5, 12.0)]
)
@pytest.mark.parametrize("loss", ["nll", "square"])
def test_the_record_holds_objective_penalty_and_gradient_norm(X, loss, regularizer, lam, n):
    settings = {"loss": loss, "regularizer": regularizer, "reg_lambda": lam, "reg_exponent": n}
    plan = make_plan(X, n_updates=1, batch_size=len(X), init=0.5, **settings)
    sizes = plan[0].layer_sizes
    weights = [w[0].double().numpy() for w in training.initial_weights(sizes, [0], 0.5)]
    ((recorded,), (penalty,), (norm,), (step,)) = run(all_rows(X), plan).history[:, 0]
    options = {"regularizer": regularizer or "h", "lam": lam * (regularizer is not None), "n": n}
    whole = objective(weights, X.astype(float), 0.01, loss=loss, **options)
    data = objective(weights, X.astype(float), 0.01, loss=loss, lam=0)
    # The record is made of float32 outputs.
    assert recorded == pytest.approx(whole, rel=1e-5)
    assert penalty == pytest.approx(whole - data, rel=1e-4, abs=1e-7)
    assert norm == pytest.approx(np.linalg.norm(network(weights, X, 0.01)[1], axis=1).mean())
    assert step == 0.1


def test_weight_decay_pulls_by_twice_lambda_times_the_weights(X):
    plain = make_plan(X, n_updates=1, regularizer=None, init=0.5)
    decayed = make_plan(X, n_updates=1, regularizer="l2", reg_lambda=0.3, init=0.5)
    start = training.initial_weights(plain[0].layer_sizes, [0], 0.5)
    a, b = run(all_rows(X), plain), run(all_rows(X), decayed)
    for W, without, with_decay in zip(start, a.weights, b.weights, strict=True):
        expected = without - 0.1 * 2 * 0.3 * W.numpy()
        np.testing.assert_allclose(with_decay, expected, atol=1e-6)  # float32


def test_stopped_models_stay_and_the_others_go_on(X):
    # 50 updates a round; of the first model every improvement is too small.
    plan, rows = make_plan(X, 2, n_epochs=40, tol=np.array([1e3, 0.0])), all_rows(X, 2)
    state = run(rows, plan)
    np.testing.assert_array_equal(state.n_updates, [102, 184])
    assert np.isnan(state.history[:, 22:, 0]).all()
    assert np.isfinite(state.history[:, :, 1]).all()
    assert_same(state, 1, alone(rows, plan, 1))


def test_a_tolerance_of_zero_never_stops(X, monkeypatch):
    monkeypatch.setattr(Trainer, "_is_flat", lambda *_: True)
    state = run(all_rows(X, 2), make_plan(X, 2, n_epochs=24, tol=np.array([0.0, 1e-9])))
    np.testing.assert_array_equal(state.n_updates, [111, 51])


def test_the_history_holds_every_epoch_of_a_round(X):
    whole = run(all_rows(X), make_plan(X, n_epochs=24))
    assert whole.history.shape == (4, 24, 1)
    trainer = Trainer(all_rows(X), make_plan(X)[0])
    for epoch in range(1, 25):
        trainer.run(updates_of(np.array([epoch]), len(X), 50))
    np.testing.assert_allclose(trainer.state().history, whole.history, rtol=1e-12)


def test_every_epoch_takes_every_row_once_in_an_order_of_its_own(X):
    sampler = batches.BatchSampler(all_rows(X), torch.device("cpu"))
    last = updates_of(3, len(X), 50)
    order = sampler._order(7, 0, 0, last, 50)
    assert order.shape == (14, 50)
    epochs = np.split(order.ravel(), [230, 460])
    for epoch in epochs[:2]:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(230))
        assert (epoch != np.arange(230)).any()
    assert (epochs[0] != epochs[1]).any()
    assert (order != sampler._order(8, 0, 0, last, 50)).any()
    np.testing.assert_array_equal(sampler._order(7, 0, 4, 9, 50), order[4:9])


@pytest.mark.parametrize("block", [batches.BLOCK_BYTES, 1], ids="block={}".format)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batches_hold_the_rows_of_each_stream_in_their_order(X, dtype, block, monkeypatch):
    monkeypatch.setattr(batches, "BLOCK_BYTES", block)
    first, second = X.astype(dtype), (X + 1).astype(dtype)
    chosen = np.arange(30, 200)
    rows = Rows.of_models([(first, None), (second, chosen), (first, None)])
    assert rows.subset_of.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(rows.counts, [230, 170, 230])
    for streams in ([(3, 0), (4, 0)], [(3, 0), (3, 1)]):
        sampler = batches.BatchSampler(rows, torch.device("cpu"))
        order = [sampler._order(seed, subset, 2, 9, 40) for seed, subset in streams]
        for t, x in enumerate(sampler.batches(streams, 2, 9, 40)):
            assert x.dtype == torch.float32
            for s, (_, subset) in enumerate(streams):
                source = (first, second)[subset]
                np.testing.assert_allclose(x[s], source[order[s][t]], rtol=1e-6)
        assert t == 6
    assert set(order[1].ravel()) <= set(chosen)


@pytest.mark.parametrize(("n_rows", "batch_size"), [(230, 50), (200, 50), (30, 50), (51, 50)])
def test_epochs_and_updates_count_alike(n_rows, batch_size):
    ends = updates_of(np.arange(8), n_rows, batch_size)
    np.testing.assert_array_equal(epochs_of(ends, n_rows, batch_size), np.arange(8))
    np.testing.assert_array_equal(epochs_of(ends[1:] - 1, n_rows, batch_size), np.arange(7))


def test_subsets_are_trained_on_and_nothing_else(X):
    mine = np.arange(40, 140)
    spoilt = np.full_like(X, np.nan)
    spoilt[mine] = X[mine]
    plan = make_plan(X, n_updates=6)
    subset = run(Rows.of_models([(spoilt, mine)]), plan)
    copied = run(all_rows(X[mine]), plan)
    assert_same(subset, 0, copied)


def test_a_failed_round_is_repeated_from_its_start_with_half_the_step(X):
    plan = make_plan(X, 2, learning_rate=np.array([1e4, 0.1]), reg_exponent=2.0, n_epochs=4)
    told = []
    trainer = Trainer(all_rows(X, 2), plan[0])
    trainer.run(plan[1], lambda n_rows, n_halvings: told.append((n_rows, n_halvings)))
    state = trainer.state()
    ((n_rows, n_halvings),) = told
    assert n_halvings > 0
    np.testing.assert_array_equal(state.step_scale, [0.5**n_halvings, 1])
    assert n_rows == 19 * 50 * (2 + n_halvings)
    np.testing.assert_array_equal(state.history[3, -1], [1e4 * 0.5**n_halvings, 0.1])
    np.testing.assert_array_equal(state.n_updates, plan[1])
    assert all(np.isfinite(w).all() for w in state.weights)
    assert_same(state, 1, alone(all_rows(X, 2), plan, 1))
    calm = make_plan(X, learning_rate=state.history[3, -1, :1], reg_exponent=2.0, n_epochs=4)
    assert_same(state, 0, run(all_rows(X), calm))


def test_a_hopeless_model_ends_in_an_error_once_its_step_was_halved_thirty_times(X):
    plan, n_updates = make_plan(X, learning_rate=1e30)
    trainer = Trainer(all_rows(X), plan)
    with pytest.raises(training.ExplodedLossError):
        trainer.run(n_updates)
    assert trainer.step_scale == 0.5**31


def test_rows_that_must_be_converted_are_gathered_in_blocks_of_whole_batches(X, monkeypatch):
    fetched = []

    class Fetched(np.ndarray):
        def __getitem__(self, rows):
            fetched.append(np.shape(rows))
            return np.asarray(self)[rows]

    # Three batches of 50 rows of 12 float32 numbers, and a byte less than four.
    monkeypatch.setattr(batches, "BLOCK_BYTES", 4 * 4 * 50 * 12 - 1)
    wide = X.astype(np.float64).view(Fetched)
    sampler = batches.BatchSampler(all_rows(wide), torch.device("cpu"))
    found = [x.clone() for x in sampler.batches([(0, 0)], 1, 9, 50)]
    assert [shape[0] for shape in fetched] == [3, 3, 2]
    expected = batches.BatchSampler(all_rows(X), torch.device("cpu")).batches([(0, 0)], 1, 9, 50)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_only_the_epochs_that_updates_touch_are_shuffled(X, monkeypatch):
    asked = []
    permutation = batches.BatchSampler._permutation

    def spy(self, seed, subset, epoch):
        asked.append(epoch)
        return permutation(self, seed, subset, epoch)

    monkeypatch.setattr(batches.BatchSampler, "_permutation", spy)
    sampler = batches.BatchSampler(all_rows(X), torch.device("cpu"))
    # Of 230 rows in batches of 46, five updates make an epoch.
    for first, last, epochs in [(0, 5, [0]), (0, 6, [0, 1]), (4, 5, [0]), (5, 10, [1])]:
        asked.clear()
        assert len(list(sampler.batches([(0, 0)], first, last, 46))) == last - first
        assert asked == epochs


def test_each_model_has_its_own_anomalies_or_is_told_that_some_are_missing(X):
    with pytest.raises(ValueError, match="shorter"):
        Rows.of_models([(X, None)] * 2, [None])


def test_models_of_the_same_rows_and_seed_train_on_their_own_anomalies(X):
    normal = np.arange(60, 230)
    anomalies = [np.arange(30), np.arange(30, 60), np.arange(25), np.arange(24)]
    rows = Rows.of_models([(X, normal)] * 4, anomalies)
    plan = make_plan(X[normal], 4, seed=0, anomaly_weight=1.0)
    together = run(rows, plan)
    for m in range(4):
        assert_same(together, m, alone(rows, plan, m))
        assert (together.weights[0][m] != together.weights[0][m - 1]).any()


def test_anomalies_come_in_another_order_than_as_many_normal_rows(X, monkeypatch):
    permutation, orders = batches.BatchSampler._permutation, []

    def spy(self, seed, subset, epoch):
        orders.append(permutation(self, seed, subset, epoch) % 50)
        return orders[-1]

    monkeypatch.setattr(batches.BatchSampler, "_permutation", spy)
    rows = Rows.of_models([(X, np.arange(50))], [np.arange(50, 100)])
    run(rows, make_plan(X[:50], n_epochs=1, anomaly_weight=1.0))
    normal, anomalies = orders
    assert sorted(normal) == sorted(anomalies) and (normal != anomalies).any()


def test_a_batch_holds_as_many_anomalies_as_normal_rows_at_most(X):
    anomalies = [np.arange(50), np.arange(3), None]
    rows = Rows.of_models([(X, np.arange(100, 200))] * 3, anomalies)
    trainer = Trainer(rows, make_plan(X, 3, batch_size=8)[0])
    np.testing.assert_array_equal(trainer.n_anomalies, [8, 3, 0])


def test_the_record_has_the_weighted_loss_of_anomalies_and_the_penalty_of_normal_rows_alone(X):
    X[200:] *= -1
    rows = Rows.of_models([(X, np.arange(200))], [np.arange(200, 230)])
    settings = {"reg_lambda": 0.5, "reg_exponent": 3.0, "anomaly_weight": 0.3, "init": 0.5}
    plan = make_plan(X[:200], n_updates=1, batch_size=200, **settings)
    weights = training.initial_weights(plan[0].layer_sizes, [0], 0.5)
    f, G = network([w[0].double().numpy() for w in weights], X.astype(float), 0.01)
    lengths = np.linalg.norm(G, axis=1)
    ((recorded,), (penalty,), (norm,), _) = run(rows, plan).history[:, 0]
    data = np.logaddexp(0, -f[:200]).mean() + 0.3 * np.logaddexp(0, f[200:]).mean()
    # The record is made of float32 outputs.
    assert norm == pytest.approx(lengths[:200].mean(), rel=1e-5)
    assert norm != pytest.approx(lengths.mean(), rel=1e-3)
    assert penalty == pytest.approx(0.5 * (lengths[:200] ** 3).mean(), rel=1e-4)
    assert recorded == pytest.approx(data + penalty, rel=1e-5)


def test_a_run_continues_with_the_step_that_it_had(X):
    first = run(all_rows(X), make_plan(X, n_epochs=1))
    quartered = dataclasses.replace(first, step_scale=np.array([0.25]))
    continued = run(all_rows(X), make_plan(X, n_epochs=2), start=quartered)
    slower = run(all_rows(X), make_plan(X, n_epochs=2, learning_rate=0.025), start=first)
    assert_same(continued, 0, slower)
    np.testing.assert_array_equal(continued.history[3, :, 0], [0.1, 0.025])


def test_a_loss_that_begins_high_has_not_exploded(X):
    settings = {"loss": "square", "regularizer": None, "batch_size": len(X)}
    plan = make_plan(X, init=30.0, learning_rate=1e-9, **settings)
    state = run(all_rows(X), plan)
    assert state.history[0, 0, 0] > state.history[0, -1, 0] > training.EXPLOSION
    assert state.step_scale == 1


def test_a_power_that_is_switched_off_overflows_nothing(X):
    state = run(all_rows(X), make_plan(X, reg_lambda=0.0, reg_exponent=1e4, init=3.0))
    assert (state.history[2] > 1).all()
    assert (state.history[1] == 0).all() and state.step_scale == 1


def test_what_the_last_step_of_a_run_does_is_seen_and_a_hundredfold_loss_is_a_failure(X):
    plan = make_plan(X, n_updates=1, learning_rate=1e4, loss="square", regularizer=None)
    state = run(all_rows(X), plan)
    assert state.step_scale < 1 and state.n_updates == 1
    f, _ = network([W[0].astype(float) for W in state.weights], X.astype(float), 0.01)
    assert ((1 - f) ** 2).mean() < 2 * training.EXPLOSION  # of all rows, not the batch looked at
