"""Local copies: where they are, and whether they are what they should be."""

import hashlib
import os
import warnings
from pathlib import Path

VARIABLE = "SKLEARN_HRN_DATA"

# SHA-256 of the copies that the published figures of this package were measured on.
CHECKSUMS = {
    "arrhythmia.mat": "e4d47e499591ae31e5d7f0cd983367092353eac240f48e14c9b36457edb3460d",
    "cifar10_jpeg.npz": "f4347ab4504120c5b403b37ea52ff7a0ca9e5420f0e7fdfffa73a69c2c30a79f",
    "dbpedia14/test.csv": "fb256b4ed9038a5ad8eb98ad4d847748fe8179a34ee426937a3c79e4898ef608",
    "dbpedia14/train.csv": "3c3d46d39475eedbe4309352755a395ff12aed1ed740627b96781a5152e3867a",
    "emnist47.npz": "6fe39879041026581f79045a7c3d50fd5dc81a3c6f5f05a1d8f4cbc0b86435e0",
    "fashion_mnist.npz": "411add75480cc07d9a5c17fb04f67eae42dfcaa0671d67c1ecc82b2031f52910",
    "gtsrb32.npz": "ef560ca0ac0d7263c6869f482226c86db6b4cfbb1f1161569343eff13a2ebac5",
    "kddcup99.npz": "d2c0a6ebb3dcfeccb61ca413bbb0af78eba06de0ff5944e48c770964545e1904",
    "mnist.npz": "45018a0e11658ecd0e37fb8fc5e3eb15aea36b14ccb389499d12dd20c8648555",
    "thyroid.mat": "49155d7861b977e90808faf68343ff67a67f63090c2744d514dbb67ac68e7e33",
}


def resolve_data_home(data_home=None):
    """The folder of local copies.

    Parameters
    ----------
    data_home : path-like, default=None
        None is what the environment variable ``SKLEARN_HRN_DATA`` names.

    Returns
    -------
    folder : pathlib.Path or None
        None if neither is given.

    Raises
    ------
    FileNotFoundError
        If the folder is not there.
    """
    named = data_home if data_home is not None else os.environ.get(VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        source = "data_home" if data_home is not None else VARIABLE
        raise FileNotFoundError(
            f"{source}={os.fspath(named)!r} is not a folder: give the one that holds the data."
        )
    return folder


def local_copy(name, data_home, *, required_because=None):
    """The path of a local copy; None if there is none.

    Parameters
    ----------
    name : str
        Of the file, below the folder.
    data_home : path-like or None
    required_because : str, default=None
        Why there must be one, for the error.

    Raises
    ------
    FileNotFoundError
        If a folder was given explicitly, or a copy is required, and the file is not there.

    Warns
    -----
    UserWarning
        If the file is not the one that published figures were measured on.
    """
    folder = resolve_data_home(data_home)
    path = None if folder is None else folder / name
    if path is None or not path.is_file():
        if data_home is None and required_because is None:
            return None
        where = f"in {folder}" if folder is not None else "as no folder is given"
        hint = required_because or "Leave out data_home to download it."
        raise FileNotFoundError(
            f"{name} was not found {where}. {hint} Folders are given as data_home or in the "
            f"environment variable {VARIABLE}."
        )
    if CHECKSUMS.get(name) not in (None, _sha256(path)):
        warnings.warn(
            f"{path} is another copy than the one that published figures were measured on "
            f"(SHA-256 {CHECKSUMS[name][:12]}...): figures may differ.",
            stacklevel=4,
        )
    return path


def downloaded(fetch, *arguments, **options):
    """What a fetcher of scikit-learn returns, or an error that says how to do without it.

    Raises
    ------
    OSError
        If the download fails.
    """
    try:
        return fetch(*arguments, **options)
    except OSError as error:
        raise OSError(
            f"the download failed ({error}). Without a connection, name a folder with a local copy "
            f"as data_home or in the environment variable {VARIABLE}."
        ) from error


def _sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
