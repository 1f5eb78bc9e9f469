"""The registry, the order of places, checksums and the errors; no test touches the network."""

import hashlib
import json
import zipfile

import pytest
import torch

from ardm.base.errors import InputError
from ardm.worlds import corpora
from ardm.worlds.puzzles import GridCorpus, complete

TEXT = "to be or not to be, that is the question. " * 40
SHA = hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry of one text and one archive whose first part counts; empty folders for ARDM_DATA and the cache."""
    archive = tmp_path / "long.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("long", TEXT + "and more that does not count")
    entries = {
        "hamlet": {
            "url": "http://invalid.invalid/hamlet.txt",
            "download_sha256": SHA,
            "file": "hamlet.txt",
            "bytes": len(TEXT),
            "sha256": SHA,
        },
        "long": {
            "url": archive.as_uri(),
            "download_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "member": "long",
            "file": "long-prefix.txt",
            "bytes": len(TEXT),
            "sha256": SHA,
        },
    }
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(entries))
    (tmp_path / "given").mkdir()
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(corpora, "REGISTRY", path)
    monkeypatch.setattr(corpora, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("ARDM_DATA", str(tmp_path / "given"))
    corpora._registry.cache_clear()
    corpora.text.cache_clear()
    yield tmp_path
    corpora._registry.cache_clear()
    corpora.text.cache_clear()


def test_ardm_data_is_tried_before_the_cache(registry):
    (registry / "cache" / "hamlet.txt").write_text("the cached one is not looked at")
    (registry / "given" / "hamlet.txt").write_text(TEXT)
    assert corpora.locate("hamlet") == registry / "given" / "hamlet.txt"
    assert corpora.text("hamlet") == TEXT


def test_the_cache_is_used_without_ardm_data(registry, monkeypatch):
    monkeypatch.delenv("ARDM_DATA")
    assert corpora.locate("hamlet") is None
    (registry / "cache" / "hamlet.txt").write_text(TEXT)
    assert corpora.text("hamlet") == TEXT


def test_ardm_data_must_be_a_folder(registry, monkeypatch):
    monkeypatch.setenv("ARDM_DATA", str(registry / "nowhere"))
    with pytest.raises(InputError, match=r"ARDM_DATA=.*nowhere: there is no such folder"):
        corpora.locate("hamlet")


def test_a_download_that_is_not_itself_is_refused_and_not_kept(registry, monkeypatch):
    """pooch itself checks the archive; a text that differs after unpacking is refused as well."""
    import pooch

    bad = registry / "long.zip"
    with zipfile.ZipFile(bad, "w") as file:
        file.writestr("long", "something else of the same kind" * 100)
    monkeypatch.setattr(pooch, "retrieve", lambda url, known_hash, path, fname: bad)
    with pytest.raises(InputError, match="is not the registered"):
        corpora.text("long")
    assert not list((registry / "cache").iterdir())


def test_a_wrong_checksum_names_the_file_and_the_fix(registry):
    (registry / "given" / "hamlet.txt").write_text(TEXT + "!")
    with pytest.raises(InputError, match=r"given/hamlet\.txt: SHA-256 .* is not the registered .*; remove it"):
        corpora.text("hamlet")


def test_a_missing_text_offline_says_what_to_put_where(registry):
    with pytest.raises(InputError, match=r"put hamlet\.txt \(SHA-256 .*\) into a folder and name it in ARDM_DATA") as caught:
        corpora.text("hamlet")
    assert "\n" not in str(caught.value)


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
def puzzles(registry, monkeypatch):
    """A registry of three puzzles to be solved after the download; the folder, and a download to be filled."""
    import pooch

    solved = [GridCorpus().decode(grid).replace("\n", "") for grid in complete(3, seed=5)]
    listed = ["." * (i + 1) + grid[i + 1 :] for i, grid in enumerate(solved)]
    table = "puzzle,solution\n" + "".join(f"{a.replace('.', '0')},{b}\n" for a, b in zip(listed, solved, strict=True))
    entry = {"url": "http://invalid.invalid/list.txt", "convert": "solve", "file": "solved.csv", "bytes": len(table)}
    entry["sha256"] = hashlib.sha256(table.encode()).hexdigest()
    (registry / "registry.json").write_text(json.dumps({"sudoku10k": entry}))
    corpora._registry.cache_clear()
    download = registry / "cache" / "list.txt"
    download.write_text("\n".join(listed) + "\n")
    monkeypatch.setattr(pooch, "retrieve", lambda url, known_hash, path, fname: download if known_hash is None else None)
    return registry, table, download


def test_a_list_of_puzzles_is_solved_once_and_only_the_result_is_kept(puzzles):
    registry, table, _ = puzzles
    assert corpora.text("sudoku10k") == table
    assert [p.name for p in (registry / "cache").iterdir()] == ["solved.csv"]
    assert (registry / "cache" / "solved.csv").read_text() == table


@pytest.mark.parametrize("change", [lambda listed: listed[:82], lambda listed: "<html>" + listed])
def test_another_list_of_puzzles_is_refused_and_not_kept(puzzles, change):
    registry, _, download = puzzles
    download.write_text(change(download.read_text()))
    with pytest.raises(InputError, match=r"is not the registered|is no grid"):
        corpora.text("sudoku10k")
    assert not list((registry / "cache").iterdir())


def test_public_puzzles_are_drawn_without_repetition(puzzles):
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


def test_an_archive_is_cut_to_its_registered_part_and_cached_whole(registry, monkeypatch):
    import pooch

    archive = registry / "long.zip"
    monkeypatch.setattr(pooch, "retrieve", lambda url, known_hash, path, fname: archive)
    assert corpora.text("long") == TEXT
    assert (registry / "cache" / "long-prefix.txt").read_text() == TEXT
    assert [p.name for p in (registry / "cache").iterdir()] == ["long-prefix.txt"]


def test_windows_of_a_text(registry):
    (registry / "given" / "hamlet.txt").write_text(TEXT)
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


def test_the_real_registry_is_complete():
    for name, entry in json.loads(corpora.REGISTRY.read_text()).items():
        assert {"title", "source", "url", "file", "bytes", "sha256"} <= set(entry), name
        assert ("download_sha256" in entry) != ("convert" in entry), name  # what is solved is checked after that
        assert len(entry["sha256"]) == len(entry.get("download_sha256", entry["sha256"])) == 64


@pytest.mark.parametrize("name", corpora.names())
def test_real_texts_are_themselves(name):
    if corpora.locate(name) is None:
        pytest.skip(f"{name} is not on this machine: name a folder that holds it in ARDM_DATA")
    text = corpora.text(name)
    assert len(text.encode()) == corpora._entry(name)["bytes"]
    characters = {"tinyshakespeare": 65, "text8": 27, "sudoku10k": len(set("puzzle,solution\n0123456789"))}
    assert len(set(text)) == characters[name]
