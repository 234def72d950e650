"""Network inputs and samples of networks from files, read with suspicion."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

#: Largest file, in bytes, and most inputs, whose joint covariance is m by m, and longest input.
MOST_BYTES, MOST_INPUTS, MOST_FEATURES = 200_000_000, 100, 1_000_000
#: Rows where another bound is asked: what does not fit in memory is refused by what it is read for.
MOST_ROWS = 10_000_000


def read_inputs(path: str, most: int = MOST_INPUTS) -> NDArray[np.float64]:
    """Network inputs from a CSV or .npy file, one input a row, at most so many.

    Returns
    -------
    array, shape (m, dim)

    Raises
    ------
    ValueError
        If the file is missing, empty, too large, of another format, ragged, pickled, or holds anything but finite numbers.
    """
    rows = _read(path, "network inputs")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            f"{path} holds an array of shape {rows.shape}; expected shape (m, dim), one network input a row"
        )
    m, features = rows.shape
    if m > most or features > MOST_FEATURES:
        raise ValueError(
            f"{path} holds {m} inputs of {features} numbers; expected at most {most} inputs of at most {MOST_FEATURES} numbers: choose some rows"
        )
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, column = bad[0] + 1
        raise ValueError(
            f"{path} holds {len(bad)} numbers that are not finite, the first in row {row}, column {column}; replace them"
        )
    if np.max(np.abs(rows)) > 1e100:
        raise ValueError(f"{path} holds numbers beyond 1e100, whose squares overflow; scale the inputs")
    return rows


def read_labelled(path: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Inputs with their labels in the last column.

    Returns
    -------
    array, shape (m, dim), and array, shape (m,)

    Raises
    ------
    ValueError
        As :func:`read_inputs`, and if labels are no whole numbers from 0.
    """
    rows = read_inputs(path, most=MOST_ROWS)
    labels = rows[:, -1]
    if rows.shape[1] < 2 or np.any((labels != np.floor(labels)) | (labels < 0) | (labels > 9999)):
        raise ValueError(
            f"{path} must hold an input a row and its label, a whole number from 0 to 9999, in the last column"
        )
    return rows[:, :-1], labels.astype(np.int64)


def read_targets(path: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inputs with a target each, any number, in the last column.

    Returns
    -------
    array, shape (m, dim), and array, shape (m,)

    Raises
    ------
    ValueError
        As :func:`read_inputs`, and if there is one column only.
    """
    rows = read_inputs(path)
    if rows.shape[1] < 2:
        raise ValueError(f"{path} must hold an input a row and its target in the last column, and has one column")
    return rows[:, :-1], rows[:, -1]


def read_samples(path: str) -> NDArray[np.float64]:
    """Last layers of networks from a CSV, .npy, .npz or .pt file, one network a row.

    Returns
    -------
    array, shape (samples, n) from CSV; (samples,), (samples, n) or (samples, n, m) from the others

    Raises
    ------
    ValueError
        If the file is missing, empty, too large, of another format, ragged or pickled, or holds an array of another kind.
    """
    samples = _read(path, "samples of networks")
    if not 1 <= samples.ndim <= 3 or 0 in samples.shape:
        raise ValueError(f"{path} holds an array of shape {samples.shape}; expected shape (samples, width, inputs)")
    return samples


def read_jacobians(path: str) -> NDArray[np.float64]:
    """Jacobians of networks, as :func:`read_samples`; a row of n² numbers is a matrix, row by row.

    Returns
    -------
    array, shape (samples, n, n)

    Raises
    ------
    ValueError
        As :func:`read_samples`, and if the matrices are not square.
    """
    found = read_samples(path)
    n = round(float(np.sqrt(found[0].size)))
    if found.shape[1:] not in ((n, n), (n * n,)):
        raise ValueError(f"{path} holds an array of shape {found.shape}; expected Jacobians, shape (samples, n, n)")
    return found.reshape(len(found), n, n)


def read_text(path: str) -> str:
    """A text in UTF-8.

    Raises
    ------
    ValueError
        If the file is missing, empty, too large, or no text.
    """
    try:
        return existing(path, "a text").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8; save it in that encoding") from error


def _read(path: str, what: str) -> NDArray[np.float64]:
    file = existing(path, f"{what}, CSV or .npy")
    if file.suffix in (".pt", ".pth"):
        return _read_tensor(file)
    if file.suffix == ".npz":
        return _read_npz(file)
    return _read_npy(file) if file.suffix == ".npy" else _read_csv(file)


def existing(path: str, what: str) -> Path:
    """The file at a path, with something in it."""
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"{path} is a folder; name a file of {what}")
    if file.exists() and not file.is_file():
        raise ValueError(f"{path} is no regular file; name a file of {what}")
    if not file.exists():
        counted = f", one a row; {path} would be their number" if str(path).isdecimal() else ""
        raise ValueError(f"{path} does not exist; name a file of {what}{counted}")
    if not 0 < (size := file.stat().st_size) <= MOST_BYTES:
        raise ValueError(f"{path} has {size} bytes; a file of {what} has 1 to {MOST_BYTES} bytes")
    return file


def _read_tensor(file: Path) -> NDArray[np.float64]:
    try:
        torch = import_module("torch")
    except ImportError as error:
        raise ValueError(
            f"{file} is a file of PyTorch, which is not installed; save an array with numpy.save"
        ) from error
    try:
        tensor = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that PyTorch did not write raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{file} cannot be read as a tensor: {reason[:100]}; write one with torch.save") from error
    if not hasattr(tensor, "is_complex") or tensor.is_complex():
        raise ValueError(f"{file} holds {type(tensor).__name__}; expected one tensor of real numbers")
    return np.asarray(tensor.detach().double().numpy())


def _read_npy(file: Path) -> NDArray[np.float64]:
    with file.open("rb") as stream:
        if stream.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:
            raise ValueError(f"{file} is no .npy file; write one with numpy.save")
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{file} cannot be read as an array of numbers: {error}; write it with numpy.save from a numeric array"
        ) from error
    return _real(file, array)


def _read_npz(file: Path) -> NDArray[np.float64]:
    """The only array of an archive."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = list(archive.files)
            if len(names) != 1:
                raise ValueError(f"it holds {len(names)} arrays ({', '.join(names[:4])}), where one is expected")
            array = archive[names[0]]
    except (ValueError, EOFError, OSError, BadZipFile) as error:
        raise ValueError(
            f"{file} cannot be read as an array of numbers: {error}; write it with numpy.save from a numeric array"
        ) from error
    return _real(file, array)


def _real(file: Path, array: NDArray[np.generic]) -> NDArray[np.float64]:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{file} holds {array.dtype} values; expected real numbers")
    return np.asarray(array, dtype=float)


def _read_csv(file: Path) -> NDArray[np.float64]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is no text; expected CSV with one network input a row, or a file ending in .npy"
        ) from error
    rows: list[list[float]] = []
    names: list[str] | None = None  # of the columns, which the first line may hold
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        cells = line.split(",")
        if not rows and names is None and not any(map(_is_number, cells)):
            names = cells
            continue
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            raise ValueError(
                f"{file}, line {number}: {line[:60]!r} is no row of numbers between commas; write numbers only, below at most one line of names"
            ) from error
        if len(cells) != len(names or rows[0]):
            raise ValueError(
                f"{file}, line {number} has {len(cells)} numbers, the first row {len(names or rows[0])}; all rows need as many"
            )
    if not rows:
        raise ValueError(f"{file} holds no numbers; expected a row of them a line")
    return np.array(rows)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
