"""Files of arrays are data: nothing in them is run, and a bad one is named."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid import SidError
from sid.arrays import read_arrays


class Intruder:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, ("intruder-was-here",)


def test_arrays_come_back(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(3), b=np.zeros((0, 2), np.float32))
    arrays = read_arrays(tmp_path / "a.npz")
    assert arrays["a"].tolist() == [0, 1, 2]
    assert arrays["b"].shape == (0, 2)


def test_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("inside.npz", a=np.array([Intruder()], dtype=object))
    Path("bare.npz").write_bytes(pickle.dumps(Intruder()))
    for name in ("inside.npz", "bare.npz"):
        with pytest.raises(SidError, match="is damaged"):
            read_arrays(Path(name))
    assert not Path("intruder-was-here").exists()


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(SidError, match="is damaged"):
        read_arrays(tmp_path / "a.npy")


def test_a_directory_is_no_npz(tmp_path: Path) -> None:
    with pytest.raises(SidError, match="is damaged"):
        read_arrays(tmp_path)


@given(data=st.data())
def test_a_cut_or_altered_file_is_refused_or_read_as_arrays(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    np.savez(path, a=np.arange(20), b=np.zeros(3))
    whole = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:position])
    with pytest.raises(SidError, match="is damaged"):
        read_arrays(path)
    whole[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        arrays = read_arrays(path)
    except SidError:
        return
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
