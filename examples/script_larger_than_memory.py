"""
========================
Rows larger than memory
========================

Ten million rows of thirty columns need not be in memory to be learned from: they are read from a
file in chunks, and :meth:`~sklearn_hrn.OneClassPipeline.partial_fit` takes one after the other.
What is kept is the detector, and two thousand scores for its threshold.

.. code-block:: console

    python examples/script_larger_than_memory.py 10000000

writes a file of 1.2 GB into a folder that is gone afterwards, learns from it, and tells of rows a
second and of the largest memory the process has had. Without a number the file has 300 000 rows.
"""

# sphinx_gallery_thumbnail_path = "images/chunks.svg"
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.preprocessing import StandardScaler

from sklearn_hrn import FourierFeatures, HRNOneClassClassifier, OneClassPipeline

N_ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
N_COLUMNS, CHUNK = 30, 50_000

# %%
# A file
# ------
#
# Normal rows follow eight factors. Each chunk of the file is mapped by itself, so that what was
# read does not stay. Of a Parquet file, ``pyarrow.parquet.ParquetFile(path).iter_batches(CHUNK)``
# gives batches, whose ``to_pandas()`` takes the place of a chunk.

rng = np.random.default_rng(0)
factors = rng.normal(size=(8, N_COLUMNS)).astype(np.float32)


def drawn(n):
    noise = 0.3 * rng.standard_normal((n, N_COLUMNS), dtype=np.float32)
    return rng.standard_normal((n, 8), dtype=np.float32) @ factors + noise


def chunks(path):
    for start in range(0, N_ROWS, CHUNK):
        n_rows = min(CHUNK, N_ROWS - start)
        offset = 4 * N_COLUMNS * start
        yield np.memmap(path, np.float32, "r", offset=offset, shape=(n_rows, N_COLUMNS))


# %%
# One pass
# --------
#
# The scaler goes on learning from chunk to chunk; the lift to Fourier features stays as the first
# has made it.

detector = OneClassPipeline(
    [
        ("scale", StandardScaler()),
        ("lift", FourierFeatures(200, random_state=0)),
        ("hrn", HRNOneClassClassifier(100, preconditioning=10.0, random_state=0)),
    ]
)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "rows.f32"
    with path.open("wb") as file:
        for start in range(0, N_ROWS, CHUNK):
            drawn(min(CHUNK, N_ROWS - start)).tofile(file)
    begin = time.perf_counter()
    for rows in chunks(path):
        detector.partial_fit(rows)
    seconds = time.perf_counter() - begin
print(f"{N_ROWS:,} rows in {seconds:.0f} s of one pass: {N_ROWS / seconds:,.0f} rows a second")

fresh = drawn(5000)
strange = rng.permuted(drawn(5000), axis=0)  # columns that do not belong together
false_alarms, found = ((detector.predict(rows) == -1).mean() for rows in (fresh, strange))
print(f"asked for 1 % false alarms: {false_alarms:.1%} of 5000 fresh rows; found: {found:.1%}")
try:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak /= 2**30 if sys.platform == "darwin" else 2**20  # bytes there, kilobytes elsewhere
    print(f"largest memory of the process: {peak:.2f} GB")
except ImportError:
    print("the largest memory of a process is not told on this system")
