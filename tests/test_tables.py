"""Data frames of any library as numbers."""

import datetime
import warnings
from decimal import Decimal

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_hrn import (
    TableEncoder,
    likelihood_ratios,
    make_hrn_pipeline,
    shuffled_columns_score,
)
from sklearn_hrn.exceptions import NumbersAsTextWarning, RowCounterWarning
from sklearn_hrn.inspection import feature_attribution, nearest_normal

ROWS = {
    "amount": [1.5, 2.0, None, 4.0],
    "count": [1, 2, 3, 4],
    "flag": [True, False, True, True],
    "colour": ["red", "blue", None, "red"],
    "day": [datetime.datetime(2020, 1, 1 + i) for i in (0, 1, 2, 3)],
    "key": ["a", "b", "c", "d"],
}
LIBRARIES = {
    "pandas": lambda rows: pytest.importorskip("pandas").DataFrame(rows),
    "pandas, nullable": lambda rows: pytest.importorskip("pandas").DataFrame(rows).convert_dtypes(),
    "pandas, Arrow": lambda rows: (
        pytest.importorskip("pyarrow")
        and pytest.importorskip("pandas").DataFrame(rows).convert_dtypes(dtype_backend="pyarrow")
    ),
    "polars": lambda rows: pytest.importorskip("polars").DataFrame(rows),
    "PyArrow": lambda rows: pytest.importorskip("pyarrow").table(rows),
}
NAMES = ["amount", "count", "flag", "colour_red", "colour_surprise", "day"]
EXPECTED = np.array(
    [
        [1.5, 1, 1, 1, 0, 18262, 0],
        [2, 2, 0, 0, 0, 18263, 0],
        [2, 3, 1, 0, 0, 18264, 0],
        [4, 4, 1, 1, 0, 18265, 0],
    ]
)


@pytest.fixture(params=sorted(LIBRARIES))
def frame(request):
    return LIBRARIES[request.param](ROWS)


def test_frames_of_every_library_give_the_same_numbers(frame):
    encoder = TableEncoder().fit(frame)
    assert encoder.kinds_ == ["number", "number", "number", "category", "date", "category"]
    np.testing.assert_allclose(encoder.transform(frame), EXPECTED)
    assert list(encoder.get_feature_names_out()) == [*NAMES, "key_surprise"]


LABELS = (1, 1, 1, -1)


def scores(X, y=None):
    recipe = make_hrn_pipeline("tabular", random_state=0)
    recipe.set_params(hrn__max_updates=3, hrn__contamination=0.5)
    return recipe.fit(X, y).score_samples(X)


@pytest.fixture(scope="module")
def scores_of_lists():
    """Scores of the rows as lists, without labels and with them."""
    rows = list(map(list, zip(*ROWS.values(), strict=True)))
    return scores(rows), scores(rows, LABELS)


def test_the_tabular_recipe_takes_frames_of_every_library(frame, scores_of_lists):
    without, with_labels = scores_of_lists
    assert np.array_equal(scores(frame), without)
    assert np.array_equal(scores(frame, LABELS), with_labels)
    assert not np.array_equal(without, with_labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool])
def test_numbers_without_gaps_pass_bit_for_bit(dtype):
    X = np.random.default_rng(0).normal(size=(5, 3)).astype(dtype)
    assert TableEncoder().fit(X).transform(X) is X
    held = sparse.csr_array(X.astype(float))
    assert abs(TableEncoder().fit_transform(held) - held).nnz == 0


def test_what_training_never_held_is_far_from_all_it_held():
    X = [[1.0, "a"], [2.0, "b"], [3.0, "a"], [4.0, "b"]]
    encoder = TableEncoder().fit(X)
    known = encoder.transform(X)
    unknown = encoder.transform([[None, "a"], [2.0, "c"], [2.0, None]])
    assert unknown[0, 0] == 4 + 10 * 3
    assert (unknown[1:, -1] == 2 * np.log(5)).all()
    assert known[:, -1].max() == 0


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_a_first_gap_is_far_from_a_column_of_one_number_in_its_units(form):
    X = form([[200.0, 0.0, -200.0]] * 2)
    np.testing.assert_allclose(TableEncoder().fit(X).fill_, [2200, 10, 1800])


def test_a_rare_category_is_a_surprise_and_a_new_one_as_much_as_new_ones_were_rare():
    X = [["a"]] * 96 + [["b"]] * 2 + [["c"], ["d"]]
    encoder = TableEncoder().fit(X)
    surprise = encoder.transform([["a"], ["b"], ["c"], ["e"]])[:, -1]
    assert np.allclose(surprise, np.log([1, 2.5, 5, 50]))


def test_a_new_identifier_says_no_more_than_a_known_one():
    keys = [[f"key {i}", i % 5] for i in range(50)]
    encoder = TableEncoder().fit(keys)
    known, new = encoder.transform(keys), encoder.transform([["another key", 3]])
    assert known.shape == (50, 2)
    assert (known[:, 0] == new[0, 0]).all()


def test_anomalies_teach_no_category(frame):
    encoder = TableEncoder().fit(frame, [1, -1, 1, -1])
    assert "blue" not in encoder.surprise_[3]
    assert encoder.categories_[3] == []
    assert encoder.fill_[0] == 1.5


def test_only_the_most_frequent_categories_have_a_column_of_their_own():
    values = [[f"c{i:02}"] for i in range(30) for _ in range(i + 2)]  # the last in the alphabet
    names = TableEncoder().fit(values).get_feature_names_out()
    assert list(names) == [f"x0_c{i:02}" for i in range(29, 19, -1)] + ["x0_surprise"]


def test_names_differ_whatever_the_categories_are_called():
    X = [["surprise"], ["surprise"], ["a"], ["a"]]
    names = TableEncoder().fit(X).get_feature_names_out()
    assert list(names) == ["x0_a", "x0_surprise", "x0_surprise_"]


def test_names_reach_the_output_frame():
    frame = LIBRARIES["pandas"](ROWS)
    out = TableEncoder().set_output(transform="pandas").fit_transform(frame)
    assert list(out.columns) == [*NAMES, "key_surprise"]


def test_categories_of_numbers_and_a_column_of_gaps():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": pandas.Categorical([1, 2, 1]), "b": [None, None, None]})
    encoder = TableEncoder().fit(frame)
    assert encoder.kinds_ == ["category", "number"]
    later = pandas.DataFrame({"a": [1, 2, 1], "b": [None, None, None]})
    np.testing.assert_array_equal(encoder.transform(later), encoder.transform(frame))


def test_numbers_and_dates_among_objects():
    X = np.array(
        [
            [Decimal("1.5"), datetime.date(1970, 1, 2), datetime.timedelta(hours=12)],
            [np.float32(2), datetime.datetime(1970, 1, 3, tzinfo=datetime.UTC), None],
        ],
        dtype=object,
    )
    encoder = TableEncoder().fit(X)
    assert encoder.kinds_ == ["number", "date", "date"]
    np.testing.assert_allclose(encoder.transform(X), [[1.5, 1, 0.5], [2, 2, 0.5]])
    east = datetime.timezone(datetime.timedelta(hours=6))
    X[1, 1] = datetime.datetime(1970, 1, 3, tzinfo=east)  # where the day begins earlier
    np.testing.assert_allclose(encoder.transform(X)[:, 1], [1, 1.75])


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        ([[1], [2]], TypeError, r"'b' .*holds a list.*leave it out"),
        ([1.0, np.inf], ValueError, "'b' holds infinity: put a gap"),
        ([1j, 2j], TypeError, r"'b' \(complex128\) holds a complex"),
    ],
)
def test_a_column_that_cannot_be_taken_is_named(column, error, message):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(error, match=message):
        TableEncoder().fit(pandas.DataFrame({"a": [1, 2], "b": column}))


def test_a_column_that_changes_its_kind_is_named():
    pandas = pytest.importorskip("pandas")
    encoder = TableEncoder().fit(pandas.DataFrame({"a": [1, 2]}))
    with pytest.raises(TypeError, match="column 'a' held numbers in fit, but now holds text"):
        encoder.transform(pandas.DataFrame({"a": ["x", "y"]}))


def test_names_that_occur_twice_are_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="more than one column 'a'"):
        TableEncoder().fit(pandas.DataFrame([[1, 2]], columns=["a", "a"]))


def test_one_row_of_a_plain_frame_is_what_it_is_among_others_and_errors_keep_their_names():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "c": [True, False, True]})
    encoder = TableEncoder().fit(table)
    whole = encoder.transform(table)
    assert whole.dtype == np.float64 and whole.flags.c_contiguous
    for i in range(3):
        assert np.array_equal(encoder.transform(table.iloc[i : i + 1]), whole[i : i + 1])
    whole[:] = -1
    assert table["a"].tolist() == [1, 2, 3]  # what comes out is no view of the frame
    gap = encoder.transform(table.assign(b=[np.nan, 1.5, 2.5]))
    assert gap[0, 1] == encoder.fill_[1]
    with pytest.raises(ValueError, match="'b' holds infinity"):
        encoder.transform(table.assign(b=np.inf))
    with pytest.raises(TypeError, match="'a' held numbers"):
        encoder.transform(table.assign(a=table["a"].astype("category")))
    with pytest.raises(ValueError, match="should match those that were passed"):
        encoder.transform(table[["b", "a", "c"]])
    with pytest.raises(ValueError, match="at least a row"):
        encoder.transform(table.iloc[:0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_array_that_shows_no_gap_at_a_glance_is_still_looked_at(bad):
    X = np.random.default_rng(0).normal(size=(20, 3))
    recipe = make_hrn_pipeline("tabular", random_state=0).set_params(
        hrn__max_updates=2, calibration=None
    )
    recipe.fit(X)
    X[3, 1] = bad
    if np.isnan(bad):  # a first gap, which the encoder places far above all numbers
        assert recipe["columns"].transform(X)[3, 1] == recipe["columns"].fill_[1]
        return
    with pytest.raises(ValueError, match="inf"):
        recipe.score_samples(X)


@pytest.mark.parametrize("later", [[1, 2, 3], [1.5, np.nan, 2.0], "datetime", "array", "sparse"])
def test_text_that_has_become_numbers_or_dates_is_named(later):
    pandas = pytest.importorskip("pandas")
    encoder = TableEncoder().fit(pandas.DataFrame({"a": ["1", "2", "1"], "b": [1, 2, 3]}))
    frame = pandas.DataFrame({"a": [0, 1, 2], "b": [1, 2, 3]})
    if later == "datetime":
        frame["a"] = pandas.to_datetime(["2020-01-01"] * 3)
    elif later == "array":
        frame = np.ones((3, 2))
    elif later == "sparse":
        frame = sparse.csr_matrix(np.ones((3, 2)))
    else:
        frame["a"] = later
    now = "dates" if later == "datetime" else "numbers"
    with pytest.raises(TypeError, match=f"column 'a' held text .*but now holds {now}"):
        encoder.transform(frame)


def test_a_column_of_text_that_has_become_gaps_alone_is_a_gap():
    pandas = pytest.importorskip("pandas")
    encoder = TableEncoder().fit(pandas.DataFrame({"a": ["x", None, "x"]}))
    gaps = [encoder.transform(pandas.DataFrame({"a": [gap]})) for gap in (None, np.nan)]
    np.testing.assert_array_equal(*gaps)


@pytest.mark.parametrize("container", ["frame", "array", "list", "bytes"])
def test_text_that_reads_as_numbers_is_doubted(container):
    pandas = pytest.importorskip("pandas")
    values = [*(f"{x:.2f}" for x in np.linspace(0, 1, 30)), "?", "?"]
    X = pandas.DataFrame({"a": np.arange(32), "b": values})
    if container == "bytes":
        X["b"] = [value.encode() for value in values]
    X = {"frame": X, "list": X.to_numpy().tolist()}.get(container, X.to_numpy())
    name = "'b'" if container == "frame" else "1"
    with pytest.warns(NumbersAsTextWarning, match=f"column {name} are text.*to_numeric"):
        TableEncoder().fit(X)
    with pytest.warns(NumbersAsTextWarning) as said:
        make_hrn_pipeline("tabular", random_state=0).set_params(
            outlier_share=0.1, hrn__max_updates=2, hrn__contamination=0.1
        ).fit(X)
    assert [w.category for w in said].count(NumbersAsTextWarning) == 1


@pytest.mark.parametrize(
    ("what", "form"),
    [
        *(("numbers", form) for form in ("{:.0f},250", "{:.1f}%", "$1,{:03.0f}.50", "{:.2f} €")),
        *(
            ("numbers", form)
            for form in ("-1 {:03.0f}", "{:.0f},5", "1.234.{:03.0f},5", "1'{:03.0f}")
        ),
        *(("dates", form) for form in ("2024-03-{:02.0f}", "{:02.0f}/03/2024", "{:02.0f}.3.24")),
        *(("dates", form) for form in ("2024-03-{:02.0f}T12:00", "2024/3/{:.0f}", "12:{:02.0f}")),
    ],
)
def test_text_that_reads_as_numbers_or_dates_in_other_forms_is_doubted(what, form):
    values = [form.format(x) for x in range(1, 29)]
    with pytest.warns(NumbersAsTextWarning, match=f"reads as {what}.*make {what} of them"):
        TableEncoder().fit([[value] for value in values])


@pytest.mark.parametrize("gap", [np.nan, None])
@pytest.mark.parametrize("kind", ["date", "category", "number"])
def test_a_column_of_nothing_but_gaps_may_follow_any_other(kind, gap):
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-01", periods=20)
    column = {"date": days, "category": list("ab" * 10), "number": np.arange(20)}[kind]
    encoder = TableEncoder().fit(pandas.DataFrame({"a": column}))
    expected = pandas.DataFrame({"a": column}).astype(object)[:3]
    expected["a"] = None
    rows = pandas.DataFrame({"a": [gap] * 3}, dtype=None if gap is None else float)
    np.testing.assert_array_equal(encoder.transform(rows), encoder.transform(expected))


@pytest.mark.parametrize("dtype", ["float64", "object", "string", "datetime64[ns, UTC]"])
@pytest.mark.parametrize("value", ["words", "day", "moment"])
def test_anything_may_follow_a_column_of_nothing_but_gaps_and_is_strange(dtype, value):
    pandas = pytest.importorskip("pandas")
    values = {"words": "failed", "day": datetime.date(2026, 1, 1)}
    values["moment"] = pandas.Timestamp("2026-01-01", tz="Europe/Berlin")
    empty = pandas.DataFrame({"a": pandas.Series([None] * 20, dtype=dtype)})
    encoder = TableEncoder().fit(empty)
    assert not encoder.transform(empty).any()
    later = pandas.DataFrame({"a": [values[value], None, values[value]]})
    never = 2 * np.log(21)
    np.testing.assert_allclose(encoder.transform(later)[:, 0], [never, 0, never])


@pytest.mark.parametrize(
    "kind", ["few", "words", "gaps in words", "categorical", "numbers", "codes"]
)
def test_categories_are_not_doubted(kind):
    pandas = pytest.importorskip("pandas")
    column = {
        "few": ["1", "2"] * 20,
        "words": ["a", *map(str, range(19))] + [f"w{i}" for i in range(8)],  # 19 of 28
        "gaps in words": [*map(str, range(20)), *["nan", "inf"] * 4],
        "categorical": pandas.Categorical(list(map(str, range(40)))),
        "numbers": np.arange(40.0),
        "codes": [f"{form}{i}" for i in range(9) for form in ("#", "10.0.0.", "v1-", "$x", "12:")],
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TableEncoder().fit(pandas.DataFrame({"a": column}))


def test_periods_and_times_of_day_are_dates():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "a": pandas.period_range("1970-01", periods=2, freq="M"),
            "b": [datetime.time(6), datetime.time(18, 30, 20, 500_000)],
        }
    )
    encoder = TableEncoder().fit(frame)
    assert encoder.kinds_ == ["date", "date"]
    np.testing.assert_allclose(
        encoder.transform(frame), [[0, 0.25], [31, 66_620.5 / 86_400]], rtol=1e-9
    )


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, "object"])
def test_an_infinite_value_of_an_array_is_named_with_its_column_and_a_remedy(form):
    X = np.zeros((5, 3))
    X[2, 1] = -np.inf
    X = X.astype(object) if form == "object" else form(X)
    with pytest.raises(ValueError, match="column 1 holds infinity: put a gap"):
        TableEncoder().fit(X)


@pytest.mark.parametrize("kind", ["Array", "Struct"])
def test_a_column_of_several_values_a_row_is_named(kind):
    polars = pytest.importorskip("polars")
    values = {
        "Array": polars.Series([[1, 2]] * 3, dtype=polars.Array(polars.Int64, 2)),
        "Struct": polars.Series([{"x": 1, "y": 2}] * 3),
    }[kind]
    with pytest.raises(TypeError, match=r"column 'b' \(.*several values a row: make columns"):
        TableEncoder().fit(polars.DataFrame({"a": [1, 2, 3], "b": values}))


MOMENTS = [datetime.datetime(2020, 1, 1 + i) for i in range(3)]


def _moments(library, zone):
    """A column of moments, of a time zone or of none."""
    pandas = pytest.importorskip("pandas")
    column = pandas.Series(MOMENTS).dt.tz_localize(zone)
    if library == "pandas":
        return column.to_frame("a")
    if library == "objects":
        return np.array([column.tolist()], dtype=object).T
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": arrow.array(column)})
    if library == "polars":
        return pytest.importorskip("polars").from_arrow(table)
    return table if library == "Arrow" else table.to_pandas(types_mapper=pandas.ArrowDtype)


@pytest.mark.parametrize("library", ["objects", "pandas", "Arrow in pandas", "Arrow", "polars"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_moments_of_a_time_zone_and_of_none_are_not_mixed(library, zone):
    with_zone, without = _moments(library, zone), _moments(library, None)
    for first, other, words in [
        (with_zone, without, "without a time zone, but in fit with a time zone"),
        (without, with_zone, "with a time zone, but in fit without a time zone"),
    ]:
        encoder = TableEncoder().fit(first)
        assert encoder.kinds_ == ["date"]
        expected = encoder.transform(first)
        with pytest.raises(TypeError, match=f"column (0|'a') holds moments {words}: give all"):
            encoder.transform(other)
        np.testing.assert_array_equal(encoder.transform(first), expected)
        # Days have no zone, and a gap has none.
        for neutral in (datetime.date(2020, 1, 1), None):
            rows = np.array([[neutral]], dtype=object)
            frame = pytest.importorskip("pandas").DataFrame(rows, columns=["a"])
            encoder.transform(rows if library == "objects" else frame)


def test_moments_with_and_without_a_time_zone_in_one_column_are_refused():
    aware = [moment.replace(tzinfo=datetime.UTC) for moment in MOMENTS]
    X = np.array([[*MOMENTS, *aware]], dtype=object).T
    with pytest.raises(TypeError, match="column 0 holds moments with a time zone beside some"):
        TableEncoder().fit(X)


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_days_and_gaps_of_a_typed_column_have_no_time_zone(zone):
    pandas = pytest.importorskip("pandas")
    encoder = TableEncoder().fit(_moments("objects", zone))
    day = encoder.transform(np.array([["2020-01-01"]], dtype="datetime64[D]"))
    np.testing.assert_array_equal(day, [[(MOMENTS[0] - datetime.datetime(1970, 1, 1)).days]])
    if zone is None:
        six = encoder.transform(np.array([["2020-01-01T06"]], dtype="datetime64[s]"))
        np.testing.assert_array_equal(six, day + 0.25)
    gap = encoder.transform(np.array([[None]], dtype=object))
    moment = pandas.Timestamp(MOMENTS[0], tz=zone)
    for gaps in (np.array([["NaT"]], dtype="datetime64[ns]"), [[pandas.NaT], [moment]]):
        np.testing.assert_array_equal(encoder.transform(gaps)[:1], gap)


def test_moments_and_durations_of_numpy_among_objects_are_those_of_python():
    X = [
        [1.5, np.datetime64("1970-01-02"), np.timedelta64(12, "h")],
        [2.0, np.datetime64("1970-01-03", "ns"), np.timedelta64("NaT")],
    ]
    encoder = TableEncoder().fit(X)
    assert encoder.kinds_ == ["number", "date", "date"]
    np.testing.assert_array_equal(encoder.transform(X), [[1.5, 1, 0.5], [2, 2, 0.5]])


def test_a_gap_is_a_number_where_float64_ends():
    encoder = TableEncoder().fit(np.array([[-1.7e308], [1.7e308]]))
    assert np.isfinite(encoder.transform([[np.nan]])).all()


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (["x", "y", np.str_("x")], [b"x", b"y"]),
        (["x", "y", "x"], [b"x", None]),
        ([1, 2, 1], ["1", "2"]),
    ],
)
def test_categories_of_another_type_than_in_fit_are_named(first, later):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": pandas.Series(first, dtype="category")})
    encoder = TableEncoder().fit(frame)
    with pytest.raises(TypeError, match=r"column 'a' held categories such as .* in fit, but now"):
        encoder.transform(pandas.DataFrame({"a": later}))
    # One of them that may be known is enough: the others are strange.
    mixed = pandas.DataFrame({"a": [first[0], *later]}, dtype=object)
    assert encoder.transform(mixed)[:2, -1].tolist() == [0, encoder.unseen_[0]]


def of_lists(n_rows, seed=0):
    """Rows of a number and a word, as lists: NumPy alone would make words of the numbers."""
    rng = np.random.default_rng(seed)
    return [[float(rng.normal()), str(rng.choice(["red", "blue"]))] for _ in range(n_rows)]


@pytest.fixture(scope="module")
def of_numbers_and_words():
    recipe = make_hrn_pipeline("tabular", random_state=0)
    return recipe.set_params(calibration=None, hrn__max_updates=5).fit(of_lists(60))


def test_a_stream_of_lists_keeps_its_numbers(of_numbers_and_words):
    stream = clone(of_numbers_and_words).partial_fit(of_lists(50)).partial_fit(of_lists(60, 1))
    assert stream["columns"].kinds_ == ["number", "category"]
    whole = clone(of_numbers_and_words).fit(of_lists(50) + of_lists(60, 1))
    np.testing.assert_array_equal(
        stream.score_samples(of_lists(9)), whole.score_samples(of_lists(9))
    )


def test_lists_are_shuffled_explained_and_compared_as_the_numbers_and_words_they_hold(
    of_numbers_and_words,
):
    detector, rows = of_numbers_and_words, of_lists(30, 1)
    as_objects = np.array(rows, dtype=object)
    assert shuffled_columns_score(detector, rows) == shuffled_columns_score(detector, as_objects)
    for answer in (feature_attribution, nearest_normal):
        np.testing.assert_array_equal(answer(detector, rows), answer(detector, as_objects))
    classifier = make_pipeline(TableEncoder(), StandardScaler(), LogisticRegression())
    ratios = [likelihood_ratios(X, X, classifier=classifier) for X in (rows, as_objects)]
    np.testing.assert_array_equal(*ratios)


@pytest.mark.parametrize("container", ["frame", "array", "list", "mixed"])
@pytest.mark.parametrize("counter", ["number", "falling", "time"])
def test_a_column_that_counts_the_rows_is_told(container, counter, rng):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": rng.normal(size=40), "b": np.arange(40.0)})
    if counter == "falling":
        frame["b"] = -np.sqrt(frame["b"])
    elif counter == "time":
        frame["b"] = pandas.Timestamp("2026-12-01") + pandas.to_timedelta(frame["b"], "h")
    if container == "mixed":
        frame["c"] = ["x", "y"] * 20
    is_frame = container in ("frame", "mixed")
    X = frame if is_frame else frame.to_numpy()
    X = X.tolist() if container == "list" else X
    name = "'b'" if is_frame else "1"
    with pytest.warns(RowCounterWarning, match=f"column {name} grows, or falls"):
        TableEncoder().fit(X)
    recipe = make_hrn_pipeline("tabular", random_state=0).set_params(hrn__max_updates=2)
    with pytest.warns(RowCounterWarning) as said:
        recipe.set_params(hrn__contamination=0.1).fit(X)
    assert [w.category for w in said].count(RowCounterWarning) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda up, noise: np.c_[noise, np.r_[up[1:], up[0]]],  # one step back, the last one
        lambda up, noise: np.c_[noise, np.r_[up[1], up[1:]]],  # no step, the first one
        lambda up, noise: np.c_[noise, up][:29],
        lambda up, noise: up[:, None],
        lambda up, noise: sparse.csr_matrix(np.c_[noise, up]),
        lambda up, noise: np.c_[up % 2, up % 2].astype(bool),
        lambda up, noise: np.c_[noise, np.where(up == 7, np.nan, up)],
        lambda up, noise: [[x, f"word {chr(65 + i)}"] for i, x in enumerate(noise)],
    ],
)
def test_no_other_column_is_said_to_count_the_rows(make, rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TableEncoder().fit(make(np.arange(40.0), rng.normal(size=40)))
