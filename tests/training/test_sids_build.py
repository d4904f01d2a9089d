"""``radsearch sids``: from a prepared directory to one that can be trained on, whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from typer.testing import CliRunner

from sid import RadsearchError, ResidualQuantizer
from sid.report import report
from training.commands.sids import parse_codebooks, sids, warnings
from training.data.errors import DataError
from training.data.items import item_texts
from training.data.prepare import PrepareSettings, prepare
from training.dataset import Dataset
from training.sids import build
from training.sids.build import EMBEDDED, KEPT, QUANTIZED, REPORT, SidSettings, build_sids
from training.sids.embedders import load_embedder

COLOURS = ("red", "blue", "green", "black")
THINGS = ("running shoe", "table lamp", "office chair", "water kettle", "garden hose")
SETTINGS = SidSettings(codebooks=(6, 4), dim=8)

app = typer.Typer()
app.command()(sids)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A prepared directory of 20 items."""
    items = [
        {"item_id": f"{colour} {thing}", "title": f"{colour} {thing}", "brand": f"brand {len(thing)}"}
        for thing in THINGS
        for colour in COLOURS
    ]
    sessions = [{"query": "red lamp", "positives": ["red table lamp"], "negatives": []}]
    for name, rows in (("items", items), ("sessions", sessions)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(tmp_path / "items.jsonl", tmp_path / "sessions.jsonl", None, tmp_path / "data", PrepareSettings())
    return tmp_path / "data"


def make(data: Path, settings: SidSettings = SETTINGS) -> dict[str, object]:
    return build_sids(data, settings, Progress(disable=True))


def contents(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def test_what_is_written_belongs_together(data: Path) -> None:
    result = json.loads(json.dumps(make(data)))

    dataset = Dataset.load(data)
    quantizer = ResidualQuantizer.load(data / "quantizer.npz")
    np.testing.assert_allclose(np.linalg.norm(dataset.item_embeddings, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(
        dataset.sids.codes[dataset.sids.leaf_of_item()], quantizer.encode(dataset.item_embeddings)
    )
    texts = item_texts(build.read_items(data / "items.parquet"))
    embedder = load_embedder(data / "embedder")
    assert embedder is not None
    np.testing.assert_array_equal(embedder.embed(texts), dataset.item_embeddings)
    assert json.loads((data / "sids.json").read_text()) == result
    measured = report(dataset.sids, quantizer, dataset.item_embeddings).to_dict()
    assert {name: result[name] for name in measured} == json.loads(json.dumps(measured))


def test_equal_items_share_a_sid_and_near_items_a_prefix(data: Path) -> None:
    make(data, SidSettings(codebooks=(5, 4), dim=16))
    dataset = Dataset.load(data)
    first_codes = dataset.sids.codes[dataset.sids.leaf_of_item()][:, 0].reshape(len(THINGS), len(COLOURS))
    assert all(len(set(codes)) == 1 for codes in first_codes.tolist())


def test_a_second_run_gives_the_same_files(data: Path) -> None:
    make(data)
    first = contents(data)
    make(data)
    second = contents(data)
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} <= {"sids.json"}  # it tells the seconds


def test_another_embedder_leaves_nothing_of_the_first(data: Path, tmp_path: Path) -> None:
    make(data)
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(20, 3)))
    make(data, SidSettings(embedder=f"npy:{tmp_path / 'e.npy'}", codebooks=(4, 4, 4)))
    assert [path.name for path in (data / "embedder").iterdir()] == ["embedder.json"]
    assert Dataset.load(data).sids.levels == 3


def test_kept_embeddings_get_other_codebooks(data: Path) -> None:
    make(data, SidSettings(codebooks=(4, 4), dim=8, pseudo_queries=3))
    before = contents(data)
    result = make(data, SidSettings(embedder=KEPT, codebooks=(3, 2)))
    after = contents(data)
    assert result["seconds"].keys() == {"quantize"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {*QUANTIZED, REPORT}
    assert Dataset.load(data).sids.codebook_sizes == (3, 2)
    assert len(Dataset.load(data).pseudo_queries().texts) == 3 * Dataset.load(data).n_items


def test_the_command_cuts_as_many_pseudo_queries_as_it_is_told(data: Path) -> None:
    for wanted in (0, 1):
        arguments = ["--data", str(data), "--codebooks", "4,4", "--dim", "8", "--pseudo-queries", str(wanted)]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        assert len(Dataset.load(data).pseudo_queries().texts) == wanted * Dataset.load(data).n_items


def test_no_pseudo_queries_are_none(data: Path) -> None:
    make(data, SidSettings(codebooks=(4, 4), dim=8, pseudo_queries=0))
    pseudo = Dataset.load(data).pseudo_queries()
    assert pseudo.texts == []
    assert len(pseudo.items) == len(pseudo.embeddings) == 0


@pytest.mark.parametrize("embedder", ["npy:nowhere.npy", "sentence:nowhere", "unheard-of"])
def test_an_error_leaves_the_directory_as_it_was(data: Path, embedder: str) -> None:
    make(data)
    before = contents(data)
    with pytest.raises(DataError):
        make(data, SidSettings(embedder=embedder))
    assert contents(data) == before


def test_a_full_disk_leaves_the_directory_as_it_was(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(data)
    before = contents(data)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ResidualQuantizer, "save", full)
    with pytest.raises(OSError, match="No space left"):
        make(data, SidSettings(codebooks=(2, 2)))
    assert contents(data) == before


def test_a_directory_that_was_not_prepared_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"items\.parquet not found; write it with 'radsearch prepare'"):
        make(tmp_path)
    (tmp_path / "items.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"items\.parquet cannot be read"):
        make(tmp_path)


def test_the_command_prints_a_table_for_people(data: Path) -> None:
    result = CliRunner().invoke(app, ["--data", str(data), "--codebooks", "6,4", "--dim", "8"])
    assert result.exit_code == 0, result.output
    assert "perplexity" in result.stdout
    assert "20 items" in result.stdout
    assert all((data / name).exists() for name in (*EMBEDDED, *QUANTIZED, REPORT))


def test_the_command_prints_one_object_for_machines(data: Path) -> None:
    result = CliRunner().invoke(app, ["--data", str(data), "--codebooks", "6,4", "--seed", "3", "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed == json.loads((data / "sids.json").read_text())
    told = {"embedder": "tfidf", "codebooks": [6, 4], "dim": 128, "seed": 3, "balanced": False}
    assert printed["settings"] == printed["settings"] | told


def test_balanced_codebooks_keep_their_biases(data: Path) -> None:
    result = CliRunner().invoke(
        app, ["--data", str(data), "--codebooks", "6,4", "--dim", "8", "--balanced", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["settings"]["balanced"] is True
    dataset, quantizer = Dataset.load(data), ResidualQuantizer.load(data / "quantizer.npz")
    assert [len(bias) for bias in quantizer.biases] == [6, 4]
    np.testing.assert_array_equal(
        dataset.sids.codes[dataset.sids.leaf_of_item()], quantizer.encode(dataset.item_embeddings)
    )


@pytest.mark.parametrize(
    ("hourglass", "evenness", "balanced", "said"),
    [
        (0.0, (0.95, 0.95, 0.95), False, []),
        (0.2, (0.98, 0.7, 0.9), False, ["hourglass 0.20", "level 1"]),
        (0.0, (0.98, 0.8, 0.7), False, ["level 1 and 2"]),
        (0.0, (0.98, 0.8, 0.7), True, ["fewer centroids"]),
    ],
)
def test_a_bad_spread_is_said_with_its_remedy(
    hourglass: float, evenness: tuple[float, ...], balanced: bool, said: list[str]
) -> None:
    spoken = list(
        warnings(
            {
                "settings": {"balanced": balanced},
                "hourglass": hourglass,
                "levels": [{"evenness": value} for value in evenness],
            }
        )
    )
    assert len(spoken) == len(said)
    for sentence, part in zip(spoken, said, strict=True):
        assert part in sentence
        assert ("--balanced" in sentence) is not balanced


@given(st.lists(st.integers(1, 10**6), min_size=1))
def test_codebooks_are_read_as_written(sizes: list[int]) -> None:
    assert parse_codebooks(",".join(map(str, sizes))) == tuple(sizes)


@pytest.mark.parametrize("text", ["", ",", "64,", "64,0", "-1", "64;64", "a", "1.5", "64,,64"])
def test_other_codebooks_are_refused(text: str) -> None:
    with pytest.raises(RadsearchError, match="is not a list of positive sizes; write it as 64,64,64"):
        parse_codebooks(text)
