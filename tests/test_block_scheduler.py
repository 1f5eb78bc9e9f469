"""A gate in diffusers' block sampler: switched off it is the parent, switched on it is what :func:`refine` does."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import BlockRefinementScheduler, LLaDA2Pipeline
from transformers import BertConfig, BertForMaskedLM

from ardm.adapters.block_scheduler import GateScheduler
from ardm.adapters.masked_lm import MaskedLanguageModel
from ardm.base.errors import InputError
from ardm.method.draw import Draw
from ardm.method.gate_recipe import RECOMMENDED, GateRecipe, Head
from ardm.method.rules import HideThenRefill
from ardm.method.sampling import refine
from ardm.method.schedule import due, lowest
from ardm.method.selection import Selection
from ardm.method.train_gate import new_gate
from ardm.method.types import Action

WORDS, MASK, LENGTH, STEPS = 40, 4, 12, 6
RECIPE = GateRecipe(head=Head("attentive", hidden=False), signals=RECOMMENDED.signals, seed=3)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForMaskedLM(BertConfig(vocab_size=WORDS, max_position_embeddings=64, **sizes)).eval()
    with torch.no_grad():
        model.cls.predictions.decoder.weight.mul_(30)  # q of some certainty, so that texts differ
    return model


def with_gate(**how):
    scheduler = GateScheduler(block_length=LENGTH, num_inference_steps=STEPS, threshold=0.9, editing_threshold=0.5, **how)
    return scheduler.with_gate(new_gate(RECIPE, 0), RECIPE)


def made_by(scheduler, model, *, threshold=0.9, **how):
    """Ids of two blocks behind a prompt of three tokens, and every step as the pipeline saw it."""
    seen = []

    def look(pipe, number, step, told):
        seen.append(SimpleNamespace(**{name: value.clone() for name, value in told.items()}))
        return {}

    pipe = LLaDA2Pipeline(model=model, scheduler=scheduler, tokenizer=None)
    pipe.set_progress_bar_config(disable=True)
    ids = pipe(
        input_ids=torch.tensor([[7, 8, 9], [10, 11, 12]]),
        gen_length=2 * LENGTH - 3,
        block_length=LENGTH,
        num_inference_steps=STEPS,
        threshold=threshold,
        mask_token_id=MASK,
        eos_token_id=None,
        eos_early_stop=False,
        output_type="seq",
        use_chat_template=False,
        callback_on_step_end=look,
        callback_on_step_end_tensor_inputs=["block_x", "editing_transfer_index"],
        **how,
    ).sequences
    return ids, seen


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("editing_threshold", [None, 0.0, -1.0])
def test_without_a_threshold_it_is_the_parent(model, temperature, editing_threshold):
    parent = BlockRefinementScheduler(block_length=LENGTH, num_inference_steps=STEPS, threshold=0.9)
    ours = GateScheduler(
        block_length=LENGTH, num_inference_steps=STEPS, threshold=0.9, editing_threshold=editing_threshold
    ).with_gate(new_gate(RECIPE, 0), RECIPE)
    how = {"temperature": temperature, "editing_threshold": editing_threshold}
    (expected, steps), (ids, also) = (
        made_by(one, model, **how, generator=torch.Generator().manual_seed(5)) for one in (parent, ours)
    )
    assert torch.equal(ids, expected)
    assert len(steps) == len(also)


class _Block:
    """Masks as the block sampler writes them, and what is hidden by the gate: for one block, in terms of this package."""

    def __init__(self, scheduler):
        self.quota = scheduler.get_num_transfer_tokens(LENGTH, STEPS).tolist()
        self.rule = HideThenRefill(scheduler.gate, Selection("threshold", 0.5, budget=scheduler.config.budget))

    def __call__(self, step, chance):
        sure = step.is_mask & (step.now.top.exp() > 0.9)
        count = torch.stack([sure.sum(-1), torch.full_like(due(step), self.quota[step.t - 1]), due(step)]).amax(0)
        edit = self.rule.revise(step, chance)
        return Action(write=lowest(-step.now.top, step.is_mask, count) | edit.write, remask=edit.remask)


@pytest.mark.parametrize("budget", [1, 4, None])
def test_with_a_gate_its_tokens_are_those_of_refine(model, budget):
    scheduler = with_gate(budget=budget)
    denoiser = MaskedLanguageModel(model, mask_id=MASK)
    x = torch.full((5, LENGTH), MASK)
    x[:, :2] = torch.arange(10, 20).reshape(5, 2)
    prompt = torch.arange(LENGTH) < 2
    start = denoiser.ids_of(x)
    trace = refine(
        denoiser, _Block(scheduler), start, STEPS, seed=0, fixed=prompt.expand_as(x), draw=Draw(temperature=0), record=True
    )
    scheduler.set_timesteps(STEPS, block_length=LENGTH)
    for number, frame in enumerate(trace.frames):
        with torch.no_grad():
            logits = model(x).logits
        x = scheduler.step(logits, number, x, mask_token_id=MASK, prompt_mask=prompt).prev_sample
        assert torch.equal(denoiser.ids_of(x), frame.x), f"step {number + 1}"
    assert trace.overwrites.sum() > 5


@pytest.mark.parametrize("max_post_steps", [0, 1, 16])
@pytest.mark.parametrize("threshold", [0.9, 0.01])
def test_the_pipeline_ends_without_masks_and_leaves_the_prompt(model, threshold, max_post_steps):
    scheduler = with_gate()
    ids, steps = made_by(scheduler, model, threshold=threshold, max_post_steps=max_post_steps)
    assert not (ids == MASK).any()
    assert torch.equal(steps[-1].block_x[:, :3], torch.tensor([[7, 8, 9], [10, 11, 12]]))
    hidden = [step.editing_transfer_index & (step.block_x[:, -LENGTH:] == MASK) for step in steps]
    assert sum(int(one.sum()) for one in hidden) > 3
    plain, _ = made_by(scheduler, model, threshold=threshold, editing_threshold=0.0)
    assert not torch.equal(ids, plain)


def test_the_mask_is_never_proposed():
    scheduler, logits = with_gate(), torch.randn(2, LENGTH, WORDS, generator=torch.Generator().manual_seed(0))
    logits[..., MASK] = 20.0
    scheduler.set_timesteps(STEPS, block_length=LENGTH)
    after = scheduler.step(logits, 0, torch.full((2, LENGTH), MASK), mask_token_id=MASK, threshold=0.0)
    assert not (after.sampled_tokens == MASK).any()
    assert not (after.prev_sample == MASK).any()


def test_it_is_kept_in_a_folder(model, tmp_path):
    scheduler = with_gate(budget=2)
    scheduler.save_pretrained(tmp_path)
    again = GateScheduler.from_pretrained(tmp_path)
    assert again.config.budget == 2 and again.recipe == RECIPE
    assert torch.equal(made_by(again, model)[0], made_by(scheduler, model)[0])


def test_a_folder_without_a_gate(tmp_path):
    GateScheduler(budget=3).save_pretrained(tmp_path)
    assert GateScheduler.from_pretrained(tmp_path).gate is None


def test_bad_input():
    with pytest.raises(InputError, match="no hidden states"):
        GateScheduler().with_gate(new_gate(GateRecipe(), 16), GateRecipe())
    scheduler, x = with_gate(), torch.zeros(1, LENGTH, dtype=torch.long)
    with pytest.raises(InputError, match="mask_token_id"):
        scheduler.step(torch.zeros(1, LENGTH, WORDS), 0, x)
