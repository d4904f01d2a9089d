"""What the scale benchmark says of a small catalogue."""

import subprocess
import sys

import numpy as np

from benchmarks.decode.scale import CODEBOOKS, SPARE, measure
from sid import SidTable, Trie


def test_a_trie_is_built_in_a_process_of_its_own() -> None:
    said: list[str] = []
    result = measure(50_000, 0, said.append)
    assert said == ["Building the trie of 50,000 SIDs"]
    assert result["n_items"] == round(SPARE * 50_000)
    assert 50_000 <= result["n_sids"] <= result["n_items"]
    assert result["build_s"] == result["table_s"] + result["trie_s"] > 0
    assert result["peak_bytes"] > result["n_items"] * len(CODEBOOKS) * 4
    assert result["alive_ms"] > 0
    item_codes = np.random.default_rng(0).integers(0, CODEBOOKS, (result["n_items"], 3), dtype=np.int32)
    trie = Trie.from_table(SidTable.from_item_codes(item_codes, CODEBOOKS))
    assert result["n_sids"] == trie.n_leaves
    assert result["device_bytes_per_sid"] * trie.n_leaves == trie.indptr.nbytes + trie.codes.nbytes


def test_the_peak_remembers_what_has_been_freed() -> None:
    """In a process of its own: what others free or ask for in this one would count."""
    program = """
import mmap
from benchmarks.memory import peak_bytes, restart_peak

before = restart_peak()
with mmap.mmap(-1, 100 * 2**20) as memory:
    memory[::4096] = bytes(25_600)  # a byte of each page
print(peak_bytes() - before, restart_peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    peak, left = map(int, done.stdout.split())
    assert peak > 90 * 2**20
    assert left < 50 * 2**20
