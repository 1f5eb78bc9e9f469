"""Diffusion language models with code of their own: loaded from a folder, read as they are, writing block by block.

Two tiny random models stand for two ways of speaking: one takes an attention mask over tokens and predicts in place, as LLaDA does;
one breaks on such a mask and predicts the next place, as Dream does.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, dynamic_module_utils
from transformers.utils import hub

from ardm.adapters.diffusion_lm import Blocks, DiffusionLanguageModel, Written, generate, load_diffusion
from ardm.adapters.gates import load_gate
from ardm.base.errors import InputError
from ardm.cli import main
from ardm.method.draw import Draw
from ardm.method.rules import HideThenRefill, OneWay, TokenToMask
from ardm.method.sampling import refine
from ardm.method.schedule import Schedule

CODE = """
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput


class TinyConfig(PretrainedConfig):
    model_type = "tiny-diffusion"

    def __init__(self, vocab_size=24, hidden_size=16, mask_token_id=22, max_sequence_length=40, strict=False, **more):
        self.vocab_size, self.hidden_size, self.strict = vocab_size, hidden_size, strict
        self.mask_token_id, self.max_sequence_length = mask_token_id, max_sequence_length
        super().__init__(**more)


class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(config.max_sequence_length, config.hidden_size)
        self.mix = nn.TransformerEncoderLayer(config.hidden_size, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.asked = 0
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(std=0.7)

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False):
        if self.config.strict and attention_mask is not None and attention_mask.dim() == 2:
            raise RuntimeError("an attention mask over pairs is wanted")
        self.asked += 1
        hidden = self.mix(self.words(input_ids) + self.places.weight[: input_ids.shape[1]])
        return MaskedLMOutput(logits=self.head(hidden), hidden_states=(hidden,) if output_hidden_states else None)
"""

MASK, END, PAD, WORDS = 22, 21, 20, 24
TOKENS = [*"abcdefghijklmnopqrst", "[PAD]", "[END]", "[HOLE]"]  # 23: the last id of the model has a logit and no word


def folder_of(made, monkeypatch, *, strict, tokenizer_mask=None):
    """A folder as transformers keeps a model that brings code."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(made / "modules"))
    monkeypatch.setattr(hub, "HF_MODULES_CACHE", str(made / "modules"), raising=False)
    path = made / ("strict" if strict else "lenient")
    path.mkdir()
    (path / "modeling_tiny.py").write_text(CODE)
    names = {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"}
    (path / "config.json").write_text(
        json.dumps({"model_type": "tiny-diffusion", "auto_map": names, "strict": strict, "architectures": ["TinyModel"]})
    )
    space = {}
    exec(CODE, space)
    torch.manual_seed(0)
    weights = space["TinyModel"](space["TinyConfig"](strict=strict)).state_dict()
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    letters = Tokenizer(models.WordLevel({word: k for k, word in enumerate(TOKENS)}, unk_token="a"))
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="[PAD]", eos_token="[END]", mask_token=tokenizer_mask
    ).save_pretrained(path)
    return path


@pytest.fixture(params=[False, True], ids=["in place", "next place, strict"])
def loaded(request, tmp_path, monkeypatch):
    path = folder_of(tmp_path, monkeypatch, strict=request.param)
    denoiser, tokenizer = load_diffusion(str(path), shift=request.param, trust_remote_code=True)
    return denoiser, tokenizer, denoiser.model.model, path


def said(plain, ids, shift):
    """The plain model's logits for each place."""
    with torch.no_grad():
        logits = plain(torch.tensor([ids])).logits[0]
    return torch.cat([logits[:1], logits[:-1]]) if shift else logits


def test_it_says_what_the_model_says(loaded):
    denoiser, tokenizer, plain, _ = loaded
    assert (denoiser.mask_id, denoiser.ends, denoiser.longest) == (MASK, {END}, 40)
    assert tokenizer.mask_token_id is None and denoiser.never.tolist() == [PAD, MASK, 23]
    theirs = [3, MASK, 5, MASK, MASK, 7]
    told = denoiser(denoiser.ids_of(torch.tensor([theirs])))
    words = [v for v in range(WORDS) if v not in (PAD, MASK, 23)]
    torch.testing.assert_close(told.logits[0][:, words], said(plain, theirs, denoiser.shift)[:, words])
    assert told.head is not None  # the head is read in tiles
    assert told.hidden.shape == (1, 6, 16)


def by_hand(plain, prompt, *, length, block, steps, shift):
    """Greedy writing, block by block, the surest masks of a block first, in equal shares (arXiv:2502.09992)."""
    forbidden = [PAD, MASK, 23]
    text, calls = [*prompt, *[MASK] * length], 0
    for start in range(len(prompt), len(prompt) + length, block):
        places = range(start, min(start + block, len(text)))
        count = -(-steps * len(places) // block)
        for t in range(count):
            holes, left = [i for i in places if text[i] == MASK], len(places) * (count - t - 1) // count
            logits = said(plain, text, shift)
            calls += 1
            logits[:, forbidden] = -torch.inf
            q, best = logits.softmax(-1).max(-1)
            for i in sorted(holes, key=lambda i: -float(q[i]))[: len(holes) - left]:
                text[i] = int(best[i])
        if END in (new := text[len(prompt) : places[-1] + 1]):
            return new[: new.index(END)], calls, True
    return text[len(prompt) :], calls, False


@pytest.mark.parametrize(("length", "block", "steps"), [(12, 4, 4), (12, 4, 2), (10, 4, 4), (5, 8, 4), (6, 6, 6), (6, 6, 4)])
def test_greedy_blocks_are_those_written_by_hand(loaded, length, block, steps):
    """LLaDA#70 and sglang-omni PR 446 among others: blocks that do not divide the length, fewer calls than tokens."""
    denoiser, _, plain, _ = loaded
    rule = TokenToMask(threshold=0.0, schedule=Schedule("surest", written_by=1.0))  # nothing is below 0: it revises nothing
    prompts = [[1, 2, 3], [9], [4, 4, 8, 8, 2], []]
    written = generate(denoiser, prompts, rule, Blocks(length, block, steps), draw=Draw(temperature=0))
    for prompt, got in zip(prompts, written, strict=True):
        hand = by_hand(plain, prompt, length=length, block=block, steps=steps, shift=denoiser.shift)
        assert (got.ids, got.calls, got.ended) == hand


def test_what_is_written_holds_no_mask_and_no_special_token(loaded):
    denoiser = loaded[0]
    rule = TokenToMask(threshold=0.9, schedule=Schedule("surest"))
    for one in generate(denoiser, [[k] for k in range(12)], rule, Blocks(12, 4, 4), seed=3):
        assert not {PAD, MASK, END, 23, WORDS} & set(one.ids)
        assert (len(one.ids) == 12) != one.ended


def test_a_rule_revises_within_a_block_and_never_outside(loaded):
    """A block is met as a text of its own: the rule sees neither the prompt nor what is written before."""
    denoiser, lengths = loaded[0], []

    class Watched(TokenToMask):
        def __call__(self, step, chance):
            lengths.append(step.x.shape)
            assert not step.is_fixed.any()
            action = super().__call__(step, chance)
            watched.append(int(action.remask.sum()))
            return action

    watched = []
    generate(denoiser, [[1, 2, 3]], Watched(threshold=0.9, schedule=Schedule("surest")), Blocks(8, 4, 4), seed=1)
    assert set(lengths) == {(1, 4)} and sum(watched) > 0


def test_a_text_does_not_depend_on_the_others(loaded):
    denoiser, rule = loaded[0], OneWay()
    how = {"blocks": Blocks(9, 3, 2), "seed": 5}
    both = generate(denoiser, [[1, 2], [7, 7, 7, 3]], rule, **how)
    other = generate(denoiser, [[1, 2], [8]], rule, **how)
    assert both[0] == other[0] == generate(denoiser, [[1, 2]], rule, **how)[0]
    assert generate(denoiser, [[1, 2], [1, 2]], rule, **how)[1] != both[0]  # numbers of its own


def test_blocks_draw_numbers_of_their_own(loaded):
    """With a model that hears nothing every block would be the same text, were it drawn with the same numbers."""
    denoiser, _, plain, _ = loaded
    denoiser.ends = frozenset()
    with torch.no_grad():
        plain.head.weight.zero_()
    ids = generate(denoiser, [[1]], OneWay(), Blocks(24, 8, 8), seed=2)[0].ids
    assert len({tuple(ids[k : k + 8]) for k in range(0, 24, 8)}) == 3


def test_nothing_is_computed_behind_the_end(loaded):
    """Fast-dLLM#10: work went on after the end of a text."""
    denoiser, _, plain, _ = loaded
    denoiser.layer  # noqa: B018  found out by calls of its own
    with torch.no_grad():
        plain.words.weight.zero_()  # every place says END, whatever it reads
        plain.places.weight.zero_()
        plain.mix.norm2.bias.copy_(torch.ones(16))
        plain.head.weight.zero_()
        plain.head.weight[END] = 5.0
    plain.asked = 0
    (one,) = generate(denoiser, [[1, 2]], OneWay(), Blocks(12, 4, 3))
    assert one == Written([], 3, True)
    assert plain.asked == 3


def test_a_gate_is_trained_on_it_and_writes(loaded, tmp_path, capsys):
    denoiser, _, _, path = loaded
    texts, out = tmp_path / "texts.txt", tmp_path / "gate.safetensors"
    texts.write_text(" ".join("abcdefghijklmnop"[(3 * k * k + k) % 16] for k in range(2000)))
    sizes = ["--length", "12", "--steps", "2", "--batch", "4", "--out", str(out)]
    shift = ["--shift"] if denoiser.shift else []
    main(["train-gate", str(path), "--texts", str(texts), "--diffusion", "--trust-remote-code", *shift, *sizes])
    assert "wrong tokens of held-out texts" in capsys.readouterr().out
    rule = HideThenRefill(load_gate(out, denoiser), schedule=Schedule("surest"))
    (one,) = generate(denoiser, [[1, 2, 3]], rule, Blocks(8, 4, 4))
    assert one.ended or len(one.ids) == 8


def words(size=23, mask=None, end=END):
    """A tokenizer as far as an adapter looks."""

    class Words(SimpleNamespace):
        def __len__(self):
            return size

    return Words(mask_token_id=mask, pad_token_id=PAD, eos_token_id=end, all_special_ids=[PAD, END])


def test_the_mask_of_the_tokenizer_comes_first_and_ends_can_be_added(loaded):
    plain = loaded[2]
    made = DiffusionLanguageModel.of(plain, words(mask=19), ends=[5])
    assert (made.mask_id, made.ends) == (19, {5, END})
    assert made.never.tolist() == [19, PAD, 23]
    assert DiffusionLanguageModel.of(plain, words(end=None)).ends == frozenset()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d, m: generate(d, [[1], [2, MASK]], OneWay(), Blocks(4)), "prompt 1 holds the model's mask, 22"),
        (lambda d, m: generate(d, [[24]], OneWay(), Blocks(4)), "prompt 0 holds 24: the model's ids are 0 .. 23"),
        (lambda d, m: generate(d, [[1] * 40], OneWay(), Blocks(4)), "prompt 0 of 40 tokens and length=4: .* at most 40"),
        (lambda d, m: generate(d, [[1]], OneWay(), Blocks(2**17, 1)), "1 prompts, 131072 blocks: at most 65536"),
        (lambda d, m: Blocks(0), "length=0"),
        (lambda d, m: Blocks(4, 0), "size=0"),
        (lambda d, m: Blocks(4, 4, 0), "steps=0"),
        (lambda d, m: DiffusionLanguageModel.of(m, words(size=25)), "the tokenizer has 25 ids, the model 24"),
        (lambda d, m: DiffusionLanguageModel.of(m, words(), framed=True), "framed=True"),
        (lambda d, m: DiffusionLanguageModel.of(m, words(), ends=[24]), "ends: 24 is no token"),
        (lambda d, m: DiffusionLanguageModel.of(m, words(), ends=[MASK]), "ends: 22 is no token"),
        (lambda d, m: DiffusionLanguageModel(torch.nn.Linear(2, 2), mask_id=0), "Linear has no config.vocab_size"),
    ],
)
def test_what_does_not_fit_is_one_line(loaded, make, message):
    denoiser, _, plain, _ = loaded
    plain.asked = 0
    with pytest.raises(InputError, match=message):
        make(denoiser, plain)
    assert plain.asked == 0  # before any work


def test_a_model_without_a_mask_or_without_hidden_states_is_named(loaded):
    plain = loaded[2]
    plain.config.mask_token_id = None
    with pytest.raises(InputError, match="neither Words nor the model's config has a mask_token_id"):
        DiffusionLanguageModel.of(plain, words())
    forward = plain.forward
    plain.forward = lambda input_ids, output_hidden_states=False: forward(input_ids)
    with pytest.raises(InputError, match="TinyModel gives no hidden states"):
        DiffusionLanguageModel(plain, mask_id=MASK)(torch.full((1, 3), 24))


def test_code_of_a_model_runs_only_when_it_is_trusted(tmp_path, monkeypatch):
    path = folder_of(tmp_path, monkeypatch, strict=False)
    (path / "modeling_tiny.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + CODE)
    with pytest.raises(InputError, match="transformers cannot load"):
        load_diffusion(str(path))
    assert not (tmp_path / "ran").exists()


def test_a_block_alone_is_refine_in_a_frame(loaded):
    """One loop: what is written in one block is what the sampler writes between the same ids."""
    denoiser = loaded[0]
    rule = TokenToMask(threshold=0.5, schedule=Schedule("surest"))
    (one,) = generate(denoiser, [[3, 1]], rule, Blocks(6, 6, 5), seed=9)
    x = refine(denoiser.between([3, 1], []), rule, torch.full((1, 6), WORDS), 5, seed=9).x[0].tolist()
    assert one.ids == (x[: x.index(END)] if END in x else x)
