"""The command line: a table in, a file and scores out."""

import bz2
import gzip
import io
import lzma
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_wine

from sklearn_hrn import make_hrn_pipeline
from sklearn_hrn.__main__ import _as_dates, _check_header, _table, main
from sklearn_hrn.interop import trusted_types

pd = pytest.importorskip("pandas", reason="tables are read by pandas")


@pytest.fixture
def wine(tmp_path):
    """A table of one cultivar to learn from, and one of all."""
    X, cultivar = load_wine(return_X_y=True, as_frame=True)
    X = (X - X.mean()) / X.std()
    X[cultivar == 0].to_csv(tmp_path / "normal.csv", index=False)
    X.to_csv(tmp_path / "all.csv", index=False)
    return tmp_path, cultivar.to_numpy()


@pytest.mark.parametrize("name", ["detector.pkl", "detector.skops"])
def test_a_detector_is_fitted_written_and_scores_a_table(name, wine, capsys):
    folder, cultivar = wine
    if name.endswith("skops"):
        pytest.importorskip("skops", reason="needs the extra skops")
    fit = ["fit", f"{folder}/normal.csv", "--kind", "paper", "--rate", "0.05"]
    main([*fit, "-o", f"{folder}/{name}"])
    main(["score", f"{folder}/{name}", f"{folder}/all.csv", "-o", f"{folder}/scores.csv"])
    scores = pd.read_csv(folder / "scores.csv")
    assert len(scores) == len(cultivar)
    assert set(scores["label"]) == {-1, 1}
    normal = scores[cultivar == 0]
    assert (normal["label"] == -1).sum() == np.ceil(0.05 * len(normal))
    assert normal["score"].median() > scores[cultivar == 2]["score"].median()
    main(["score", f"{folder}/{name}", f"{folder}/all.csv"])
    assert capsys.readouterr().out.splitlines()[0] == "score,label"


def test_a_warning_is_a_line_that_names_no_file_of_python(wine):
    folder, _ = wine
    fit = ["fit", folder / "normal.csv", "--rate", "0.001", "-o", folder / "detector.pkl"]
    run = subprocess.run(
        [sys.executable, "-m", "sklearn_hrn", *fit], capture_output=True, text=True, check=True
    )
    assert (
        run.stderr.startswith("ResolutionWarning: 59 normal rows") and "contamination" in run.stderr
    )
    assert "runpy" not in run.stderr and len(run.stderr.splitlines()) == 1


def test_what_is_left_out_is_the_tabular_recipe_seed_0_one_per_cent_and_no_rows_kept(
    wine, monkeypatch
):
    folder, _ = wine
    made = []

    def make(kind, random_state):
        made.append((kind, random_state))
        return make_hrn_pipeline(kind, random_state=random_state).set_params(hrn__max_updates=2)

    monkeypatch.setattr("sklearn_hrn.__main__.make_hrn_pipeline", make)
    for options in ([], ["--seed", "3", "--rate", "0.2"]):
        main(["fit", f"{folder}/normal.csv", *options, "-o", f"{folder}/detector"])
        detector = pickle.loads((folder / "detector").read_bytes())
        assert detector.get_params()["hrn__contamination"] == (0.2 if options else 0.01)
        assert not hasattr(detector, "reference_rows_")
    assert made == [("tabular", 0), ("tabular", 3)]


def test_labels_and_p_values_are_those_of_the_detector(wine):
    folder, _ = wine
    table = pd.read_csv(folder / "all.csv")
    table[:59].to_csv(folder / "normal.csv", index=False)
    detector = make_hrn_pipeline("tabular", random_state=0).fit(table[:59])
    detector._offset = detector.score_samples(table)[100]  # a row on the threshold is normal
    (folder / "detector.pkl").write_bytes(pickle.dumps(detector))
    main(["score", f"{folder}/detector.pkl", f"{folder}/all.csv", "-o", f"{folder}/scores.csv"])
    scores = pd.read_csv(folder / "scores.csv")
    assert scores["label"][100] == 1
    assert np.array_equal(scores["label"], detector.predict(table))
    assert np.allclose(scores["p_value"], detector.p_values(table))


@pytest.mark.parametrize("name", ["graph.onnx", "GRAPH.ONNX"])
def test_a_graph_is_written_and_not_read(name, wine, capsys):
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    folder, _ = wine
    main(["fit", f"{folder}/normal.csv", "--kind", "paper", "-o", f"{folder}/{name}"])
    graph = onnx.load(folder / name).graph
    assert [output.name for output in graph.output] == ["label", "decision", "score"]
    assert "is a graph of ONNX" in refused(
        ["score", f"{folder}/{name}", f"{folder}/all.csv"], capsys
    )


def test_a_package_for_the_file_is_looked_for_before_the_work(wine, capsys, monkeypatch):
    folder, _ = wine
    monkeypatch.setitem(sys.modules, "skops.io", None)
    monkeypatch.setattr("sklearn_hrn.__main__.make_hrn_pipeline", None)
    command = ["fit", f"{folder}/normal.csv", "-o", f"{folder}/detector.skops"]
    assert "pip install 'sklearn-hrn[skops]'" in refused(command, capsys)


def test_what_goes_wrong_is_one_line(wine, capsys, monkeypatch):
    folder, _ = wine
    with pytest.raises(SystemExit, match="1"):
        main(["fit", f"{folder}/absent.csv", "-o", f"{folder}/detector"])
    assert "absent.csv" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="1"):
        main(["fit", f"{folder}/normal.csv", "--rate", "7", "-o", f"{folder}/detector"])
    assert "--rate must be" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SystemExit, match="1"):
        main(["fit", f"{folder}/normal.csv", "-o", f"{folder}/detector"])
    assert "pip install pandas" in capsys.readouterr().err
    assert not (folder / "detector").exists()


def refused(arguments, capsys):
    """What a command says that ends with the code 1."""
    with pytest.raises(SystemExit, match="1"):
        main(arguments)
    return capsys.readouterr().err


@pytest.fixture
def fitted(wine):
    folder, _ = wine
    main(["fit", f"{folder}/normal.csv", "--kind", "paper", "-o", f"{folder}/detector.pkl"])
    return folder


BROKEN = {
    "empty.pkl": b"",
    "cut.pkl": b"\x80\x04garbage",
    "dictionary.pkl": pickle.dumps({"a": 1}),
    "unfitted.pkl": pickle.dumps(make_hrn_pipeline("paper")),
    "archive.skops": b"PK garbage",
    "graph.onnx": b"\x08",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_detector_is_named(name, fitted, capsys):
    if name.endswith("skops"):
        pytest.importorskip("skops", reason="needs the extra skops")
    (fitted / name).write_bytes(BROKEN[name])
    assert name in refused(["score", f"{fitted}/{name}", f"{fitted}/all.csv"], capsys)


ROWS = b"a,b\n" + b"1,2\n" * 9
# Without the time, as these are names of tests.
COMPRESSED = {
    ".gz": gzip.compress(ROWS, mtime=0),
    ".bz2": bz2.compress(ROWS),
    ".xz": lzma.compress(ROWS),
}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.csv", b""),
        ("other.csv", "a\n\xe4\n".encode("utf-16")),
        ("broken.csv", b"a,b\n1,2\n1,2,3\n"),
        ("broken.parquet", b"PAR1"),
        ("no_rows.csv", b"a,b\n"),
        ("names_missing.csv", b"a,b\n1,2,3\n4,5,6\n"),
        *((f"cut.csv{ending}", data[:-4]) for ending, data in COMPRESSED.items()),
        *((f"text.csv{ending}", b"a,b\n") for ending in COMPRESSED),
    ],
)
def test_a_file_that_is_no_table_is_named(name, data, fitted, capsys):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="pandas reads Parquet by it")
    (fitted / name).write_bytes(data)
    assert name in refused(["score", f"{fitted}/detector.pkl", f"{fitted}/{name}"], capsys)


def test_a_column_of_another_kind_is_named(fitted, capsys):
    table = pd.read_csv(fitted / "normal.csv").iloc[:, :2]
    table.to_csv(fitted / "two.csv", index=False)
    main(["fit", f"{fitted}/two.csv", "--rate", "0.1", "-o", f"{fitted}/two.pkl"])
    table.assign(alcohol="much").to_csv(fitted / "words.csv", index=False)
    told = refused(["score", f"{fitted}/two.pkl", f"{fitted}/words.csv"], capsys)
    assert "'alcohol' held numbers in fit" in told


def test_words_that_read_as_numbers_or_dates_in_a_few_rows_are_words(tmp_path, capsys):
    column = ["12", "A7", "2024-01-01"] * 20
    table = pd.DataFrame({"size": np.arange(60) % 7, "code": column})
    table.to_csv(tmp_path / "all.csv", index=False)
    main(["fit", f"{tmp_path}/all.csv", "--rate", "0.1", "-o", f"{tmp_path}/detector.pkl"])
    capsys.readouterr()

    def scores(rows):
        rows.to_csv(tmp_path / "rows.csv", index=False)
        main(["score", f"{tmp_path}/detector.pkl", f"{tmp_path}/rows.csv"])
        return pd.read_csv(io.StringIO(capsys.readouterr().out))["score"].to_numpy()

    together = scores(table)
    for k in range(3):
        np.testing.assert_allclose(scores(table[k::3]), together[k::3])


def test_a_column_of_a_long_table_is_of_one_type(tmp_path):
    n_rows = 2**19  # more than pandas takes at a time
    (tmp_path / "long.csv").write_text("code\n" + "12\n" * n_rows + "A7\n")
    assert isinstance(_table(tmp_path / "long.csv")["code"][0], str)


@pytest.mark.parametrize("output", ["detector.pkl", "all.csv", "absent/scores.csv", ""])
def test_an_output_that_is_an_input_or_has_no_folder_is_refused_before_the_work(
    output, fitted, capsys
):
    before = {path: path.read_bytes() for path in fitted.iterdir()}
    command = ["score", f"{fitted}/detector.pkl", f"{fitted}/all.csv", "-o", f"{fitted}/{output}"]
    assert output in refused(command, capsys)
    assert {path: path.read_bytes() for path in fitted.iterdir()} == before


def test_the_folder_of_a_detector_is_looked_for_before_it_is_fitted(wine, capsys, monkeypatch):
    folder, _ = wine
    monkeypatch.setattr("sklearn_hrn.__main__.make_hrn_pipeline", None)
    command = ["fit", f"{folder}/normal.csv", "-o", f"{folder}/absent/detector.pkl"]
    assert "no folder" in refused(command, capsys)
    assert "is a folder: give" in refused([*command[:-1], f"{folder}"], capsys)


def test_what_is_written_follows_from_a_name_in_capitals_too(fitted):
    files = pytest.importorskip("skops.io", reason="needs the extra skops")
    pytest.importorskip("pyarrow", reason="pandas writes Parquet by it")
    table = pd.read_csv(fitted / "normal.csv")
    table.to_parquet(fitted / "NORMAL.PARQUET")
    fit = ["fit", f"{fitted}/NORMAL.PARQUET", "--kind", "paper"]
    main([*fit, "-o", f"{fitted}/DETECTOR.SKOPS"])
    detector = files.load(fitted / "DETECTOR.SKOPS", trusted=trusted_types())
    score = ["score", f"{fitted}/DETECTOR.SKOPS", f"{fitted}/normal.csv"]
    main([*score, "-o", f"{fitted}/scores.Parquet"])
    scores = pd.read_parquet(fitted / "scores.Parquet")
    assert np.array_equal(scores["score"], detector.score_samples(table))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_table_of_other_separators_is_refused(wine, separator, capsys):
    folder, _ = wine
    pd.read_csv(folder / "normal.csv").to_csv(folder / "other.csv", sep=separator, index=False)
    with pytest.raises(SystemExit) as told:
        main(["fit", f"{folder}/other.csv", "-o", f"{folder}/detector"])
    assert told.value.code == 1
    assert "cells must be separated by commas" in capsys.readouterr().err
    assert not (folder / "detector").exists()
    command = ["fit", f"{folder}/other.tsv", "-o", f"{folder}/detector"]
    (folder / "other.csv").rename(folder / "other.tsv")
    if separator != "\t":
        assert "cells must be separated by tabs" in refused(command, capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"header": False}, "taken for the names of the columns"), ({"index": True}, "has no name")],
)
def test_a_first_line_or_column_that_is_no_name_is_doubted(wine, options, words):
    folder, _ = wine
    table = pd.read_csv(folder / "normal.csv")
    table.to_csv(folder / "other.csv", **{"index": False, **options})
    with pytest.warns(UserWarning, match=words):
        main(["fit", f"{folder}/other.csv", "--kind", "paper", "-o", f"{folder}/detector"])


def test_names_of_several_columns_may_hold_what_separates_cells_elsewhere():
    _check_header("table.csv", ["weight|kg", "a; b"], ",")
    _check_header("table.csv", ["weight, kg"], ",")  # in quotes


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.%fZ"])
def test_text_of_dates_is_read_as_dates(form, tmp_path):
    days = pd.date_range("2024-01-01", periods=60).strftime(form).tolist()
    table = pd.DataFrame({"day": days, "x": np.arange(60) % 7})
    table.loc[3, "day"] = None
    table.to_csv(tmp_path / "days.csv", index=False)
    main(["fit", f"{tmp_path}/days.csv", "--rate", "0.05", "-o", f"{tmp_path}/detector"])
    detector = pickle.loads((tmp_path / "detector").read_bytes())
    assert detector["columns"].kinds_ == ["date", "number"]
    # A day far off is strange, and one that is missing is none.
    fresh = pd.DataFrame({"day": [days[30], "2031" + days[30][4:], None], "x": 3})
    for rows in (fresh, fresh[2:]):
        rows.to_csv(tmp_path / "fresh.csv", index=False)
        main(["score", f"{tmp_path}/detector", f"{tmp_path}/fresh.csv", "-o", f"{tmp_path}/s.csv"])
        assert pd.read_csv(tmp_path / "s.csv")["label"].tolist() == [1, -1, 1][-len(rows) :]


def test_moments_of_several_zones_are_read_in_utc():
    moments = pd.Series(["2024-01-01 12:00+01:00", "2024-01-01T12:00Z", None])
    read = _as_dates(moments)
    assert read[:2].dt.tz_localize(None).dt.hour.tolist() == [11, 12] and read.isna()[2]


@pytest.mark.parametrize("odd", ["2024-02-30", "soon", "2024-01-01T00:00Z", "7"])
@pytest.mark.parametrize("at", [0, 5])
def test_a_column_that_is_not_of_dates_alone_stays_text(odd, at):
    days = pd.date_range("2024-01-01", periods=5).strftime("%Y-%m-%d").tolist()
    days = pd.Series([*days[:at], odd, *days[at:]])
    assert _as_dates(days) is days


def test_scores_do_not_take_the_place_of_their_detector(tmp_path, capsys):
    for name in ("detector", "TABLE.CSV.GZ"):
        (tmp_path / name).write_bytes(b"as it was")
    command = ["score", f"{tmp_path}/detector", f"{tmp_path}/TABLE.CSV.GZ", "-o"]
    assert "would be overwritten" in refused([*command, f"{tmp_path}/detector"], capsys)
    assert (tmp_path / "detector").read_bytes() == b"as it was"


def test_a_half_is_a_rate(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["fit", f"{tmp_path}/none.csv", "--rate=0.5", "-o", f"{tmp_path}/detector"])
    told = capsys.readouterr().err
    assert "none.csv" in told and "--rate" not in told


@pytest.mark.parametrize("rate", ["0", "0.6", "nan", "-1", "inf"])
def test_a_rate_that_is_none_is_refused_before_the_table_is_read(rate, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["fit", f"{tmp_path}/none.csv", f"--rate={rate}", "-o", f"{tmp_path}/detector"])
    assert "--rate must be above 0 and at most 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.xlsx", "x.json", "x.csv.gz", "x.parquet.gz"])
def test_a_table_is_what_its_name_says_or_is_refused_before_the_work(
    name, fitted, capsys, monkeypatch
):
    monkeypatch.setattr("sklearn_hrn.__main__.pickle.loads", None)
    monkeypatch.setattr("sklearn_hrn.__main__.make_hrn_pipeline", None)
    score = ["score", f"{fitted}/detector.pkl"]
    told = refused([*score, f"{fitted}/normal.csv", "-o", f"{fitted}/{name}"], capsys)
    assert f"{name} ends in .{name.split('.')[-1]}, but tables are .csv, .tsv or .parquet" in told
    assert not (fitted / name).exists()
    if not name.endswith("csv.gz"):  # which is read
        for command in (score, ["fit", "-o", f"{fitted}/other.pkl"]):
            assert "tables are .csv" in refused([*command, f"{fitted}/{name}"], capsys)


@pytest.mark.parametrize("name", ["x.tsv", "x.TSV", "x.csv.gz", "x.tsv.bz2", "x", "x.parquet"])
def test_tables_of_every_name_that_is_taken_give_the_same_scores(name, fitted):
    table, kind = pd.read_csv(fitted / "normal.csv"), name.lower()
    if kind.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="pandas writes Parquet by it")
        table.to_parquet(fitted / name)
    else:
        table.to_csv(fitted / name, sep="\t" if ".tsv" in kind else ",", index=False)
    score = ["score", f"{fitted}/detector.pkl"]
    main([*score, f"{fitted}/normal.csv", "-o", f"{fitted}/scores.csv"])
    main([*score, f"{fitted}/{name}", "-o", f"{fitted}/scores.tsv"])
    expected = pd.read_csv(fitted / "scores.csv")
    pd.testing.assert_frame_equal(pd.read_csv(fitted / "scores.tsv", sep="\t"), expected)


def test_a_detector_is_not_written_into_a_table(fitted, capsys, monkeypatch):
    monkeypatch.setattr("sklearn_hrn.__main__.make_hrn_pipeline", None)
    command = ["fit", f"{fitted}/normal.csv", "-o", f"{fitted}/all.csv"]
    assert "has the name of a table" in refused(command, capsys)
