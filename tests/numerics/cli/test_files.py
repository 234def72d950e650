"""The files that the command writes and reads."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from derivations.notation import files
from numerics.cli import commands, main
from numerics.cli.arguments import _COMMANDS
from numerics.cli.files import read_inputs, read_samples
from tests.command_line import complaint, printed


@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        ("tex", "\\documentclass"),
        ("typ", "#set document"),
        ("txt", "ResNet"),
        ("json", "{"),
        ("html", "<!doctype html>"),
    ],
)
def test_derive_writes_what_the_suffix_says(suffix, start, tmp_path, capsys):
    out = tmp_path / f"derivation.{suffix}"
    assert printed(capsys, "derive", "--width", "1", "--out", str(out)) == ""
    assert out.read_text(encoding="utf-8").startswith(start)


WRITERS = {
    "d.txt": ("derive", "--width", "1"),
    "d.json": ("derive", "--width", "1"),
    "d.tex": ("derive", "--width", "1"),
    "p.csv": ("density", "--points", "3"),
    "s.npy": ("simulate", "--samples", "5", "--depth", "2"),
    "s.csv": ("simulate", "--samples", "5", "--depth", "2"),
    "k.npy": ("kernel", "--random", "2x2"),
    "j.json": ("jacobian", "--width", "2"),
    "o.csv": ("output", "--width", "2", "--samples", "20"),
    "y.txt": ("dynamics",),
    "c.txt": ("scalings",),
    "t.csv": ("train", "--depth", "2", "--steps", "1", "--batch", "4", "--width", "4"),
    "r.html": ("report", "--samples", "20", "--depth", "4", "--width", "1"),
}
READ = {"--data", "--inputs", "--samples", "--jacobians", "--start", "--text"}
#: What two runs write with different bytes: a date or a time that it took is in it.
CHANGING = {"r.html", "t.csv"}


def options_of(command):
    """The options of a command, by its parser."""
    parser = argparse.ArgumentParser()
    _COMMANDS[command][1](parser)
    return {word: action for action in parser._actions for word in action.option_strings}


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_with_an_output_is_asked_below(command):
    """A new command needs its row in ``WRITERS``; a file that it writes under another option is said here."""
    options = options_of(command)
    assert ("--out" in options) == (command in {arguments[0] for arguments in WRITERS.values()})
    assert ("--out" in options) == ("--force" in options)
    written = {word for word, action in options.items() if (action.metavar or "").startswith("FILE")}
    assert written <= {"--out", "-o", "--figure"} | READ


@pytest.mark.parametrize("name", WRITERS)
def test_every_command_refuses_a_file_that_exists_before_any_work(name, tmp_path, capsys, monkeypatch):
    out = tmp_path / name
    out.write_bytes(b"mine")
    begun = dict.fromkeys(commands.COMMANDS, lambda options: pytest.fail("work was begun"))
    monkeypatch.setattr(commands, "COMMANDS", begun)
    said = complaint(capsys, *WRITERS[name], "--out", str(out))
    assert f"{out} exists; choose another --out, or replace it with --force" in said
    assert out.read_bytes() == b"mine"


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_overwritten_unless_asked(name, tmp_path, capsys):
    out, command = tmp_path / name, WRITERS[name]
    if command[0] == "train":
        pytest.importorskip("jax")
    printed(capsys, *command, "--out", str(out))
    first = out.read_bytes()
    out.write_bytes(b"mine")
    assert f"{out} exists; choose another --out, or replace it with --force" in complaint(
        capsys, *command, "--out", str(out)
    )
    assert out.read_bytes() == b"mine"
    out.chmod(0o640)
    before = out.stat().st_ino
    printed(capsys, *command, "--out", str(out), "--force")
    assert out.stat().st_ino != before  # written beside, and moved into place
    assert out.read_bytes() == first or (name in CHANGING and out.read_bytes()[:64] == first[:64])
    assert out.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_report_is_refused_before_it_is_computed(tmp_path, capsys):
    (tmp_path / "r.html").write_text("mine")
    assert "exists" in complaint(capsys, "report", "--out", str(tmp_path / "r.html"))


def test_no_part_of_a_file_remains(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*none does not exist; make it, or choose another"):
        files.write_whole(tmp_path / "none" / "a.txt", b"new")


def test_links_are_followed_and_devices_written_to(tmp_path, capsys):
    (tmp_path / "link.txt").symlink_to(tmp_path / "file.txt")
    files.write_whole(tmp_path / "link.txt", b"new")
    assert (tmp_path / "file.txt").read_bytes() == b"new"
    assert (tmp_path / "link.txt").is_symlink()
    assert printed(capsys, "derive", "--width", "1", "--out", "/dev/null", "--format", "text") == ""


GOOD = b"1,2,3\n4,5,6\n"


BAD_FILES = {
    "empty.csv": (b"", "bytes"),
    "blank.csv": (b"\n\n", "no numbers"),
    "ragged.csv": (b"1,2\n3\n", "line 2 has 1 numbers"),
    "words.csv": (b"1,2\na,b\n", "line 2"),
    "nan.csv": (b"1,2\nnan,3\n", "row 2, column 1"),
    "infinite.csv": (b"inf,2\n", "not finite"),
    "huge.csv": (b"1e300,2\n", "1e100"),
    "binary.csv": (bytes(range(128, 256)), "no text"),
    "zero.csv": (b"1,2\n0,0\n", "row 2 is 0"),
    "fake.npy": (GOOD, "no .npy file"),
    "cut.npy": (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'", "cannot be read"),
    "many.csv": (b"1,2\n" * 101, "at most 100"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_refused_in_one_line(name, tmp_path, capsys):
    content, said = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert said in complaint(capsys, "report", "--inputs", str(path), "--out", str(tmp_path / "r.html"))
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([{"a": 1}], dtype=object), "cannot be read"),  # a pickle, which could run anything
        (np.array([["a", "b"]]), "expected real numbers"),
        (np.ones((2, 2)) * 1j, "expected real numbers"),
        (np.ones(3), "shape (3,)"),
        (np.ones((0, 3)), "shape (0, 3)"),
        (np.ones((2, 2, 2)), "shape (2, 2, 2)"),
    ],
    ids=["pickle", "words", "complex", "one axis", "no rows", "three axes"],
)
def test_bad_array_is_refused(array, said, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, array)
    with pytest.raises(ValueError, match=r"a\.npy") as refused:
        read_inputs(str(path))
    assert said in str(refused.value)


def test_good_files_are_read_alike(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + GOOD)  # as spreadsheets write it
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3], [4, 5, 6]]))
    for name in ("a.csv", "a.npy"):
        assert read_inputs(str(tmp_path / name)).tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.slow
def test_simulate_goes_on_from_a_checkpoint(tmp_path, capsys):
    size = ("--width", "2", "--depth", "4", "--samples", "300")
    plain = printed(capsys, "simulate", *size)
    kept = [printed(capsys, "simulate", *size, "--checkpoint", str(tmp_path / "kept")) for _ in range(2)]
    assert kept == [plain, plain]
    assert list((tmp_path / "kept").glob("block_*.npz"))
    assert main(["simulate", *size, "--seed", "1", "--checkpoint", str(tmp_path / "kept")]) == 2
    assert "differs in seed" in capsys.readouterr().err


def test_an_archive_of_one_array_is_read(tmp_path):
    np.savez(tmp_path / "one.npz", states=np.eye(2))
    assert (read_samples(str(tmp_path / "one.npz")) == np.eye(2)).all()
    np.savez(tmp_path / "two.npz", a=np.eye(2), b=np.eye(2))
    with pytest.raises(ValueError, match=r"two\.npz .*it holds 2 arrays \(a, b\), where one is expected"):
        read_samples(str(tmp_path / "two.npz"))
    (tmp_path / "bad.npz").write_bytes(GOOD)
    with pytest.raises(ValueError, match=r"bad\.npz cannot be read"):
        read_samples(str(tmp_path / "bad.npz"))
    np.savez(tmp_path / "words.npz", np.array(["a"]))
    with pytest.raises(ValueError, match="expected real numbers"):
        read_samples(str(tmp_path / "words.npz"))


def test_jacobians_that_are_no_square_matrices_are_refused(tmp_path, capsys):
    states, jacobians = tmp_path / "x.npy", tmp_path / "j.npy"
    np.save(states, np.ones((60, 2)))
    for wrong in (np.ones((60, 2, 3)), np.ones((60, 3)), np.ones(60)):
        np.save(jacobians, wrong)
        said = complaint(capsys, "compare", "--width", "2", "--samples", str(states), "--jacobians", str(jacobians))
        assert "expected Jacobians, shape (samples, n, n)" in said
    np.save(jacobians, np.ones((60, 3, 3)))
    said = complaint(capsys, "compare", "--width", "2", "--samples", str(states), "--jacobians", str(jacobians))
    assert "states and Jacobians must have shapes (samples, 2) and (samples, 2, 2)" in said
