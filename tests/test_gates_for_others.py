"""Gates for models of Hugging Face: framed texts, one command that trains, a file that knows its model, masks that get filled."""

from __future__ import annotations

import json
from itertools import product

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from ardm.adapters.block_scheduler import GateScheduler
from ardm.adapters.gates import TokenTexts, checksum, fill, load_gate, read_gate, save_gate
from ardm.adapters.masked_lm import MaskedLanguageModel, load
from ardm.base.errors import InputError
from ardm.base.weights import write_weights
from ardm.cli import main
from ardm.method.gate import FOUR, AttentiveHead, OverwriteGate
from ardm.method.gate_recipe import RECOMMENDED
from ardm.method.rules import FixedSchedule, HideThenRefill, OneWay, TokenToMask
from ardm.method.sampling import blank, refine
from ardm.method.selection import Selection
from ardm.method.train_gate import new_gate

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *"abcdefghijklmnop"]
TEXT = " ".join("abcdefghijklmnop"[(3 * k * k + k) % 16] for k in range(2000))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random BERT and a tokenizer of single letters, as transformers saves them."""
    made = tmp_path_factory.mktemp("model")
    letters = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    letters.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    names = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "unk": "[UNK]"}
    PreTrainedTokenizerFast(
        tokenizer_object=letters, **{f"{name}_token": token for name, token in names.items()}
    ).save_pretrained(made)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=len(WORDS), max_position_embeddings=24, **sizes)).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def framed(folder):
    return load(str(folder), framed=True)


def test_a_framed_text_is_predicted_between_its_special_tokens(folder, framed):
    denoiser, tokenizer = framed
    said = denoiser(denoiser.ids_of(torch.tensor([[5, 6, 3, 8]])))
    with torch.no_grad():
        plain = AutoModelForMaskedLM.from_pretrained(folder)(torch.tensor([[1, 5, 6, 3, 8, 2]]), output_hidden_states=True)
    torch.testing.assert_close(said.logits[..., 5:], plain.logits[:, 1:-1, 5:])
    torch.testing.assert_close(said.hidden, plain.hidden_states[-1][:, 1:-1])
    assert tokenizer("a b")["input_ids"] == [1, 5, 6, 2]
    with pytest.raises(InputError, match="25 tokens: this model reads at most 24"):
        denoiser(blank(1, 23, denoiser.vocab_size))
    assert not denoiser.padding(torch.tensor([[5, 0]])).any()


def test_one_command_trains_a_gate_that_only_its_model_takes(folder, framed, tmp_path, capsys):
    texts, out = tmp_path / "texts.txt", tmp_path / "gate.safetensors"
    texts.write_text(TEXT)
    call = [
        "train-gate",
        str(folder),
        "--texts",
        str(texts),
        "--length",
        "12",
        "--steps",
        "3",
        "--batch",
        "4",
        "--out",
        str(out),
    ]
    assert main(call) == 0
    said = capsys.readouterr().out
    assert "the gate" in said and "the probability of the token" in said and said.endswith(f"{out}\n")

    denoiser, _ = framed
    gate = load_gate(out, denoiser)
    trace = refine(denoiser, HideThenRefill(gate), blank(2, 12, denoiser.vocab_size), 6, seed=0)
    assert ((trace.x >= 5) & (trace.x < len(WORDS))).all()  # letters alone: no mask, no special token

    torch.manual_seed(1)
    other = MaskedLanguageModel(BertForMaskedLM(denoiser.model.config), mask_id=3)
    with pytest.raises(InputError, match="was trained for another model"):
        load_gate(out, other)


def test_a_gate_of_signals_alone_is_trained_for_a_scheduler(folder, framed, tmp_path):
    texts, out = tmp_path / "texts.txt", tmp_path / "gate.safetensors"
    texts.write_text(TEXT)
    call = f"train-gate {folder} --texts {texts} --length 12 --steps 2 --batch 4 --signals-only --out {out}"
    assert main(call.split()) == 0
    gate, recipe, facts = read_gate(out)
    assert facts["model"] == str(folder)
    assert GateScheduler().with_gate(gate, recipe).gate.head.hidden == 0
    assert load_gate(out, framed[0]).head.hidden == 0  # and the model itself takes it too


def test_a_gate_comes_back_as_it_was_saved(framed, tmp_path):
    denoiser, _ = framed
    gate = new_gate(RECOMMENDED, 16)
    save_gate(tmp_path / "g.safetensors", gate, RECOMMENDED, denoiser, model="tiny")
    back = load_gate(tmp_path / "g.safetensors", denoiser)
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in gate.state_dict().items())
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "g.safetensors").read_bytes()[:200])
    with pytest.raises(InputError, match=r"^cut\.safetensors is not a whole model \(.*\): remove it, and make it again$"):
        load_gate(tmp_path / "cut.safetensors", denoiser)
    write_weights(tmp_path / "other.safetensors", gate.state_dict(), {"recipe": {"head": {}}})
    with pytest.raises(InputError, match="is not a gate of `ardm train-gate`"):
        load_gate(tmp_path / "other.safetensors", denoiser)


def test_the_checksum_is_of_the_weights(framed):
    denoiser, _ = framed
    before = checksum(denoiser)
    assert before == checksum(denoiser) and len(before) == 64
    weight = next(denoiser.model.parameters())
    with torch.no_grad():
        weight[0, 0] += 1e-6
        changed = checksum(denoiser)
        weight[0, 0] -= 1e-6
    assert changed != before


def test_windows_of_training_and_of_the_held_out_tenth_do_not_meet(framed):
    denoiser, tokenizer = framed
    numbers = TokenTexts(torch.arange(1000), 10, tokenizer, denoiser.vocab_size)
    assert numbers.batch(500, torch.Generator().manual_seed(0)).max() < 900 <= numbers.held_out(500).min()
    made = TokenTexts.of(TEXT, 12, tokenizer, denoiser)
    assert made.decode(made.held_out(1)[0]) in TEXT
    with pytest.raises(InputError, match="30 tokens of text: windows of 12 need at least 240"):
        TokenTexts.of(TEXT[:59], 12, tokenizer, denoiser)


def test_masks_are_filled_and_the_rest_stays(folder):
    denoiser, tokenizer = load(str(folder))
    texts = ["a b [MASK] d e f", "a [MASK] c"]
    filled = fill(denoiser, tokenizer, texts, OneWay(), 3, seed=1)
    for text, found in zip(texts, filled, strict=True):
        given, got = text.split(), found.split()
        assert len(given) == len(got) and all(a in ("[MASK]", b) for a, b in zip(given, got, strict=True))
    assert fill(denoiser, tokenizer, [texts[1]], OneWay(), 3, seed=1) == [
        fill(denoiser, tokenizer, [texts[1], texts[1]], OneWay(), 3, seed=1)[0]
    ]


@pytest.mark.parametrize("kind", ["T2M", "attentive gate", "fixed schedule"])
def test_a_text_is_filled_as_it_is_alone_whatever_stands_beside_it(folder, kind):
    """LLaDA#89, diffusers#13598: a padded text became another one. These rules look at the length, so nothing may be padded."""
    denoiser, tokenizer = load(str(folder))
    gate = OverwriteGate(AttentiveHead(denoiser(torch.tensor([[5]])).hidden.shape[-1], len(FOUR)), signals=FOUR).eval()
    with torch.no_grad():
        for k, parameter in enumerate(gate.head.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(k)))
    rule = {
        "T2M": TokenToMask(threshold=0.9),
        "attentive gate": HideThenRefill(gate, Selection("threshold", 0.4, budget=2)),
        "fixed schedule": FixedSchedule(0.3),
    }[kind]
    texts = ["a [MASK] c [MASK] [MASK] b d [MASK]", "[MASK] b", "[MASK] c", "a [MASK] [MASK] [MASK] f"]
    for seed, (row, text) in product(range(4), enumerate(texts)):
        together = fill(denoiser, tokenizer, texts, rule, 5, seed=seed, revise=True)
        x = denoiser.ids_of(tokenizer([text], return_tensors="pt")["input_ids"])
        fixed = torch.isin(x, torch.tensor(tokenizer.all_special_ids)) & (x != denoiser.vocab_size)
        alone = refine(denoiser, rule, x, 5, seed=seed, fixed=fixed, first_row=row).x
        assert together[row] == tokenizer.decode(denoiser.ids_for(alone)[0].tolist(), skip_special_tokens=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nowhere/at-all"}, "transformers cannot load"),
        ({"texts": b"\xff\xfe"}, "is not text in UTF-8"),
        ({"texts": b"a b c"}, "3 tokens of text: windows of 12 need at least 240"),
        ({"length": "23"}, "25 tokens: this model reads at most 24"),
        ({"length": "1"}, "a window has at least 2 tokens"),
    ],
)
def test_bad_input_is_one_line_before_any_training(folder, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    texts = tmp_path / "texts.txt"
    texts.write_bytes(change.get("texts", TEXT.encode()))
    model, length = change.get("model", str(folder)), change.get("length", "12")
    assert main(["train-gate", model, "--texts", str(texts), "--length", length, "--out", str(tmp_path / "g.safetensors")]) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == '["texts.txt"]'
