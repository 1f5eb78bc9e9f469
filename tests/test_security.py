"""Nothing that is read is run: no pickle, no string for a shell, no code from parameters, no formula for a spreadsheet."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import pickle
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import nbformat
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_runs import make_project

mpl.use("Agg")

from matplotlib import pyplot as plt

from ardm.adapters import masked_lm
from ardm.base.errors import InputError
from ardm.base.graph import Unit, run
from ardm.base.sheets import inert, inert_table
from ardm.book.figures import publish
from ardm.book.runs import execute
from ardm.experiments.store import Store, denoiser_made
from ardm.experiments.work import as_csv
from ardm.method.train_denoiser import DenoiserRecipe

ROOT = Path(__file__).resolve().parent.parent

# What the code itself does ------------------------------------------------------------------------------------------------

FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "telnetlib",
    "ftplib",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.spawnl", "tempfile.mktemp"}
FORBIDDEN_CALLS |= {
    "torch.load",
    "torch.save",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pd.read_pickle",
    "subprocess.getoutput",
}
FORBIDDEN_SETTINGS = {("shell", True), ("allow_pickle", True), ("verify", False), ("weights_only", False)}


def faults(source: str) -> list[str]:
    """What of a source would run what it reads, or trust whom it asks."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            safe = called == "torch.load" and any(one.arg == "weights_only" for one in node.keywords)
            found += [called] * (called in FORBIDDEN_CALLS and not safe)
            settings = [(one.arg, one.value.value) for one in node.keywords if isinstance(one.value, ast.Constant)]
            found += [f"{name}={value}" for name, value in settings if (name, value) in FORBIDDEN_SETTINGS]
    return found


def sources() -> dict[str, str]:
    """The Python of the package, of the scripts that build the book and of the notebooks."""
    files = [*(ROOT / "ardm").rglob("*.py"), *(ROOT / "book").glob("*.py")]
    found = {str(path.relative_to(ROOT)): path.read_text("utf8") for path in files}
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        found[str(path.relative_to(ROOT))] = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "requests.get(url, verify=False)",
        "eval(text)",
    ],
)
def test_the_look_at_the_sources_sees_what_it_is_for(source):
    assert faults(source)


def test_no_source_runs_what_it_reads():
    found = {name: faults(source) for name, source in sources().items()}
    assert len(found) > 100 and {name: those for name, those in found.items() if those} == {}


# Files of others ----------------------------------------------------------------------------------------------------------


class Bomb:
    """What makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_malicious_file_under_the_name_of_a_model_is_refused_and_does_not_run(tmp_path):
    mark, store, recipe = tmp_path / "ran", Store(tmp_path), DenoiserRecipe(corpus="parity", length=6)

    path = store.file(denoiser_made(recipe))
    torch.save({"weight": Bomb(mark)}, path)
    with pytest.raises(InputError, match=rf"^{path.name} is not a whole model \(.*\): remove it, and make it again$"):
        store.denoiser(recipe)
    assert not mark.exists()
    torch.load(io.BytesIO(path.read_bytes()), weights_only=False)  # who unpickles it has the folder
    assert mark.exists()


def test_malicious_weights_of_hugging_face_are_refused_and_do_not_run(tmp_path):
    from transformers import BertConfig, BertTokenizer

    mark, folder = tmp_path / "ran", tmp_path / "model"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertConfig(vocab_size=7, architectures=["BertForMaskedLM"], **sizes).save_pretrained(folder)
    torch.save({"cls.predictions.bias": Bomb(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"^transformers cannot load .*model"):
        masked_lm.load(str(folder))
    assert not mark.exists()


@pytest.mark.parametrize("text", ['{"__reduce__": 1}', "!!python/object/apply:os.mkdir [ran]", pickle.dumps([1]).hex()])
def test_facts_are_json_and_nothing_else(tmp_path, text):
    """A notebook that is no JSON is refused, whatever it would be to another reader."""
    from ardm.book.notebooks import read_notebook

    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(InputError, match=r"a\.ipynb"):
        read_notebook(tmp_path / "a.ipynb")


# Parameters and folders ---------------------------------------------------------------------------------------------------

EVIL = [
    "a\"\nimport os; os.mkdir('ran')\n\"",
    "'''\n__import__('os').mkdir('ran')\n'''",
    '"""\n__import__("os").mkdir("ran")\n"""',
    "\\",
    "a\\\"; __import__('os').mkdir('ran') #",
    "{__import__('os').mkdir('ran')}",
    "!mkdir ran",
    "%system mkdir ran",
    "\u2028__import__('os').mkdir('ran')\u2029",
]


def test_a_parameter_is_text_whatever_it_says(tmp_path, monkeypatch, no_corpora):
    """Each comes back as it was given; the notebook says it in one run with a list of them joined by a sign of none."""
    notebooks = make_project(tmp_path / "project")
    path, joined = notebooks / "01_toy.ipynb", "§".join(EVIL)
    declare = nbformat.v4.new_code_cell('words: str = "none"  # any text', id="parameters", metadata={"tags": ["parameters"]})
    say = nbformat.v4.new_code_cell("import json\nprint(json.dumps(words.split('§')))", id="say")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[declare, say], metadata={"kernelspec": kernel}), path)
    execute(path, tmp_path / "out" / "01_toy.ipynb", {"words": joined}, progress=False)
    printed = nbformat.read(tmp_path / "out" / "01_toy.ipynb", as_version=4).cells[-1].outputs[0].text
    assert json.loads(printed) == EVIL
    assert not list(tmp_path.rglob("ran"))


def test_no_name_of_a_folder_is_read_by_a_shell(tmp_path):
    """The graph writes commands for a shell, the only place that does; a name may hold any sign."""
    folder = tmp_path / "a; touch x $(touch y) `touch z` & 'q' \" {b} > w"
    folder.mkdir()
    command = ("sh", "-c", 'printf %s "$1" >"$2"', "sh", "$(touch y); `touch z` {c}", str(folder / "said; touch x"))
    run([Unit(kind="play", name="one", command=command, says="the one")], folder, jobs=1, say=lambda _: None)
    assert (folder / "said; touch x").read_text() == "$(touch y); `touch z` {c}"
    assert not [path for path in tmp_path.rglob("*") if path.name in set("wxyz")]


# Spreadsheets and pictures ------------------------------------------------------------------------------------------------


@given(
    cell=st.one_of(
        st.text(max_size=12), st.sampled_from(["=1+1", "+SUM(A1)", "-2+3", "@x", "\t=1", "\r=1", "=", "-1.5", "+3", "-"])
    )
)
def test_no_cell_of_text_is_a_formula(cell):
    """A spreadsheet computes what begins with one of six signs; a number it only shows, and a sign alone is a sign."""
    made = inert(cell)
    assert made in (cell, f"'{cell}")
    if len(made) > 1 and made[0] in "=+-@\t\r":
        assert made == cell and float(made) is not None
    if made != cell:
        assert cell[0] in "=+-@\t\r"


def test_tables_that_are_written_hold_no_formula_and_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    table = pd.DataFrame({"=name": ["=1+1", "plain", None], "number": [-1.5, 2.0, 3.0], "whole": [-1, 2, 3]})
    fig, _ = plt.subplots()
    publish(fig, id="fig-a", caption="Some words here.", alt="Some words here.", data=table, folder=tmp_path)
    read = list(csv.reader((tmp_path / "fig-a.csv").open()))
    assert read == [["'=name", "number", "whole"], ["'=1+1", "-1.5", "-1"], ["plain", "2", "2"], ["", "3", "3"]]
    assert list(csv.reader(io.StringIO(as_csv([{"rule": "@x", "loss": -0.5}])))) == [["rule", "loss"], ["'@x", "-0.5"]]
    assert list(table["=name"])[:2] == ["=1+1", "plain"] and inert_table(table)["whole"].dtype == table["whole"].dtype


def test_the_words_of_a_figure_are_words_in_its_svg(tmp_path, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    words = '<script>alert(1)</script><a onload="x">&amp;]]>'
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], label=words)
    ax.set(title=words, xlabel=words)
    ax.legend()
    publish(fig, id="fig-a", caption="Some words here.", alt="Some words here.", data=pd.DataFrame({"x": [1]}), folder=tmp_path)
    for name in ("fig-a.svg", "fig-a.dark.svg"):
        tree = ElementTree.parse(tmp_path / name)
        tags = {node.tag.rpartition("}")[2] for node in tree.iter()}
        assert not tags & {"script", "a", "foreignObject", "image"}
        assert not [name for node in tree.iter() for name in node.attrib if name.lower().startswith("on")]
        assert words in {node.text for node in tree.iter()}
    assert words in json.loads((tmp_path / "fig-a.marks.json").read_text())["series"]
