"""Corpora by their names: laws, grids, puzzles, windows of texts; no test touches the network."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from ardm.base.errors import InputError
from ardm.worlds import corpora, registry
from ardm.worlds.puzzles import GridCorpus, complete

TEXT = "to be or not to be, that is the question. " * 40


def register(folder, monkeypatch, **entries):
    """A registry of these entries; empty folders for ARDM_DATA and the cache."""
    for number, (name, entry) in enumerate(entries.items()):
        more = {"title": name, "source": "nobody", "url": f"https://invalid.invalid/{number}", "download_bytes": entry["bytes"]}
        entries[name] = more | entry
    (folder / "registry.json").write_text(json.dumps(entries))
    for name in ("given", "cache"):
        (folder / name).mkdir()
    monkeypatch.setattr(registry, "REGISTRY", folder / "registry.json")
    monkeypatch.setattr(registry, "_cache", lambda: folder / "cache")
    monkeypatch.setenv("ARDM_DATA", str(folder / "given"))
    registry._entries.cache_clear()
    corpora.text.cache_clear()


@pytest.fixture(autouse=True)
def fresh():
    """No test leaves its registry to the next."""
    yield
    registry._entries.cache_clear()
    corpora.text.cache_clear()


@pytest.fixture
def hamlet(tmp_path, monkeypatch):
    """A registered text that lies in ARDM_DATA."""
    register(tmp_path, monkeypatch, hamlet=registered("hamlet.txt", TEXT))
    (tmp_path / "given" / "hamlet.txt").write_text(TEXT)


def registered(file, text, **more):
    return {"file": file, "bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest(), **more}


def test_unknown_corpus_lists_the_known():
    with pytest.raises(
        InputError, match=r"unknown corpus 'wikipedia': choose agreement, .*, sudoku, sudoku9, tinyshakespeare, text8$"
    ):
        corpora.open_corpus("wikipedia", 32)


def test_a_law_is_a_corpus_by_its_name():
    corpus = corpora.open_corpus("dyck", 6)
    assert (corpus.name, corpus.vocab_size, corpus.held_out(3).shape) == ("dyck-6", 2, (3, 6))


def test_sudoku_grids_have_one_length():
    assert corpora.open_corpus("sudoku9", 81).name == "sudoku9"
    with pytest.raises(InputError, match="length=80: a grid of sudoku9 has 81 cells; give length 81"):
        corpora.open_corpus("sudoku9", 80)


def test_the_list_of_puzzles_is_no_corpus():
    with pytest.raises(InputError, match="sudoku10k is a list of puzzles, not a corpus: read it with public_puzzles"):
        corpora.open_corpus("sudoku10k", 81)


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A registry of three puzzles to be solved after the download; the list, and the table of its solutions."""
    solved = [GridCorpus().decode(grid).replace("\n", "") for grid in complete(3, seed=5)]
    listed = "".join(f"{'.' * (i + 1)}{grid[i + 1 :]}\n" for i, grid in enumerate(solved))
    table = "puzzle,solution\n" + "".join(f"{a.replace('.', '0')},{b}\n" for a, b in zip(listed.split(), solved, strict=True))
    register(tmp_path, monkeypatch, sudoku10k=registered("solved.csv", table, convert="solve", download_bytes=len(listed)))
    return listed, table


def test_a_list_of_puzzles_is_solved_once_and_only_the_result_is_kept(listed, tmp_path, monkeypatch):
    text, table = listed
    monkeypatch.setattr(registry, "_download", lambda entry, url, output, _: Path(output).write_text(text))
    assert corpora.text("sudoku10k") == table
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["solved.csv"]
    assert (tmp_path / "cache" / "solved.csv").read_text() == table


@pytest.mark.parametrize("change", [lambda text: text[:82], lambda text: "<html>" + text, lambda text: "\xff" + text])
def test_another_list_of_puzzles_is_refused_and_not_kept(listed, tmp_path, monkeypatch, change):
    other = change(listed[0])
    monkeypatch.setattr(registry, "_download", lambda entry, url, output, _: Path(output).write_text(other, "latin1"))
    with pytest.raises(InputError, match=r"is not the registered|is no grid"):
        corpora.text("sudoku10k")
    assert not list((tmp_path / "cache").iterdir())


def test_public_puzzles_are_drawn_without_repetition(listed, tmp_path):
    (tmp_path / "given" / "solved.csv").write_text(listed[1])
    puzzle, solution = corpora.public_puzzles(3, seed=1)
    assert puzzle.shape == solution.shape == (3, 81)
    assert ((puzzle == solution) | (puzzle == 9)).all()
    for seed in range(8):
        assert sorted((corpora.public_puzzles(3, seed=seed)[0] == 9).sum(-1).tolist()) == [1, 2, 3]
    assert torch.equal(corpora.public_puzzles(3, seed=1)[0], puzzle)
    assert any(not torch.equal(corpora.public_puzzles(3, seed=seed)[0], puzzle) for seed in range(2, 8))
    for count in (0, 4):
        with pytest.raises(InputError, match=f"count={count}: the public list has 3 puzzles"):
            corpora.public_puzzles(count)


def test_windows_of_a_text(hamlet):
    corpus = corpora.open_corpus("hamlet", 16)
    assert corpus.words == tuple(sorted(set(TEXT)))
    assert len(corpus.train) + len(corpus.validation) == len(TEXT)
    assert len(corpus.validation) == pytest.approx(len(TEXT) / 10, abs=1)
    for x in (corpus.batch(30, torch.Generator().manual_seed(0)), corpus.held_out(30)):
        assert x.shape == (30, 16)
        assert all(corpus.decode(row) in TEXT for row in x)
    assert corpus.decode(torch.tensor([len(corpus.words)])) == "▒"
    with pytest.raises(InputError, match="length=0"):
        corpora.open_corpus("hamlet", 0)


def test_a_law_corpus_is_fresh_and_apart_from_what_is_held_out():
    corpus = corpora.open_corpus("agreement", 9)
    rng = torch.Generator().manual_seed(0)
    one, two = corpus.batch(20, rng), corpus.batch(20, rng)
    assert not torch.equal(one, two)
    assert corpus.law.is_valid(one).all()
    assert torch.equal(corpus.held_out(5), corpus.held_out(5))


@pytest.mark.parametrize("name", registry.names())
def test_real_texts_are_themselves(name):
    if registry.locate(name) is None:
        pytest.skip(f"{name} is not on this machine: name a folder that holds it in ARDM_DATA")
    text = corpora.text(name)
    assert len(text.encode()) == registry.entry(name).bytes
    characters = {"tinyshakespeare": 65, "text8": 27, "sudoku10k": len(set("puzzle,solution\n0123456789"))}
    assert len(set(text)) == characters[name]
