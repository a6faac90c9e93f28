"""Fetchers: local copies, downloads, and what they say when there is neither."""

import io
import os
import re
from contextlib import nullcontext
from http.client import HTTPException

import numpy as np
import pytest
from scipy.io import savemat
from sklearn.utils import Bunch

from sklearn_hrn import datasets
from sklearn_hrn.datasets import _images, _local, _tables

FETCHERS = [getattr(datasets, name) for name in datasets.__all__ if name.startswith("fetch_")]
CHECKSUMS = _local.CHECKSUMS  # the tests of small copies empty the table
NEEDS_A_COPY = ["fetch_cifar100", "fetch_dbpedia14", "fetch_emnist47", "fetch_gtsrb32"]


def raising(error):
    def fetch(*arguments, **options):
        raise error

    return fetch


@pytest.fixture(autouse=True)
def no_folder_and_no_network(monkeypatch):
    offline = raising(OSError("no route to host"))
    monkeypatch.delenv(_local.VARIABLE, raising=False)
    # The small copies of these tests are not those of the published figures.
    monkeypatch.setattr(_local, "CHECKSUMS", {})
    for module in (_images, _tables):
        monkeypatch.setattr(module, "fetch_openml", offline)
    monkeypatch.setattr(_tables, "fetch_raw_kddcup99", offline)


def save_images(path, *shape):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 6), ("test", 4)):
        arrays[f"X_{part}"] = rng.integers(0, 256, size=(n, *shape), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(n, dtype=np.int32)
    np.savez(path, **arrays)
    return arrays


@pytest.mark.parametrize(
    ("name", "fetch", "shape"),
    [
        ("mnist.npz", datasets.fetch_mnist, (28, 28)),
        ("fashion_mnist.npz", datasets.fetch_fashion_mnist, (28, 28)),
        ("cifar100.npz", datasets.fetch_cifar100, (32, 32, 3)),
        ("emnist47.npz", datasets.fetch_emnist47, (28, 28)),
        ("gtsrb32.npz", datasets.fetch_gtsrb32, (32, 32, 3)),
    ],
)
def test_images_of_a_local_copy_are_flat_with_channels_last(tmp_path, name, fetch, shape):
    saved = save_images(tmp_path / name, *shape)
    data = fetch(data_home=tmp_path)
    assert data.image_shape == ((*shape, 1) if len(shape) == 2 else shape)
    assert np.array_equal(data.X_train.reshape(6, *shape), saved["X_train"])
    assert data.X_test.shape == (4, np.prod(shape))
    assert data.y_train.dtype == np.int64


@pytest.mark.parametrize(
    ("shape", "kind"), [((3, 32, 32), "uint8"), ((3072,), "uint8"), ((32, 32, 3), "float32")]
)
def test_images_that_users_pack_in_another_way_are_refused_with_the_way(tmp_path, shape, kind):
    arrays = save_images(tmp_path / "cifar100.npz", *shape)
    arrays = {k: v.astype(kind) if k[0] == "X" else v for k, v in arrays.items()}
    np.savez(tmp_path / "cifar100.npz", **arrays)
    with pytest.raises(ValueError, match=rf"cifar100\.npz .* type {kind}: pack .*transpose"):
        datasets.fetch_cifar100(data_home=tmp_path)


def test_parts_of_images_of_different_sizes_are_refused(tmp_path):
    arrays = save_images(tmp_path / "gtsrb32.npz", 32, 32, 3)
    np.savez(tmp_path / "gtsrb32.npz", **{**arrays, "X_test": arrays["X_test"][:, :16]})
    with pytest.raises(ValueError, match=r"X_test has the shape \(4, 1536\)"):
        datasets.fetch_gtsrb32(data_home=tmp_path)


def test_jpeg_images_are_decoded(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is the extra [images]")
    grey = [np.full((32, 32, 3), value, dtype=np.uint8) for value in (0, 128, 255)]
    files = []
    for pixels in grey:
        buffer = io.BytesIO()
        image.fromarray(pixels).save(buffer, "JPEG")
        files.append(buffer.getvalue())
    packed = np.frombuffer(b"".join(files), dtype=np.uint8)
    offsets = np.cumsum([0, *map(len, files)])
    parts = {
        f"{name}_{part}": array
        for part in ("train", "test")
        for name, array in (("jpeg", packed), ("offset", offsets), ("y", np.arange(3)))
    }
    np.savez(tmp_path / "cifar10_jpeg.npz", **parts)
    data = datasets.fetch_cifar10(data_home=tmp_path)
    assert data.X_test.shape == (3, 3072)
    assert np.abs(data.X_train.mean(axis=1) - [0, 128, 255]).max() < 2  # JPEG loses a little


@pytest.mark.parametrize(
    ("fetch", "asked"),
    [(datasets.fetch_mnist, "mnist_784"), (datasets.fetch_fashion_mnist, "Fashion-MNIST")],
)
def test_a_download_has_the_official_parts(fetch, asked, monkeypatch):
    def openml(name, version, as_frame):
        assert (name, version, as_frame) == (asked, 1, False)
        return Bunch(data=np.arange(70_000.0)[:, None] % 256, target=np.full(70_000, "7"))

    monkeypatch.setattr(_images, "fetch_openml", openml)
    data = fetch()
    assert (len(data.X_train), len(data.X_test)) == (60_000, 10_000)
    assert data.X_test[0, 0] == 60_000 % 256
    assert set(data.y_train) == {7}


def test_colour_planes_of_a_download_become_channels_last(monkeypatch):
    planes = np.repeat(np.array([[10, 20, 30]], np.uint8), 1024, axis=1)
    monkeypatch.setattr(
        _images,
        "fetch_openml",
        lambda *_, **__: Bunch(data=np.tile(planes, (50_001, 1)), target=np.zeros(50_001)),
    )
    data = datasets.fetch_cifar10()
    assert data.X_test.shape == (1, 3072)
    assert np.array_equal(data.X_test.reshape(32, 32, 3)[5, 7], [10, 20, 30])


def test_attacks_are_the_normal_class_of_kddcup99(tmp_path):
    np.savez(tmp_path / "kddcup99.npz", kdd=np.array([[0.5, 0.1, 0.0], [0.7, 0.2, 1.0]]))
    data = datasets.fetch_kddcup99(data_home=tmp_path)
    assert np.array_equal(data.data, np.array([[0.5, 0.1], [0.7, 0.2]], dtype=np.float32))
    assert list(data.target) == [1, -1]


def test_a_downloaded_kddcup99_is_encoded_and_scaled_as_the_local_copy(monkeypatch):
    raw = np.empty((3, 5), dtype=object)
    raw[:] = [
        [8, b"tcp", b"http", b"SF", 5],
        [0, b"udp", b"http", b"S0", 5],
        [4, b"udp", b"http", b"S0", 7],
    ]
    target = np.array([b"normal.", b"smurf.", b"neptune."], dtype=object)
    monkeypatch.setattr(
        _tables,
        "fetch_raw_kddcup99",
        lambda percent10: Bunch(data=percent10 and raw, target=target),
    )
    data = datasets.fetch_kddcup99()
    assert list(data.target) == [-1, 1, 1]
    # A column for each word, two protocols, one service, two flags; then two numbers, in units of
    # the range of the attacks, which the ordinary connection may leave.
    expected = [[1, 0, 1, 0, 1, 2, 0], [0, 1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 1, 1]]
    assert np.array_equal(data.data, expected)
    assert data.data.dtype == np.float32


@pytest.mark.parametrize("name", ["thyroid", "arrhythmia"])
def test_ones_are_the_anomalies_of_odds(tmp_path, name):
    savemat(tmp_path / f"{name}.mat", {"X": np.eye(3), "y": [[0], [1], [0]]})
    data = getattr(datasets, f"fetch_{name}")(data_home=tmp_path)
    assert data.data.dtype == np.float32
    assert list(data.target) == [1, -1, 1]


def test_rare_classes_are_the_anomalies_of_a_downloaded_arrhythmia(monkeypatch):
    kinds = np.arange(1, 17)
    table = Bunch(data=np.c_[kinds, kinds].astype(float), target=kinds.astype(str))
    table.data[0, 1] = np.nan
    monkeypatch.setattr(_tables, "fetch_openml", lambda *_, **__: table)
    data = datasets.fetch_arrhythmia()
    assert np.array_equal(data.data, kinds[:, None])
    assert list(kinds[data.target == -1]) == [3, 4, 5, 7, 8, 9, 14, 15]


def test_the_smallest_class_is_the_anomaly_of_a_downloaded_thyroid(monkeypatch):
    table = Bunch(
        data=np.tile(np.arange(21.0), (6, 1)), target=np.array(["3", "3", "3", "2", "2", "1"])
    )
    monkeypatch.setattr(_tables, "fetch_openml", lambda *_, **__: table)
    data = datasets.fetch_thyroid()
    assert np.array_equal(data.data[0], [0, 16, 17, 18, 19, 20])
    assert list(data.target) == [1, 1, 1, 1, 1, -1]


def test_texts_are_read_with_their_classes(tmp_path):
    (tmp_path / "dbpedia14").mkdir()
    for part in ("train", "test"):
        path = tmp_path / "dbpedia14" / f"{part}.csv"
        path.write_text('"3","A ""quoted"" place, somewhere."\n"14","Ein Größeres."\n', "utf-8")
    data = datasets.fetch_dbpedia14(data_home=tmp_path)
    assert list(data.X_train) == ['A "quoted" place, somewhere.', "Ein Größeres."]
    assert list(data.y_test) == [3, 14]
    assert list(data.X_test[data.y_test == 14]) == ["Ein Größeres."]


def save_labelled(path, y=(0, 1, 0), **others):
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{"X": np.arange(6.0).reshape(3, 2), "y": np.array(y), **others})


def test_features_are_read_by_name(tmp_path):
    save_labelled(tmp_path / "features" / "mvtec_resnet18_bottle.npz")
    data = datasets.load_features("mvtec_resnet18_bottle", data_home=tmp_path)
    assert data.data.dtype == np.float32
    assert np.array_equal(data.data, [[0, 1], [2, 3], [4, 5]])
    assert list(data.target) == [1, -1, 1]


def test_features_that_are_not_there_are_refused_with_those_that_are(tmp_path):
    save_labelled(tmp_path / "features" / "mvtec_resnet18_bottle.npz")
    with pytest.raises(FileNotFoundError, match=r"cable.npz was not .* mvtec_resnet18_bottle\."):
        datasets.load_features("mvtec_resnet18_cable", data_home=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"at hand: none\..*SKLEARN_HRN_DATA"):
        datasets.load_features("mvtec_resnet18_cable")


@pytest.mark.parametrize("below", ["", "adbench"])
def test_adbench_sets_come_in_the_order_of_their_names(tmp_path, monkeypatch, below):
    save_labelled(tmp_path / below / "2_b.npz", y=[[1], [0], [0]])
    save_labelled(tmp_path / below / "1_a.npz")
    monkeypatch.setenv(_local.VARIABLE, str(tmp_path))
    for sets in (datasets.load_adbench(), datasets.load_adbench(tmp_path)):
        (first, X, y), (second, _, y_of_column) = sets
        assert (first, second) == ("1_a", "2_b")
        assert (X.shape, X.dtype) == ((3, 2), np.float32)
        assert (list(y), list(y_of_column)) == ([1, -1, 1], [-1, 1, 1])


def test_adbench_needs_a_folder_with_files_before_the_first_set_is_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"give it as .*SKLEARN_HRN_DATA"):
        datasets.load_adbench()
    with pytest.raises(FileNotFoundError, match=r"holds no \.npz files"):
        datasets.load_adbench(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": [0, 1, 2]}, r"labels like \[0 1 2\]"),
        ({"y": [-1, 1, 1]}, r"labels like \[-1 +1\]"),
        ({"y": [0, 1]}, "2 labels"),
        ({"X": np.zeros(3)}, r"shape \(3,\)"),
        ({"X": np.zeros((3, 0))}, r"shape \(3, 0\)"),
        ({"X": np.array([["a"]] * 3)}, "type <U1"),
        ({"X": np.full((3, 2), 1j)}, "type complex128"),
        ({"X": np.zeros((3, 2), "M8[D]")}, "type datetime64"),
    ],
    ids=[
        "three labels",
        "labels of 1 and -1",
        "too few labels",
        "one dimension",
        "no columns",
        "text",
        "complex numbers",
        "dates",
    ],
)
def test_an_adbench_file_of_another_layout_is_named(tmp_path, arrays, message):
    save_labelled(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ValueError, match=r"odd\.npz has .*" + message):
        list(datasets.load_adbench(tmp_path))


def test_an_adbench_file_without_labels_is_named(tmp_path):
    save_images(tmp_path / "mnist.npz", 28, 28)
    with pytest.raises(ValueError, match=r"mnist\.npz holds .*X_train.* y \(1 for anomalies\)"):
        list(datasets.load_adbench(tmp_path))


FILES = {
    "fetch_arrhythmia": "arrhythmia.mat",
    "fetch_cifar10": "cifar10_jpeg.npz",
    "fetch_cifar100": "cifar100.npz",
    "fetch_dbpedia14": "dbpedia14/train.csv",
    "fetch_emnist47": "emnist47.npz",
    "fetch_fashion_mnist": "fashion_mnist.npz",
    "fetch_gtsrb32": "gtsrb32.npz",
    "fetch_kddcup99": "kddcup99.npz",
    "fetch_mnist": "mnist.npz",
    "fetch_thyroid": "thyroid.mat",
}
IMAGES = io.BytesIO()
save_images(IMAGES, 4, 4)
WITHOUT_TEST = io.BytesIO()
np.savez(WITHOUT_TEST, X_train=np.zeros((2, 4, 4)), y_train=np.zeros(2))
TOO_FEW = io.BytesIO()
X, y = np.zeros((3, 4)), np.zeros(2)
np.savez(TOO_FEW, X_train=X, X_test=X, y_train=y, y_test=y)
DAMAGES = {
    "empty": b"",
    "text": b"a, b, c\n" * 10,
    "zeros": bytes(1000),
    "cut off": IMAGES.getvalue()[:-300],
    "bits turned": IMAGES.getvalue()[:150] + bytes(60) + IMAGES.getvalue()[210:],
    "parts missing": WITHOUT_TEST.getvalue(),
    "labels missing": TOO_FEW.getvalue(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(tmp_path, name, damage):
    path = tmp_path / FILES[name]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(DAMAGES[damage])
    if name == "fetch_dbpedia14":
        if damage == "empty":
            pytest.skip("an empty text file has no rows and no damage")
        path.with_name("test.csv").write_text("1,text\n")
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} could not be read"):
        getattr(datasets, name)(data_home=tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("of", ["adbench", "features"])
def test_a_damaged_file_of_rows_is_named(tmp_path, of, damage):
    (tmp_path / of).mkdir()
    path = tmp_path / of / "x.npz"
    path.write_bytes(DAMAGES[damage])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        if of == "adbench":
            list(datasets.load_adbench(tmp_path))
        else:
            datasets.load_features("x", data_home=tmp_path)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b"])
def test_features_are_read_from_their_folder_alone(tmp_path, name):
    (tmp_path / "features").mkdir()
    with pytest.raises(ValueError, match=r"is not the name of a file: leave out folders"):
        datasets.load_features(name, data_home=tmp_path)


@pytest.mark.parametrize("fetch", FETCHERS, ids=lambda fetch: fetch.__name__)
def test_a_file_that_is_not_in_the_folder_is_named(tmp_path, fetch):
    with pytest.raises(FileNotFoundError, match=r"\.(npz|mat|csv) was not found in .*data_home"):
        fetch(data_home=tmp_path)


@pytest.mark.parametrize("fetch", FETCHERS, ids=lambda fetch: fetch.__name__)
def test_without_folder_and_network_the_error_says_what_to_do(fetch):
    with pytest.raises(OSError, match="SKLEARN_HRN_DATA") as error:
        fetch()
    is_download = fetch.__name__ not in NEEDS_A_COPY
    assert ("download failed (no route to host)" in str(error.value)) == is_download
    assert re.search(r"\w\.(npz|mat|csv)", str(error.value))


@pytest.mark.parametrize("cause", [ValueError("no such set"), HTTPException("broken off")])
def test_what_a_server_refuses_or_breaks_off_is_a_failed_download(monkeypatch, cause):
    monkeypatch.setattr(_images, "fetch_openml", raising(cause))
    with pytest.raises(OSError, match=rf"download failed \({cause}\).*put mnist\.npz into"):
        datasets.fetch_mnist()


def test_without_pandas_a_download_says_so(monkeypatch):
    monkeypatch.setattr(_images, "fetch_openml", raising(ImportError("No module named 'pandas'")))
    with pytest.raises(ImportError, match=r"pip install pandas.*put mnist\.npz into"):
        datasets.fetch_mnist()


def test_a_folder_that_does_not_exist_is_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"data_home=.* is not a folder"):
        datasets.fetch_mnist(data_home=tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"data_home=.* is not a folder"):
        datasets.fetch_mnist(data_home=tmp_path / "file")
    monkeypatch.setenv(_local.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"SKLEARN_HRN_DATA=.* is not a folder"):
        datasets.fetch_mnist()


def test_what_is_written_takes_the_place_of_a_file_at_the_end_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    for data, error in ((b"before", None), (b"half", RuntimeError), (b"after", None)):
        with pytest.raises(error) if error else nullcontext(), _local.writing(path) as file:
            file.write(data)
            if error:
                raise error
        assert [each.name for each in tmp_path.iterdir()] == ["file"]
        assert path.read_bytes() == (b"before" if error else data)


def test_who_reads_a_file_that_is_written_reads_it_as_it_was(tmp_path):
    path, other_name = tmp_path / "file", tmp_path / "before"
    path.write_bytes(b"before")
    other_name.hardlink_to(path)
    with _local.writing(path) as file:
        file.write(b"after")
    assert (other_name.read_bytes(), path.read_bytes()) == (b"before", b"after")


def test_a_package_that_is_missing_does_not_damage_a_file():
    with pytest.raises(ImportError, match="no Pillow"), _local.reading("file"):
        raise ImportError("no Pillow")


def test_the_folder_of_the_user_can_be_named(monkeypatch, tmp_path):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert datasets.resolve_data_home("~") == tmp_path


def test_an_empty_environment_variable_names_no_folder(monkeypatch):
    monkeypatch.setenv(_local.VARIABLE, "")
    assert datasets.resolve_data_home() is None


def test_the_environment_variable_names_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(_local.VARIABLE, str(tmp_path))
    save_images(tmp_path / "mnist.npz", 28, 28)
    assert datasets.fetch_mnist().X_train.shape == (6, 784)


def test_another_copy_is_refused_by_name(tmp_path, monkeypatch):
    save_images(tmp_path / "mnist.npz", 28, 28)
    monkeypatch.setattr(_local, "CHECKSUMS", {"mnist.npz": "0" * 64})
    with pytest.raises(ValueError, match=r"mnist\.npz is another copy"):
        datasets.fetch_mnist(data_home=tmp_path)


REAL = os.environ.get(_local.VARIABLE)


needs_real_files = pytest.mark.skipif(
    not REAL, reason=f"{_local.VARIABLE} names no folder with the real files"
)
ROWS = {
    "fetch_arrhythmia": (452, 274),
    "fetch_dbpedia14": (5000,),
    "fetch_cifar10": (50_000, 3072),
    "fetch_emnist47": (37_820, 784),
    "fetch_fashion_mnist": (60_000, 784),
    "fetch_gtsrb32": (9600, 3072),
    "fetch_kddcup99": (494_021, 118),
    "fetch_mnist": (60_000, 784),
    "fetch_thyroid": (3772, 6),
}
ANOMALIES = {"fetch_arrhythmia": 66, "fetch_kddcup99": 97_278, "fetch_thyroid": 93}


@pytest.fixture
def real_checksums(monkeypatch):
    monkeypatch.setattr(_local, "CHECKSUMS", CHECKSUMS)


@pytest.mark.slow
@needs_real_files
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("fetch", FETCHERS, ids=lambda fetch: fetch.__name__)
def test_real_copies_are_those_of_the_published_figures(fetch, real_checksums):
    if fetch.__name__ == "fetch_cifar100":
        pytest.skip("no figure was measured on it")
    data = fetch(data_home=REAL)
    X = data.data if "data" in data else data.X_train
    assert X.shape == ROWS[fetch.__name__]
    if "target" in data:
        assert np.sum(data.target == -1) == ANOMALIES[fetch.__name__]


@pytest.mark.slow
@needs_real_files
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "name", [file[len("features/") : -len(".npz")] for file in CHECKSUMS if "features/" in file]
)
def test_real_features_are_those_of_the_published_figures(name, real_checksums):
    data = datasets.load_features(name, data_home=REAL)
    assert data.data.shape == (len(data.target), 512)
    assert set(data.target) == {1, -1}


@pytest.mark.slow
@needs_real_files
def test_real_adbench_sets_can_be_read():
    names = set()
    for name, X, y in datasets.load_adbench(REAL):
        names.add(name)
        assert len(X) == len(y) and np.isfinite(X).all()
        assert set(y) == {1, -1}
    assert len(names) >= 1
