"""Objectives that remember: two processes agree with each other and with one that sees the whole batch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from training.objectives import OBJECTIVES, Candidates
from training.packing import Scores

STATEFUL = ("beta-dpo", "rad-dpo")
PROCESS = """
import sys, torch
from pathlib import Path
from training.objectives import OBJECTIVES, Candidates
from training.packing import Scores

here, rank = Path(sys.argv[1]), int(sys.argv[2])
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{here}/rendezvous", rank=rank, world_size=2
)
torch.serialization.add_safe_globals([Candidates, Scores])
given = torch.load(here / f"given-{rank}.pt")
result = {}
for name, batches in given.items():
    objective = OBJECTIVES[name](OBJECTIVES[name].Settings())
    values = [objective(batch).value for batch in batches]
    result[name] = (values, objective.state_dict())
torch.save(result, here / f"result-{rank}.pt")
torch.distributed.destroy_process_group()
"""


def make_batch(seed: int) -> Candidates:
    """Eight sessions, of which the last four have fewer pairs than the first."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(3, (8, 5, 2), generator=generator)
    present = torch.rand(8, 5, generator=generator) < 0.9
    present[4:, 3:] = False
    policy, reference = -3 * torch.rand(2, 8, 5, 2, generator=generator, dtype=torch.float64)
    ends = torch.randn(8, 5, 4, generator=generator)
    scores = (Scores((), log_probs, torch.zeros(8, 4), ends) for log_probs in (policy, reference))
    return Candidates(codes, present, 2, *scores)


def part(batch: Candidates, rows: slice) -> Candidates:
    def scores(whole: Scores) -> Scores:
        assert whole.ends is not None
        return Scores((), whole.log_probs[rows], whole.prompts[rows], whole.ends[rows])

    return Candidates(
        batch.codes[rows], batch.present[rows], 2, scores(batch.policy), scores(batch.compared())
    )


def test_two_processes_remember_what_one_would(tmp_path: Path) -> None:
    batches = [make_batch(seed) for seed in range(4)]
    for rank, rows in enumerate((slice(4), slice(4, 8))):
        own = [part(batch, rows) for batch in batches]
        torch.save(dict.fromkeys(STATEFUL, own), tmp_path / f"given-{rank}.pt")
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path), str(rank)]) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    first, second = (torch.load(tmp_path / f"result-{rank}.pt") for rank in range(2))
    for name in STATEFUL:
        alone: Any = OBJECTIVES[name](OBJECTIVES[name].Settings())
        expected = torch.stack([alone(batch).value for batch in batches])
        halves = torch.stack([torch.stack(result[name][0]) for result in (first, second)])
        torch.testing.assert_close(halves.mean(0), expected)
        for key, tensor in alone.state_dict().items():
            assert torch.equal(first[name][1][key], second[name][1][key]), (name, key)
            torch.testing.assert_close(first[name][1][key], tensor)
