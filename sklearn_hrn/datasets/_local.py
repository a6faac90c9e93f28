"""Local copies: where they are, and whether they are what they should be."""

import hashlib
import os
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from .._typing import Folder

VARIABLE = "SKLEARN_HRN_DATA"

# SHA-256 of the copies that the published figures of this package were measured on.
_OF_FEATURES = {
    "cifar10_resnet18_class0": "f0e89be5576c37e5c2f7393f7a478d8ec0cc348559fc177c273ff076ef10db00",
    "cifar10_resnet18_class4": "13fe6ac27684cadd0b223a48dcb532474e4eb69592b159d21d8f6d195ec48512",
    "cifar10_resnet18_class6": "f38334eec73be985612685b3efb99c58faaba7b154ecb5ed9b809acdc4cae9c9",
    "mvtec_resnet18_bottle": "9eb7a78f1f6ecfcd00391ea01fe06f998e3fb7b8e89a34c06d69786ee38a8059",
    "mvtec_resnet18_cable": "65f36182cf75ba1b2629af7bee3eec87ed9b050796e0b7c06493993e0ba4cee1",
    "mvtec_resnet18_capsule": "b5d97c3b3c08b0c25fdb3b0fd50e9b9fd24bd75b4e36956d47159e715d52470d",
    "mvtec_resnet18_carpet": "7c9e1f06b185baae2c72b922aa29cb219d2b8d6a9fe1b03f86ccf1fd34a0b6c0",
    "mvtec_resnet18_grid": "376fe5d7568fb3c1b9056a03aef6c0c350476a11b4f4579e6b7d8f8e5405f837",
    "mvtec_resnet18_hazelnut": "3c40cf88d6c16827c9609c5ef4f0c7d81f8b8509905c9c4c68a79d8ba1696bdf",
    "mvtec_resnet18_leather": "c4615f05409b0ae785a007889b4521cf3c3a43ce5b7ff7623f2255c121ef1e29",
    "mvtec_resnet18_metal_nut": "c00f29018bbf304c8e50d366fccc635ded7da90dea7e4a2fd41afb1a62609796",
    "mvtec_resnet18_pill": "878407b2700e3414dec26f2bae153f28d9b8e9e2367a0775b082efe641531188",
    "mvtec_resnet18_screw": "a143cbb84cb2a8bbd5b86065bf56fffbc5c9a52d5da4ba9826c844fe35ef68fa",
    "mvtec_resnet18_tile": "6d4564cd2844ff91274612b0dba39c3cfbabedf4535ec3573889bbd575075086",
    "mvtec_resnet18_toothbrush": "798a5edef4291e0466d2a7234101ee496927ddd96d0cbb620da008f4ed06753e",
    "mvtec_resnet18_transistor": "4c045fa018a2f4ffd828683b1d35580533662b2336c356e7e579c04da899b98e",
    "mvtec_resnet18_wood": "5fb9b4b57f6d66ab06ca3575d51359b0110943d4df4a20b495b1583730fc8d98",
    "mvtec_resnet18_zipper": "d60591ab34dced348b32574c4c0ff680068bbf5017d06d2bc5f9b15521f38bb8",
}
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
    **{f"features/{name}.npz": checksum for name, checksum in _OF_FEATURES.items()},
}


def resolve_data_home(data_home: Folder | None = None) -> Path | None:
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
    if not isinstance(data_home, str | os.PathLike | None):
        raise TypeError(f"data_home={data_home!r} is not the name of a folder.")
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
    ValueError
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
    if name in CHECKSUMS and (found := _sha256(path)) != CHECKSUMS[name]:
        raise ValueError(
            f"{path} is another copy than the one that published figures were measured on: its "
            f"SHA-256 is {found[:12]}..., not {CHECKSUMS[name][:12]}.... It is damaged or changed: "
            "replace it, or read it without this package."
        )
    return path


@contextmanager
def reading(path):
    """Whatever goes wrong while a file is read, the error names the file.

    Raises
    ------
    ValueError
        If the file is damaged, or holds something else. A package that is missing stays an
        ImportError.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} could not be read ({type(error).__name__}: {error}): it is damaged, or not "
            "the file that its name says. Replace it."
        ) from error


@contextmanager
def writing(path):
    """A file to write in place of another, which takes that place once all is written.

    Whatever goes wrong, such as a disk that is full, what was there stays. A link goes on to lead
    to the file that is written, and a device or a pipe, whose place no file must take, is written
    to.

    Raises
    ------
    OSError
        That of the system, with the name of the file.
    """
    path = Path(path)
    is_no_file = path.exists() and not path.is_file()
    goal = path if is_no_file else path.resolve()
    part = path if is_no_file else goal.with_name(f"{goal.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        if not is_no_file:
            part.replace(goal)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        if not is_no_file:
            part.unlink(missing_ok=True)


def downloaded(name, fetch, *arguments, **options):
    """What a fetcher of scikit-learn returns, or an error that says how to do without it.

    Parameters
    ----------
    name : str
        Of the local file that would make the download unnecessary.
    fetch : callable
        Called with the other arguments.

    Raises
    ------
    OSError
        If the download fails, or what comes is not what was asked for.
    ImportError
        If a package that scikit-learn reads the download with is not installed.
    """
    instead = (
        f"To do without the download, put {name} into a folder and name the folder as data_home "
        f"or in the environment variable {VARIABLE}."
    )
    try:
        return fetch(*arguments, **options)
    except ImportError as error:
        raise ImportError(
            "scikit-learn reads this download with pandas, which is not installed: "
            f"pip install pandas. {instead}"
        ) from error
    # A broken transfer is an HTTPException; a refusal by OpenML or a wrong checksum, a ValueError.
    except (OSError, HTTPException, ValueError) as error:
        raise OSError(f"the download failed ({error}). {instead}") from error


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
