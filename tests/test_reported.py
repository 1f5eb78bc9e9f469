"""What users of other samplers reported: each of these bugs, looked for in every rule of ours."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from small import B, L, V, rule_of, start, transformer

from ardm.base.errors import InputError
from ardm.method.draw import Draw
from ardm.method.rules import LeftToRight, entries
from ardm.method.sampling import blank, refine
from ardm.method.types import Prediction

every_rule = pytest.mark.parametrize("name", entries())


class Spy:
    """A rule that notes the steps it meets and what was decided, with the same proposals in every run if they are ``given``."""

    def __init__(self, rule, given=None):
        self.rule, self.given, self.steps, self.actions = rule, given, [], []

    def __call__(self, step, chance):
        if self.given is not None:
            step = replace(step, proposal=self.given)
        action = self.rule(step, chance)
        self.steps.append(step)
        self.actions.append(action)
        return action


# Dream#72: confidence was taken after the temperature; near 0 all were equally sure, and the order became left to right.
@every_rule
def test_the_temperature_changes_no_rank_of_confidence(name):
    denoiser, (x, fixed) = transformer(), start()
    proposal = torch.randint(V, x.shape, generator=torch.Generator().manual_seed(1))
    spies = []
    for temperature in (1.0, 0.0, 1e-3, 5.0):
        spies.append(Spy(rule_of(name, denoiser), proposal))
        refine(denoiser, spies[-1], x, 2, seed=0, fixed=fixed, draw=Draw(temperature))
    first = spies[0]
    for spy in spies[1:]:
        for said in ("entropy", "margin", "top", "best"):
            assert torch.equal(getattr(spy.steps[0].now, said), getattr(first.steps[0].now, said))
        assert torch.equal(spy.actions[0].write, first.actions[0].write)
        assert torch.equal(spy.actions[0].remask, first.actions[0].remask)


# Dream#56, Dream#84: temperature 0 took another way than small temperatures do, and gave other texts.
@every_rule
def test_temperature_zero_is_the_limit_of_small_ones(name):
    denoiser, (x, fixed) = transformer(), start()
    for form in (denoiser, denoiser.by_head):
        texts = [
            refine(form, rule_of(name, denoiser), x, 3, seed=2, fixed=fixed, draw=Draw(temperature)).x
            for temperature in (0.0, 1e-5)
        ]
        assert torch.equal(texts[0], texts[1])


# LLaDA#70: a sampler named after remasking that never hid a token again.
@every_rule
def test_a_rule_that_says_it_revises_does(name):
    entry, denoiser = entries()[name], transformer()
    revised = False
    for knobs, draw in product(entry.knobs, (Draw(), Draw(3.0))):
        trace = refine(denoiser, rule_of(name, denoiser, knobs), start()[0], 8, seed=3, draw=draw)
        revised |= bool(trace.overwrites.sum() > 0)
        if revised and entry.revises:
            break
    assert revised == entry.revises


# LLaDA#70: at a single step nothing can be hidden and written again; then no overwrite may be counted that was not made.
@every_rule
def test_what_cannot_be_revised_is_not_said_to_be(name):
    denoiser = transformer()
    trace = refine(denoiser, rule_of(name, denoiser), blank(B, L, V), 1, seed=0)
    assert trace.overwrites.sum() == trace.changes.sum() == trace.wasted.sum() == trace.overwritten.sum() == 0
    assert (trace.writes == L).all()


# Fast-dLLM#39, UPO: a result that depends on how many other texts were in the batch.
@every_rule
def test_a_text_is_the_same_alone_and_in_a_batch(name):
    denoiser, (x, fixed) = transformer(), start()
    how = {"seed": 4, "draw": Draw(1.5), "patience": 2}
    whole = refine(denoiser, rule_of(name, denoiser), x, 5, fixed=fixed, **how)
    for k in (0, B - 1):
        part = slice(k, k + 1)
        alone = refine(denoiser, rule_of(name, denoiser), x[part], 5, fixed=fixed[part], first_row=k, **how)
        for count in ("x", "calls", "writes", "rewrites", "remasks", "settled"):
            assert torch.equal(getattr(whole, count)[part], getattr(alone, count)), count


# sglang PR 39592: a mask inside a prompt, which nobody would ever write.
@every_rule
def test_a_mask_in_a_prompt_is_refused(name):
    denoiser, (x, fixed) = transformer(), start()
    with pytest.raises(InputError, match="a fixed position holds a mask"):
        refine(denoiser, rule_of(name, denoiser), x, 4, seed=0, fixed=fixed | (x == V))


# sglang-omni PR 446: a length that is no multiple of the block was written beyond its end, or not to it.
@pytest.mark.parametrize("steps", range(1, 2 * L))
def test_blocks_need_not_divide_the_length(steps):
    trace = refine(transformer(), LeftToRight(), blank(2, L, V), steps, seed=0, record=True)
    sizes = [frame.write[0].sum().item() for frame in trace.frames]
    places = [place for frame in trace.frames for place in frame.write[0].nonzero().flatten().tolist()]
    assert places == list(range(L))
    assert max(sizes) - min(sizes) <= 1 or steps > L


# Diffulex#39: masks in what was handed out as finished.
@every_rule
@pytest.mark.parametrize("steps", [1, 2, L + 4])
def test_no_mask_is_left(name, steps):
    denoiser, (x, fixed) = transformer(), start()
    for begin, given, patience in ((x, fixed, None), (blank(B, L, V), None, 1)):
        trace = refine(denoiser, rule_of(name, denoiser), begin, steps, seed=5, fixed=given, patience=patience)
        assert ((trace.x >= 0) & (trace.x < V)).all()


# duo#16: two ways through the code for one thing, and two numbers. (Logits and head: tests/test_belief.py.)
@every_rule
def test_watching_and_checking_change_nothing(name):
    denoiser, (x, fixed) = transformer(), start()
    runs = [
        refine(denoiser, rule_of(name, denoiser), x, 4, seed=6, fixed=fixed, record=record, check=check)
        for record, check in ((False, True), (True, True), (False, False))
    ]
    for run in runs[1:]:
        for count in ("x", "calls", "writes", "rewrites", "changes", "remasks", "wasted", "settled", "overwritten"):
            assert torch.equal(getattr(run, count), getattr(runs[0], count)), count


# Fast-dLLM#10: work on texts that were finished.
@every_rule
def test_nothing_is_computed_after_the_end(name):
    denoiser, (x, fixed) = transformer(), start()
    asked, drawn = [], []

    def counting(x, time):
        asked.append(len(x))
        said = denoiser(x, time)
        return Prediction(said.logits, said.hidden)

    class Counts(Draw):
        def __call__(self, log_q, uniform, **how):
            drawn.append(len(log_q))
            return super().__call__(log_q, uniform, **how)

    spy = Spy(rule_of(name, denoiser))
    trace = refine(counting, spy, x, 25, seed=7, fixed=fixed, draw=Counts(0.0), patience=1)
    decided = [len(step.x) for step in spy.steps]
    assert asked == drawn == decided == [int((trace.calls > t).sum()) for t in range(len(asked))]
    assert 0 not in asked
