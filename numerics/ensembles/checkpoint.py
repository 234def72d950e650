"""A directory that keeps finished blocks: whole files or none, however the process ends."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from derivations.notation.files import write_whole

_PLAN = "ensemble.json"
_OF = "of"  # beside the arrays of a block: which block it is, and of which ensemble


class Checkpoint:
    """Blocks of one ensemble on disk, as NumPy archives without pickles.

    A file is written under another name, flushed to the disk, and then renamed, which the file system does at once or not at
    all: what a reader finds is whole.

    Parameters
    ----------
    directory : path
        Made where it is missing.
    plan : mapping
        What the ensemble is, as :func:`fingerprint` gives it.

    Raises
    ------
    ValueError
        If the directory holds another ensemble, or its plan is damaged; or it is a file, or cannot be written to.
    """

    def __init__(self, directory: str | PathLike[str], plan: Mapping[str, str]) -> None:
        self.directory = Path(directory)
        self._digest = _digest(plan)
        require_directory(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        for draft in self.directory.glob(".*.draft"):  # of a process that was killed
            draft.unlink(missing_ok=True)
        known = self.directory / _PLAN
        if known.exists():
            before = _plan(known)
            _require_same(self.directory, before, plan, {*before, *plan})
        elif any(self.directory.iterdir()):
            raise ValueError(f"expected an empty directory or one of an ensemble, got {self.directory}")
        else:
            write_whole(known, json.dumps(dict(plan), indent=1).encode())

    def has(self, index: int | str) -> bool:
        """Whether a block is finished."""
        return self._path(index).exists()

    def save(self, index: int | str, value: Any) -> None:
        """Keep a block: an array, or a mapping of names to arrays."""
        if self.has(index) and isinstance(index, int):
            return
        parts = value if isinstance(value, Mapping) else {"value": np.asarray(value)}
        buffer = io.BytesIO()
        arrays = {name: np.asarray(part) for name, part in parts.items()}
        np.savez(buffer, allow_pickle=False, **arrays, **{_OF: np.array([str(index), self._digest])})
        write_whole(self._path(index), buffer.getvalue())

    def load(self, index: int | str) -> Any:
        """A kept block, as it was given.

        Raises
        ------
        ValueError
            If the file is damaged: cut off, overwritten, no archive of arrays, or a block of another place or ensemble.
        """
        parts = _read(self._path(index), index, self._digest)
        return parts["value"] if set(parts) == {"value"} else parts

    def drop(self, index: int) -> None:
        """Forget a block that is part of something kept."""
        self._path(index).unlink(missing_ok=True)

    def _path(self, index: int | str) -> Path:
        return self.directory / (f"block_{index:08d}.npz" if isinstance(index, int) else f"{index}.npz")


def require_directory(path: str | PathLike[str]) -> None:
    """Refuse a place where no directory can be made or written to, before anything is simulated.

    Raises
    ------
    ValueError
        If it is a file, lies below one, or may not be written to.
    """
    place = Path(path).absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        below = "" if place == Path(path).absolute() else f"lies below {place}, which "
        raise ValueError(f"the checkpoint {path} {below}is a file, not a directory; give another")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"the checkpoint {path} cannot be written: permission denied; give another")


def require_same(directory: str | PathLike[str], plan: Mapping[str, str]) -> None:
    """Refuse a directory with another ensemble, before anything is computed; a missing one is none.

    Parameters
    ----------
    directory : path
    plan : mapping
        What is known of the ensemble so far.

    Raises
    ------
    ValueError
        If the directory's ensemble differs in one of these, or its plan is damaged.
    """
    known = Path(directory) / _PLAN
    if known.exists():
        _require_same(Path(directory), _plan(known), plan, {*plan})


def _require_same(directory: Path, before: Mapping[str, str], plan: Mapping[str, str], keys: set[str]) -> None:
    different = sorted(key for key in keys if before.get(key) != plan.get(key))
    if different:
        raise ValueError(
            f"{directory} holds another ensemble: it differs in {', '.join(different)}; give an empty directory, or ask for the same"
        )


def kept_part(directory: str | PathLike[str], index: str, name: str) -> Any:
    """One array of a kept block without the others; None where nothing is kept."""
    path = Path(directory) / f"{index}.npz"
    return _read(path, index, _digest(_plan(Path(directory) / _PLAN)), {name})[name] if path.exists() else None


def _read(path: Path, index: int | str, digest: str, names: set[str] | None = None) -> dict[str, Any]:
    """A file's arrays, or some of them."""
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise ValueError("it is no whole archive of arrays")
            stream.seek(0)
            archive = np.load(stream, allow_pickle=False)
            if _OF not in archive:
                raise ValueError("it is no block of an ensemble")
            if archive[_OF].tolist() != [str(index), digest]:
                raise ValueError("it is a block of another place or ensemble")
            return {name: archive[name] for name in names or {*archive.files} - {_OF}}
    except FileNotFoundError as error:
        raise ValueError(f"the checkpoint {path} is gone; run again, and its samples are drawn anew") from error
    except (*_DAMAGE, OSError) as error:
        raise ValueError(
            f"the checkpoint {path} is damaged ({error}); delete this file and run again: its samples are drawn anew"
        ) from error


_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, AttributeError, NotImplementedError)


def _plan(known: Path) -> dict[str, str]:
    try:
        before = json.loads(known.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        before, reason = None, str(error)
    else:
        reason = "it holds no plan of an ensemble"
    if not isinstance(before, dict):
        raise ValueError(
            f"the checkpoint {known} is damaged ({reason}); delete the directory {known.parent} and run again, or give another"
        )
    return before


def _digest(plan: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(plan), sort_keys=True).encode()).hexdigest()[:24]


def fingerprint(**parts: Any) -> dict[str, str]:
    """What an ensemble is, as texts that are equal for equal ensembles in any process, by name.

    Examples
    --------
    >>> fingerprint(samples=10, start=np.arange(3))["samples"]
    '10'
    """
    return {name: _described(part) for name, part in parts.items()} | {"numpy": np.__version__}


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:24]
        return f"array{value.shape}{value.dtype}:{digest}"
    if isinstance(value, np.random.SeedSequence):
        return f"SeedSequence({value.entropy}, {value.spawn_key})"
    if is_dataclass(value) and not isinstance(value, type):
        inside = ", ".join(f"{f.name}={_described(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__qualname__}({inside})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_described, value))})"
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return repr(value)
