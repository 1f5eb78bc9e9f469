"""Reactions as text: the judge on texts worked by hand, the tokens, the templates, the parts; and the rules' tasks on them."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from ardm.adapters.reaction_model import INSTALL, lacking

if why := lacking():
    pytest.skip(why, allow_module_level=True)

from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from ardm.adapters import reaction_model
from ardm.adapters.masked_lm import NEVER
from ardm.base.errors import InputError
from ardm.experiments import real_model, real_table, results
from ardm.experiments.play import outcome
from ardm.experiments.real_model import (
    GATES,
    LENGTH,
    RULES,
    TASKS,
    Misprints,
    ReactionScore,
    Remembering,
    TrueStart,
    entry_of,
)
from ardm.experiments.real_table import Setting
from ardm.experiments.starts import Given
from ardm.method.sampling import refine
from ardm.method.types import Corpus, Prediction
from ardm.worlds.reactions import PARTS, TEMPLATES, Reactions, ReactionWorld, judged, make_reactions, part_of, tokens_of

ASPIRIN = "O=C(O)c1ccccc1O.CC(=O)OC(C)=O>>CC(=O)Oc1ccccc1C(=O)O"


@pytest.fixture(scope="module")
def made():
    return make_reactions(LENGTH, most=60)


@pytest.mark.parametrize(
    ("text", "valid", "held"),
    [
        (ASPIRIN, True, 1.0),
        ("CC(=O)O.CN>>CNC(C)=O", True, 1.0),
        ("CC>>CCO", True, 2 / 3),  # the oxygen comes from nowhere
        ("CCBr>>CCO.Cl", True, 2 / 4),
        ("[Na+]~[OH-].CBr>>CO", True, 1.0),  # a salt in the model's notation
        ("C~1CC1>>CCC", False, 0),  # which closes no ring
        ("C[NH3+]>>CN", True, 1.0),
        ("C(C)(C)(C)(C)C>>C", False, 0),  # five bonds at a carbon
        ("c1cccc1>>C", False, 0),  # a ring of five cannot be aromatic
        ("C1CC>>CCC", False, 0),  # an open ring
        ("CC(C>>CCC", False, 0),
        ("CC>>", False, 0),
        (">>CC", False, 0),
        ("CC", False, 0),
        ("CC>>CC>>CC", False, 0),
        ("CC>O>CC", False, 0),  # a reagent between the arrows is none of this notation
        ("CC>>C_", False, 0),  # a mask is no token of a text
    ],
)
def test_the_judge_on_texts_worked_by_hand(text, valid, held):
    told = judged(text)
    assert told.valid is valid
    assert told.held == pytest.approx(held)
    assert told.sound == pytest.approx(held if valid else 0)


def test_tokens_and_text_are_each_others_inverse():
    assert tokens_of("C[C@@H](Cl)CBr.[Na+]>>C%12") == ["C", "[C@@H]", "(", "Cl", ")", "C", "Br", ".", "[Na+]", ">>", "C", "%12"]
    assert "".join(tokens_of(ASPIRIN)) == ASPIRIN
    corpus = Reactions(LENGTH)
    x = corpus.held_out(5)
    assert isinstance(corpus, Corpus)
    for row in x:
        text = corpus.decode(row)
        assert [corpus.words.index(token) for token in tokens_of(text)] == row.tolist()
    x[0, 3] = corpus.vocab_size
    assert tokens_of(corpus.decode(x[0]))[3] == "_"


def test_every_template_gives_products_that_hold_every_atom_but_what_leaves(made):
    """By formula: reactants less product is water, or hydrogen halide, as the template says."""
    leaving = {"H2O", "HCl", "HBr", "HI"}
    found = set()
    for product, text in made.items():
        assert len(tokens_of(text)) == LENGTH and judged(text).valid and judged(text).held == 1
        before, after = text.split(">>")
        assert after == product == Chem.CanonSmiles(product)
        found.add(_difference(before, after))
    assert found == leaving
    assert len(made) > 0.95 * 60 * len(TEMPLATES)  # every template gave its own, but for products that two have in common


def _difference(before: str, after: str) -> str:
    atoms = {}
    for smiles, sign in ((before, 1), (after, -1)):
        for atom in Chem.AddHs(Chem.MolFromSmiles(smiles)).GetAtoms():
            atoms[atom.GetSymbol()] = atoms.get(atom.GetSymbol(), 0) + sign
    names = {name: number for name, number in atoms.items() if number}
    rest = Chem.MolFromSmiles("O" if "O" in names else f"[H]{next(name for name in names if name != 'H')}")
    assert {a.GetSymbol() for a in Chem.AddHs(rest).GetAtoms()} == set(names) and set(names.values()) <= {1, 2}
    return CalcMolFormula(rest).replace("ClH", "HCl").replace("BrH", "HBr")


def test_the_parts_share_no_product():
    products = {}
    for part in PARTS:
        corpus = Reactions(LENGTH, part)
        texts = [corpus.decode(row) for row in corpus.held_out(corpus.sizes[part])]
        assert len(set(texts)) == len(texts)
        products[part] = {text.split(">>")[1] for text in texts}
        assert all(part_of(product) == part for product in products[part])
    assert not (products["train"] & products["test"] or products["train"] & products["validation"])
    assert not products["validation"] & products["test"]
    drawn = {
        Reactions(LENGTH).decode(row).split(">>")[1] for row in Reactions(LENGTH).batch(500, torch.Generator().manual_seed(1))
    }
    assert drawn <= products["train"]


def test_what_is_wrong_is_said_in_one_line(monkeypatch):
    with pytest.raises(InputError, match=r"part='dev': choose train or validation or test"):
        Reactions(LENGTH, "dev")
    with pytest.raises(InputError, match=r"count=100000: there are \d+ reactions for test"):
        Reactions(LENGTH).held_out(100_000)
    with pytest.raises(InputError, match=r"length=3: no reactions of so many tokens"):
        Reactions(3).held_out(1)
    monkeypatch.setattr(reaction_model.importlib.util, "find_spec", lambda name: None if name == "rxnmapper" else object())
    assert lacking() == f"the reaction model needs rxnmapper: {INSTALL}"
    reaction_model.load_reaction_model.cache_clear()
    with pytest.raises(InputError, match="needs rxnmapper: pip install"):
        reaction_model.load_reaction_model()


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr(reaction_model, "SHA256", "0")
    reaction_model.load_reaction_model.cache_clear()
    with pytest.raises(InputError, match=r"is not that of version 0\.4\.3"):
        reaction_model.load_reaction_model()


def test_the_model_knows_reactions_and_never_proposes_what_is_no_smiles():
    """Of a hidden token in fifteen, left of a true text, its first choice is mostly right; chance is one in hundreds."""
    model, corpus = reaction_model.load_reaction_model(), Reactions(LENGTH)
    assert sum(weight.numel() for weight in model.model.parameters()) == 735_567
    x = corpus.held_out(24)
    hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 1 / 15
    said = model(torch.where(hidden, corpus.vocab_size, x)).logits
    assert (said.argmax(-1) == x)[hidden].float().mean() > 0.8
    with torch.no_grad():  # each text between two special tokens, as the model was trained
        begin, end = (torch.full((24, 1), corpus.words.index(word)) for word in ("[CLS]", "[SEP]"))
        plain = model.model(torch.cat([begin, x.masked_fill(hidden, corpus.words.index("[MASK]")), end], dim=1)).logits
    torch.testing.assert_close(said[..., 15:], plain[:, 1:-1, 15:], atol=1e-3, rtol=1e-4)
    special = [
        number for number, word in enumerate(corpus.words) if word.startswith(("[PAD", "[UN", "[un", "[CLS", "[SEP", "[MASK"))
    ]
    assert len(special) == 15 and (said[..., special] == NEVER).all()


# The tasks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hidden", "wrong"), [("reactions-50", 21, 0), ("reactions-85", 35, 0), ("reactions-repair", 0, 4)]
)
def test_starts_are_made_from_the_truth(name, hidden, wrong):
    start = TASKS[name].start(6, seed=3)
    masked = start.x == Reactions(LENGTH).vocab_size
    assert (masked.sum(-1) == hidden).all()
    assert ((start.x != start.truth) & ~masked).sum(-1).tolist() == [wrong] * 6
    assert torch.equal(start.fixed, ~masked if hidden else torch.zeros_like(masked))


def test_misprints_are_tokens_of_the_texts():
    x0 = torch.tensor([[7, 7, 7, 7, 9], [7, 7, 8, 7, 7]])
    given = Given(x0, 20, torch.Generator().manual_seed(0), None, "cpu")
    x, _ = Misprints((2, 2))(given)
    assert ((x != x0).sum(-1) == 2).all() and set(x.flatten().tolist()) <= {7, 8, 9}


def test_the_score_of_a_text_worked_by_hand():
    """``CC>>CO`` where ``CC>>CC`` was behind it, two tokens open: one ends right, and of the product's two atoms one is held."""
    words = Reactions(LENGTH).words
    ids = {word: number for number, word in enumerate(words)}
    truth = torch.tensor([[ids[token] for token in ("C", "C", ">>", "C", "C")]])
    x = torch.tensor([[ids[token] for token in ("C", "C", ">>", "C", "O")]])
    begun = torch.where(torch.tensor([[False, False, False, True, True]]), len(words), truth)
    start = TrueStart(begun, begun < len(words), None, truth)
    trace = refine(
        lambda x, t: Prediction(torch.zeros(1, 5, len(words)), torch.zeros(1, 5, 0)),
        entry_of("max-prob").make(),
        begun,
        1,
        seed=0,
    )
    row = ReactionScore()(ReactionWorld("reactions", 5), x, start, trace)
    assert row["quality"] == 1 and row["held"] == 0.5 and row["recovered"] == 0.5 and row["exact"] == row["damaged"] == 0
    assert row["words"] == 0.5  # of the open tokens one C became an O
    assert row["entropy"] == pytest.approx(torch.log(torch.tensor(2.0)).item())
    assert row["loss"] == 0.5 and row["outcomes"] == "1"
    assert ReactionScore()(ReactionWorld("reactions", 5), truth, start, trace)["loss"] == 0


def test_remembering_changes_nothing_but_the_work():
    model, x = reaction_model.load_reaction_model(), Reactions(LENGTH).held_out(6)
    remembering = Remembering(model, most=4)
    for rows in (x[:4], x[2:6], x[:4]):
        said, plain = remembering(rows), model(rows)
        torch.testing.assert_close(said.logits, plain.logits, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(said.hidden, plain.hidden, atol=1e-3, rtol=1e-4)
    assert remembering.asked == 12 and remembering.computed == 4 + 2 + 2
    assert len(remembering.kept) == 4


def test_every_rule_plays_every_task_in_so_many_calls():
    model = Remembering(reaction_model.load_reaction_model())
    for task in TASKS.values():
        start = task.start(2, seed=0)
        for rule in RULES:
            if rule not in GATES:
                trace = refine(model, entry_of(rule).make(**entry_of(rule).knobs[0]), start.x, 2, seed=0, fixed=start.fixed)
                assert trace.calls.tolist() == [2, 2] and (trace.x < Reactions(LENGTH).vocab_size).all()
                assert torch.equal(trace.x[start.fixed], start.x[start.fixed])


def test_a_setting_plays_few_rules_at_the_shares_between():
    cells = Setting(seeds=2).cells()
    assert len(cells) == len(set(cells)) == 2 * (3 * 2 * len(RULES) + 2 * len(real_model.CURVE))
    assert [nfe for *_, nfe, _ in cells] == sorted(nfe for *_, nfe, _ in cells)
    with pytest.raises(InputError, match="rules='nothing': choose"):
        Setting(rules=("nothing",))


# The table ----------------------------------------------------------------------------------------------------------------


def test_a_row_of_the_published_table_is_what_is_played_today():
    """With the published gate, on another machine too, but for texts in which two tokens are as good as equal."""
    task, rule = TASKS["reactions-50"], "own ratio hide"
    (row,) = results.select(results.read("real"), task=task.name, rule=rule, nfe=8, seed=0).to_dict("records")
    start = task.start(row["count"], seed=0)
    made = entry_of(rule).make(real_model.load_gate(rule), **json.loads(row["knobs"]))
    found = outcome(task, reaction_model.load_reaction_model(), made, start, nfe=8, seed=0)
    assert found["start"] == row["start"]
    for name, within in {"quality": 0.1, "recovered": 0.03, "overwrites": 0.5, "words": 0.03}.items():
        assert found[name] == pytest.approx(row[name], abs=within), name


def test_a_table_that_is_not_whole_or_of_other_code_is_not_published(tmp_path):
    for name in ("real.csv", "real.json"):
        shutil.copy(results.RESULTS / name, tmp_path)
    table = results.read("real", tmp_path)
    facts = results.facts(tmp_path, "real")
    del facts["sha256"]
    (tmp_path / "real.json").write_text(json.dumps(facts))
    table.iloc[1:].to_csv(tmp_path / "real.csv", index=False)
    with pytest.raises(InputError, match=rf"lacks 1 of {len(table)} rows"):
        real_table.publish(tmp_path, tmp_path / "into", tmp_path / "models")
    table.assign(key=["0" * 16, *table["key"][1:]]).to_csv(tmp_path / "real.csv", index=False)
    assert "max-prob on reactions-50, 8 calls, seed 0" in real_table.state(results.read("real", tmp_path))
    with pytest.raises(InputError, match="not of today's code"):
        real_table.publish(tmp_path, tmp_path / "into", tmp_path / "models")
    assert not (tmp_path / "into").exists()


def test_what_is_published_can_be_read_again(tmp_path, monkeypatch):
    """Table, facts with their checksum, gates and the description of all tables, from a folder as ``ardm real`` leaves it."""
    monkeypatch.setattr(real_table, "stale", lambda table: [])
    for name in ("real.csv", "real.json"):
        shutil.copy(results.RESULTS / name, tmp_path)
    facts = results.facts(tmp_path, "real")
    del facts["sha256"]  # which publishing adds
    (tmp_path / "real.json").write_text(json.dumps(facts))
    shop, into = real_model.Workshop(tmp_path, tuning=1), tmp_path / "into"
    (tmp_path / "gates").mkdir()
    for rule in GATES:
        shutil.copy(real_model.gate_path(rule), shop.gate_file(rule, 0))
    written = real_table.publish(tmp_path, into, tmp_path / "models")
    assert all(path.is_file() for path in written) and {path.name for path in into.iterdir()} == {
        "real.csv",
        "real.json",
        "datapackage.json",
    }
    assert results.read("real", into).equals(results.read("real"))
    for rule in GATES:
        again = real_model.load_gate(rule, real_model.gate_path(rule, tmp_path / "models")).state_dict()
        assert all(torch.equal(value, again[name]) for name, value in real_model.load_gate(rule).state_dict().items())
    (into / "real.csv").write_text((into / "real.csv").read_text().replace("0.5", "0.6", 1))
    with pytest.raises(InputError, match="is damaged"):
        results.read("real", into)
