"""The device: who touches it, and who frees what lies on it."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.device import CPU, CUDA, Device, OwnedDevice, Resident, load_graph, open_device
from service.errors import ServiceError
from sid.manifest import BundleError


class Thing:
    """Notes the threads that make it and free it."""

    def __init__(self, freed_by: list[threading.Thread]) -> None:
        self.made_by = threading.current_thread()
        self._freed_by = freed_by

    def __del__(self) -> None:
        self._freed_by.append(threading.current_thread())


def test_cuda_that_is_not_there_is_refused() -> None:
    with pytest.raises(ServiceError, match="--provider cpu"):
        open_device("cuda")


@pytest.fixture
def cuda_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime that says it has CUDA and finds no GPU for it."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: print("Failed to load libcublas.so"))


@pytest.mark.usefixtures("cuda_without_gpu")
def test_a_gpu_that_cannot_be_used_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ServiceError, match=r"can use no GPU.*--provider cpu"):
        open_device("cuda")
    assert capsys.readouterr().out == ""  # that is where a service announces its URL


def test_auto_takes_what_is_there() -> None:
    assert open_device("auto").provider == CPU


@pytest.mark.usefixtures("cuda_without_gpu")
def test_auto_does_without_a_gpu_that_cannot_be_used(caplog: pytest.LogCaptureFixture) -> None:
    assert open_device("auto").provider == CPU
    assert "can use no GPU" in caplog.text


def test_an_owner_does_all_that_touches_its_device() -> None:
    device, callers = OwnedDevice(CPU), []

    def call() -> None:
        callers.append(device.run(threading.current_thread))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(callers)) == 1
    assert callers[0] not in {*threads, threading.current_thread()}


def test_what_an_owner_does_may_need_the_device_again() -> None:
    device = OwnedDevice(CPU)
    assert device.run(lambda: device.run(threading.current_thread)) is device.run(threading.current_thread)


def test_mistakes_reach_the_one_who_made_them() -> None:
    device = OwnedDevice(CPU)
    with pytest.raises(ZeroDivisionError):
        device.run(lambda: 1 / 0)
    assert device.run(lambda: 1) == 1


def test_what_lies_on_an_owned_device_is_made_and_freed_by_its_owner() -> None:
    device = OwnedDevice(CPU)
    owner = device.run(threading.current_thread)
    freed_by: list[threading.Thread] = []
    resident = Resident(device, lambda: Thing(freed_by))
    assert resident.value.made_by is owner
    del resident
    device.run(lambda: None)
    assert freed_by == [owner]


def test_what_is_given_back_while_its_owner_is_busy_waits_for_it() -> None:
    device, is_busy, goes_on = OwnedDevice(CPU), threading.Event(), threading.Event()
    freed_by: list[threading.Thread] = []
    resident = Resident(device, lambda: Thing(freed_by))

    def work() -> None:
        is_busy.set()
        goes_on.wait()

    busy = threading.Thread(target=device.run, args=(work,))
    busy.start()
    is_busy.wait()
    del resident
    assert not freed_by
    goes_on.set()
    busy.join()
    device.run(lambda: None)
    assert len(freed_by) == 1


def test_a_device_for_all_is_used_where_it_is_needed() -> None:
    device, freed_by = Device(CPU), list[threading.Thread]()
    resident = Resident(device, lambda: Thing(freed_by))
    assert resident.value.made_by is threading.current_thread()
    del resident
    assert freed_by == [threading.current_thread()]


def test_owners_end_with_their_devices() -> None:
    device = OwnedDevice(CPU)
    owner = device.run(threading.current_thread)
    del device
    owner.join(timeout=10)
    assert not owner.is_alive()


@pytest.mark.parametrize("device", [Device(CPU), OwnedDevice(CPU)])
def test_arrays_are_placed(device: Device) -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    placed = device.place(array)
    found: Any = device.run(lambda: placed.value.numpy().copy())
    np.testing.assert_array_equal(found, array)


def test_batches_under_way_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [Device(CPU).workers(processes) for processes in (1, 3, 20)] == [8, 2, 1]
    assert OwnedDevice(CPU).workers(1) == 2


@pytest.mark.parametrize("device", [Device(CPU), OwnedDevice(CPU)])
def test_a_graph_that_cannot_be_loaded_is_told_to_whoever_asked(device: Device, tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"graph\.onnx cannot be loaded"):
        load_graph(tmp_path / "graph.onnx", device, 1)
