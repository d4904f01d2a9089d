"""Every result file says how it was made."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks.record import RecordError, record, revision, versions, write_record

CPU = torch.device("cpu")


def test_a_record_tells_command_revision_device_seeds_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/radsearch", "bench", "packing", "--out", "two words.json"])
    made = record("packing", CPU, [3], {"throughput_ratio": 4.5}, packages=("tokenizers",))
    assert made["benchmark"] == "packing"
    assert made["command"] == "radsearch bench packing --out 'two words.json'"
    assert made["seeds"] == [3]
    assert made["device"]["cpu"]
    assert made["device"]["cores"] >= 1
    assert made["versions"]["torch"] == torch.__version__
    assert made["versions"]["tokenizers"]
    assert made["throughput_ratio"] == 4.5


def test_the_revision_is_that_of_the_checkout() -> None:
    head = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (revision() or "").removesuffix("-dirty") == head.stdout.strip()


def test_a_package_that_is_not_there_has_no_version() -> None:
    assert versions(["no-such-package"])["no-such-package"] is None


def test_a_record_replaces_the_older_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "results" / "packing.json"
    for value in (1, 2):
        write_record(target, {"value": value})
    assert json.loads(target.read_text()) == {"value": 2}
    assert list(target.parent.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_an_error_and_stays_clean(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(RecordError, match=r"taken cannot be written .*; choose another --out"):
        write_record(tmp_path / "taken", {})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
