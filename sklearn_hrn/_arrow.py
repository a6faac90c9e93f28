"""Columns of Arrow on their way to NumPy."""


def decoded(X):
    """A table or column of Arrow with its dictionaries written out, all else as it is.

    Of a column in several chunks that looks its values up in a dictionary, as categories in files
    of Parquet do, PyArrow makes an array without its gaps: each shows another row's value.
    """
    if type(X).__module__.partition(".")[0] != "pyarrow":
        return X
    if not hasattr(X, "columns"):
        is_dictionary = str(getattr(X, "type", "")).startswith("dictionary")
        return X.cast(X.type.value_type) if is_dictionary else X
    for i, column in enumerate(X.columns):
        plain = decoded(column)
        if plain is not column:
            X = X.set_column(i, X.field(i).name, plain)
    return X
