"""Clusters: what the page on scaling out shows, on two workers of this machine."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.preprocessing import StandardScaler

from sklearn_hrn import (
    HRNGroupedDetector,
    HRNOneClassClassifier,
    HRNSearchCV,
    InlierKFold,
    InstanceL2Normalizer,
    OneClassPipeline,
)

pytestmark = [
    pytest.mark.slow,
    # A word of Ray's to itself.
    pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning"),
]


def pipeline():
    hrn = HRNOneClassClassifier(8, init=0.1, max_updates=20, contamination=0.1, random_state=0)
    steps = [("scale", StandardScaler()), ("norm", InstanceL2Normalizer(append=1.0)), ("hrn", hrn)]
    return OneClassPipeline(steps)


@pytest.fixture
def rows(rng):
    X = np.r_[rng.normal(size=(160, 4)), rng.normal(4, 1, size=(40, 4))]
    return X, np.repeat([1, -1], [160, 40])


@pytest.fixture(scope="module")
def dask_backend():
    distributed = pytest.importorskip("distributed", reason="needs the extra clusters")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster):
        yield "dask"


@pytest.fixture(scope="module")
def ray_backend():
    ray = pytest.importorskip("ray", reason="needs the extra clusters")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    yield "ray"
    ray.shutdown()


@pytest.fixture(params=["dask_backend", "ray_backend"])
def backend(request):
    return request.getfixturevalue(request.param)


def test_a_search_on_two_workers_is_that_of_one_process(backend, rows):
    X, y = rows
    grid, cv = {"hrn__reg_lambda": [0.01, 0.1]}, InlierKFold(3, shuffle=True, random_state=0)
    alone = HRNSearchCV(pipeline(), grid, cv=cv, n_jobs=1).fit(X, y)
    with parallel_config(backend, n_jobs=2):
        shared = HRNSearchCV(pipeline(), grid, cv=cv).fit(X, y)
    for key in ("mean_test_score", "std_test_score"):
        assert np.allclose(shared.cv_results_[key], alone.cv_results_[key], atol=1e-6)
    assert np.allclose(shared.score_samples(X), alone.score_samples(X), atol=1e-6)


def test_groups_on_two_workers_are_those_of_one_process(backend, rows):
    X, groups = rows[0], np.arange(200) % 5
    alone = HRNGroupedDetector(pipeline(), n_jobs=1, random_state=0).fit(X, groups=groups)
    with parallel_config(backend, n_jobs=2):
        shared = HRNGroupedDetector(pipeline(), random_state=0).fit(X, groups=groups)
    expected = alone.decision_function(X, groups)
    assert np.allclose(shared.decision_function(X, groups), expected, atol=1e-6)


def test_arrays_and_frames_of_dask_are_scored_block_by_block(dask_backend, rows):
    da, dd = pytest.importorskip("dask.array"), pytest.importorskip("dask.dataframe")
    pd = pytest.importorskip("pandas")
    X, _ = rows
    detector = pipeline().fit(X)
    lazy = da.from_array(X, chunks=(50, -1))
    with pytest.raises(TypeError, match="lazy collection of Dask"):
        detector.score_samples(lazy)
    scores = lazy.map_blocks(detector.score_samples, drop_axis=1, dtype=float)
    assert np.allclose(scores.compute(), detector.score_samples(X), rtol=1e-12)
    table = pd.DataFrame(X, columns=list("abcd"))
    of_frames = pipeline().fit(table)
    frame = dd.from_pandas(table, npartitions=3)
    with pytest.raises(TypeError, match="lazy collection of Dask"):
        of_frames.fit(frame)
    scores = frame.map_partitions(of_frames.score_samples, meta=(None, "f8"))
    assert np.allclose(scores.compute(), of_frames.score_samples(table), rtol=1e-12)


def test_data_of_ray_are_scored_batch_by_batch(ray_backend, rows):
    ray, pd = pytest.importorskip("ray"), pytest.importorskip("pandas")
    table = pd.DataFrame(rows[0], columns=list("abcd"))
    detector = pipeline().fit(table)

    class Score:
        def __init__(self):
            self.detector = detector

        def __call__(self, batch):
            return batch.assign(score=self.detector.score_samples(batch))

    data = ray.data.from_pandas(table)
    with pytest.raises(TypeError, match="lazy collection of Ray"):
        detector.score_samples(data)
    scored = data.map_batches(Score, batch_format="pandas", batch_size=64, concurrency=1)
    scored = scored.to_pandas().sort_values(list("abcd"))
    expected = table.assign(score=detector.score_samples(table)).sort_values(list("abcd"))
    assert np.allclose(scored["score"], expected["score"], rtol=1e-12)
