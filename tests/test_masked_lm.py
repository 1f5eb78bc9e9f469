"""Masked language models of others: the adapter says what the plain model says, in this package's ids."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from ardm.adapters.masked_lm import MaskedLanguageModel
from ardm.base.errors import InputError
from ardm.method import head as heads
from ardm.method.gate import FOUR, AttentiveHead, OverwriteGate
from ardm.method.rules import HideThenRefill, OneWay, TokenToMask, entries
from ardm.method.sampling import refine
from ardm.method.schedule import Schedule
from ardm.method.selection import Selection
from ardm.method.types import NEVER, Denoiser

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
PAD, MASK, SPECIAL = 0, 4, (1, 2, 3)


def tiny(kind, config, **more):
    torch.manual_seed(0)
    return kind(config(**SIZES, pad_token_id=PAD, bos_token_id=1, eos_token_id=2, **more)).eval()


MODELS = {
    "BERT": lambda: tiny(BertForMaskedLM, BertConfig, max_position_embeddings=24),
    "ALBERT": lambda: tiny(AlbertForMaskedLM, AlbertConfig, embedding_size=8, max_position_embeddings=24),
    "RoBERTa": lambda: tiny(RobertaForMaskedLM, RobertaConfig, max_position_embeddings=40),
    "ModernBERT": lambda: tiny(
        ModernBertForMaskedLM,
        ModernBertConfig,
        max_position_embeddings=24,
        cls_token_id=1,
        sep_token_id=2,
        attn_implementation="eager",
    ),
}


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    return MODELS[request.param]()


@pytest.fixture
def denoiser(model):
    return MaskedLanguageModel(model, mask_id=MASK, never=SPECIAL, pad_id=PAD)


def texts(rows=3, length=9):
    return torch.randint(5, 40, (rows, length), generator=torch.Generator().manual_seed(1))


def test_it_says_what_the_model_says_of_its_own_ids(model, denoiser):
    assert isinstance(denoiser, Denoiser)
    theirs = texts()
    theirs[:, 2::3] = MASK
    ours = denoiser.ids_of(theirs)
    assert (ours[:, 2::3] == 40).all() and torch.equal(denoiser.ids_for(ours), theirs)
    said = denoiser(ours)
    with torch.no_grad():
        plain = model(input_ids=theirs, output_hidden_states=True)
    words = [v for v in range(40) if v not in (PAD, MASK, *SPECIAL)]
    torch.testing.assert_close(said.logits[..., words], plain.logits[..., words])
    torch.testing.assert_close(said.hidden, plain.hidden_states[-1])
    assert (said.logits[..., [PAD, MASK, *SPECIAL]] == NEVER).all()


class NoLogits(TorchDispatchMode):
    """Refuses numbers of all words for as many positions as a batch has."""

    def __init__(self, positions):
        super().__init__()
        self.positions = positions

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, torch.Tensor) and x.dim() > 1 and x.shape[-1] == 40 and x.numel() >= 40 * self.positions:
                raise AssertionError(f"{func} makes {tuple(x.shape)}")
        return out


def test_a_run_makes_no_logits(denoiser, monkeypatch):
    """The model computes up to its last layer, which is read a tile at a time: the recommended gate needs no more."""
    monkeypatch.setattr(heads, "TILE", {"cpu": (16, 8)})
    assert denoiser.layer is denoiser.model.get_output_embeddings()  # found out by calls of two tokens
    x = torch.full((5, 9), 40)
    gate = OverwriteGate(AttentiveHead(16, len(FOUR)), signals=FOUR).eval()
    rule = HideThenRefill(gate, Selection("threshold", 0.4, budget=2))
    with NoLogits(45):
        trace = refine(denoiser, rule, x, 6, seed=0)
    assert trace.remasks.sum() > 0
    with NoLogits(45), pytest.raises(AssertionError, match="makes"):
        denoiser.model(input_ids=texts(5), attention_mask=torch.ones(5, 9, dtype=torch.long))


@pytest.mark.parametrize("post", ["scaled", "no such layer", "another layer", "needs a position"])
def test_logits_are_given_where_the_last_layer_is_not_all(post):
    """What is done to the logits behind the layer, or a layer that cannot be found, shows: then they are taken as they are."""
    model = MODELS["BERT"]()
    plain, forward = model.get_output_embeddings(), model.cls.forward
    if post == "scaled":
        model.cls.forward = lambda h: 2 * forward(h)
    elif post == "no such layer":
        model.get_output_embeddings = lambda: None
    elif post == "another layer":
        model.get_output_embeddings = lambda: torch.nn.Linear(16, 40)
    else:
        model.cls.forward = lambda h: forward(h) + 0 * forward(h)[:, :1].amax(1, keepdim=True)
    denoiser = MaskedLanguageModel(model, mask_id=MASK, never=SPECIAL, pad_id=PAD)
    x = denoiser.ids_of(texts())
    said = denoiser(x)
    assert denoiser.layer is None and said.head is None and plain.weight.shape == (40, 16)
    with torch.no_grad():
        logits = model(input_ids=texts(), attention_mask=torch.ones(3, 9, dtype=torch.long)).logits
    torch.testing.assert_close(said.logits[..., 5:], logits[..., 5:])
    assert not plain._forward_pre_hooks


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_model_in_half_precision(model, dtype):
    half = copy.deepcopy(model).to(dtype)
    denoiser = MaskedLanguageModel(half, mask_id=MASK, never=SPECIAL, pad_id=PAD)
    x = denoiser.ids_of(texts())
    said = denoiser(x)
    with torch.no_grad():
        plain = half(input_ids=texts(), attention_mask=torch.ones(3, 9, dtype=torch.long)).logits
    assert said.head is not None and said.logits.dtype == said.hidden.dtype == torch.float32
    torch.testing.assert_close(said.logits[..., 5:], plain[..., 5:].float())
    assert (refine(denoiser, OneWay(), torch.full((2, 6), 40), 3, seed=0).x < 40).all()


def test_a_padded_text_is_predicted_as_it_is_alone(denoiser):
    x = denoiser.ids_of(texts())
    padded = torch.cat([x, torch.full((3, 4), PAD)], dim=1)
    assert denoiser.padding(padded).nonzero()[:, 1].unique().tolist() == [9, 10, 11, 12]
    torch.testing.assert_close(denoiser(padded).logits[:, :9], denoiser(x).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rule", [OneWay(), TokenToMask(threshold=0.9, schedule=Schedule("surest"))])
def test_no_special_token_and_no_mask_leaves_the_loop(denoiser, rule):
    x = torch.full((4, 12), 40)
    x[:, 0], x[:, -3:] = 1, PAD  # a start token and padding, which stay
    fixed = denoiser.padding(x) | (x == 1)
    out = refine(denoiser, rule, x, 6, seed=0, fixed=fixed).x
    assert torch.equal(out[fixed], x[fixed])
    assert not torch.isin(out[~fixed], torch.tensor([PAD, MASK, *SPECIAL, 40])).any()


def test_one_text_alone_is_that_text_in_a_padded_batch(denoiser):
    """The same draws, the same words: what is beside it and behind it plays no part."""
    batch = torch.full((2, 10), 40)
    batch[1, 6:] = PAD
    together = refine(denoiser, OneWay(), batch, 4, seed=3, fixed=denoiser.padding(batch)).x
    alone = refine(denoiser, OneWay(), torch.full((1, 6), 40), 4, seed=3, first_row=1).x
    assert torch.equal(together[1, :6], alone[0])


LENGTH = ("fixed schedule", "T2M low-prob", "T2M logit-diff")
"""Rules without a gate that look at the length of a text, as gates do: padding is part of it."""


@pytest.mark.parametrize("name", [name for name, entry in entries().items() if entry.gate is None and name not in LENGTH])
def test_padding_changes_no_text_of_a_rule_that_does_not_ask_for_the_length(denoiser, name):
    """LLaDA#89, diffusers#13598: the attention mask was ignored, and a padded row was another text."""
    entry = entries()[name]
    rule = entry.make(None, lambda x: x % 3 == 1, **entry.knobs[-1])
    batch = torch.full((2, 14), 40)
    batch[1, 6:], batch[:, 2] = PAD, 9
    together = refine(denoiser, rule, batch, 5, seed=1, fixed=denoiser.padding(batch)).x
    alone = refine(denoiser, rule, batch[1:, :6], 5, seed=1, first_row=1).x
    assert torch.equal(together[1, :6], alone[0])


def test_a_shifted_head_predicts_the_place_behind(model, denoiser):
    shifted = MaskedLanguageModel(model, mask_id=MASK, never=SPECIAL, pad_id=PAD, shift=True)
    x = denoiser.ids_of(texts())
    torch.testing.assert_close(shifted(x).logits[:, 1:], denoiser(x).logits[:, :-1])
    torch.testing.assert_close(shifted(x).hidden[:, 0], denoiser(x).hidden[:, 0])


class Words:
    """A tokenizer as far as an adapter looks."""

    def __init__(self, size=40, mask=MASK):
        self.size, self.mask_token_id, self.pad_token_id, self.all_special_ids = size, mask, PAD, [PAD, *SPECIAL, MASK]

    def __len__(self):
        return self.size


def test_a_tokenizer_says_which_ids_are_special():
    made = MaskedLanguageModel.of(MODELS["BERT"](), Words(size=38))
    assert made.never.tolist() == [0, 1, 2, 3, 4, 38, 39]  # the last two have a logit and no word
    assert (made.mask_id, made.pad_id) == (MASK, PAD)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda model: MaskedLanguageModel.of(model, Words(mask=None)), "Words has no mask token"),
        (lambda model: MaskedLanguageModel.of(model, Words(size=41)), "the tokenizer has 41 ids, the model 40"),
        (lambda model: MaskedLanguageModel(model, mask_id=40), "mask_id=40: the model's 40 ids are 0 .. 39"),
        (lambda model: MaskedLanguageModel(model, mask_id=4, never=[-1]), "never=-1"),
        (lambda model: MaskedLanguageModel(torch.nn.Linear(2, 2), mask_id=0), "Linear has no config.vocab_size"),
        (lambda model: MaskedLanguageModel(model, mask_id=MASK)(torch.full((1, 25), 40)), "25 tokens: .* at most 24"),
    ],
)
def test_what_does_not_fit_is_one_line(make, message):
    with pytest.raises(InputError, match=message):
        make(MODELS["BERT"]())


def test_logits_that_overflow_are_named():
    model = MODELS["BERT"]()
    with torch.no_grad():
        model.cls.predictions.bias[7] = torch.inf
    with pytest.raises(InputError, match="not finite: load it in bfloat16"):
        MaskedLanguageModel(model, mask_id=MASK)(torch.full((1, 3), 40))


def test_a_gate_learns_on_it(model, denoiser):
    """Its hidden states and signals are enough for the package's own gates, on texts that only somebody else's model knows."""
    from ardm.method.own_runs import RATIO, OwnRuns
    from ardm.method.train_on_own_runs import train_on_own_runs

    corpus = SimpleNamespace(
        name="texts",
        words=tuple(map(str, range(40))),
        length=9,
        vocab_size=40,
        batch=lambda count, rng: texts(count),
        held_out=texts,
        decode=str,
    )
    recipe = OwnRuns(label=RATIO, width=16, steps=2, batch=3, calls=3)
    gate, losses = train_on_own_runs(denoiser, corpus, recipe, device=torch.device("cpu"), progress=False)
    assert len(losses) == 2
    rule = HideThenRefill(gate, schedule=Schedule("surest"))
    out = refine(denoiser, rule, torch.full((2, 9), 40), 4, seed=0)
    assert (out.x < 40).all()
