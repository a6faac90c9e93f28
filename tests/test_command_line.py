"""The command line: a table in, a file and scores out."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_wine

from sklearn_hrn.__main__ import main

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


def test_what_goes_wrong_is_one_line(wine, capsys, monkeypatch):
    folder, _ = wine
    with pytest.raises(SystemExit, match="1"):
        main(["fit", f"{folder}/absent.csv", "-o", f"{folder}/detector"])
    assert "absent.csv" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="1"):
        main(["fit", f"{folder}/normal.csv", "--rate", "7", "-o", f"{folder}/detector"])
    assert "contamination" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SystemExit, match="1"):
        main(["fit", f"{folder}/normal.csv", "-o", f"{folder}/detector"])
    assert "pip install pandas" in capsys.readouterr().err
    assert not (folder / "detector").exists()
