"""A gate in the block sampler of diffusers: what ``LLaDA2Pipeline(model, scheduler, tokenizer)`` takes as its scheduler.

Needs the extra ``diffusers``. No hidden states reach a scheduler: the gate is one that reads signals alone,
``Head(hidden=False)``.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import BlockRefinementScheduler
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_block_refinement import BlockRefinementSchedulerOutput
from torch import Tensor

from ardm.adapters.gates import read_gate
from ardm.base.devices import single
from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.base.weights import write_weights
from ardm.method.belief import Table
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import GateRecipe
from ardm.method.rules.hide import HideThenRefill
from ardm.method.schedule import due, lowest
from ardm.method.selection import Selection
from ardm.method.types import NEVER, Action, Belief, Bool, Float, Int, Step

__all__ = ["GateScheduler"]

WEIGHTS = "gate.safetensors"


class GateScheduler(BlockRefinementScheduler):
    """diffusers' block refinement, in which a gate decides what is taken back: hide then refill.

    Masks are written as the parent writes them, the surest first. A visible token outside the prompt with p above
    ``editing_threshold`` becomes a mask, at most ``budget`` a step, and a later step writes it anew; at the last step it is
    replaced in place. Hidden tokens are owed: of the masks left at least an equal share is written at every step that is left, so
    that none stays. ``editing_threshold`` of None, 0 or less switches the gate off, as in the parent, whose tokens then come out.

    :meth:`with_gate` gives it its gate; :meth:`save_pretrained` and :meth:`from_pretrained` keep both in one folder.
    """

    gate: OverwriteGate | None = None
    recipe: GateRecipe | None = None

    @register_to_config
    def __init__(
        self,
        block_length: int = 32,
        num_inference_steps: int = 32,
        threshold: float = 0.95,
        editing_threshold: float | None = 0.5,
        minimal_topk: int = 1,
        budget: int | None = 4,
    ) -> None:
        super().__init__(block_length, num_inference_steps, threshold, editing_threshold, minimal_topk)
        self._forget()

    def set_timesteps(self, *told: Any, **how: Any) -> None:
        """As the parent's: a text begins, of which nothing is known."""
        super().set_timesteps(*told, **how)
        self._forget()

    def with_gate(self, gate: OverwriteGate, recipe: GateRecipe) -> GateScheduler:
        """The same scheduler with this gate, trained by this recipe; ``InputError`` where the gate reads hidden states."""
        if recipe.head.hidden:
            raise InputError("a scheduler sees no hidden states: train the gate with Head(hidden=False)")
        self.gate, self.recipe = gate.eval().combined("gate_only"), recipe
        return self

    def save_pretrained(self, save_directory: str | os.PathLike[str], *told: Any, **how: Any) -> None:
        """Write the settings, and the gate if there is one, into a folder."""
        super().save_pretrained(save_directory, *told, **how)
        if self.gate is not None:
            write_weights(Path(save_directory) / WEIGHTS, self.gate.state_dict(), {"recipe": asdict(self.recipe), "hidden": 0})

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], *told: Any, **how: Any) -> Any:
        """The scheduler that :meth:`save_pretrained` wrote into a folder."""
        scheduler, path = super().from_pretrained(folder, *told, **how), Path(folder) / WEIGHTS
        if path.is_file():
            gate, recipe, _ = read_gate(path)
            scheduler.with_gate(gate, recipe)
        return scheduler

    def step(
        self,
        model_output: Float[Tensor, "B L V"],
        timestep: int | Tensor,
        sample: Int[Tensor, "B L"],
        *,
        mask_token_id: int | None = None,
        editing_threshold: float | None = None,
        prompt_mask: Bool[Tensor, " L"] | None = None,
        return_dict: bool = True,
        **how: Any,
    ) -> Any:
        """One step of a block, as the parent's. The mask is never proposed.

        ``editing_transfer_index`` marks what was hidden or replaced, ``prev_sample`` holds the mask where it was hidden.
        ``InputError`` for a sampler without masks.
        """
        limit = self.config.editing_threshold if editing_threshold is None else editing_threshold
        how |= {"mask_token_id": mask_token_id}
        if self.gate is None or limit is None or limit <= 0:
            how |= {"editing_threshold": editing_threshold, "prompt_mask": prompt_mask, "return_dict": return_dict}
            return super().step(model_output, timestep, sample, **how)
        if mask_token_id is None:
            raise InputError("mask_token_id=None: this gate hides tokens, so give the id of the mask")
        logits = model_output.index_fill(-1, torch.tensor(mask_token_id, device=sample.device), NEVER)
        told = super().step(logits, timestep, sample, editing_threshold=0.0, return_dict=True, **how)
        met = self._meet(logits, told.sampled_tokens, sample, mask_token_id, prompt_mask, int(timestep))
        rule = HideThenRefill(self.gate, Selection("threshold", float(limit), budget=self.config.budget))
        edit = rule.revise(met, Chance(0, "choices", torch.arange(len(sample), device=sample.device)).at(met.t))
        fill = told.transfer_index | lowest(-told.sampled_probs, met.is_mask, due(met))
        replaced = edit.write & (told.sampled_tokens != sample)
        after = torch.where(fill | replaced, told.sampled_tokens, sample).masked_fill(edit.remask, mask_token_id)
        self._remember(met, Action(write=fill | edit.write, remask=edit.remask))
        self._open = (after == mask_token_id).any(-1)
        parts = (after, fill, replaced | edit.remask, told.sampled_tokens, told.sampled_probs, told.pred_logits)
        return BlockRefinementSchedulerOutput(*parts) if return_dict else parts

    def check_block_should_continue(self, *told: Any, **how: Any) -> bool:
        """Whether the block goes on: as the parent says, and as long as something that was hidden has not been written."""
        finished = how["finished"] if "finished" in how else told[-1]
        owed = self._open is not None and bool((self._open & ~finished).any())
        return owed or super().check_block_should_continue(*told, **how)

    def _forget(self) -> None:
        """A block begins."""
        self._before: Belief | None = None
        self._written: Tensor | None = None
        self._overwrites: Tensor | None = None
        self._open: Tensor | None = None

    def _meet(
        self,
        logits: Float[Tensor, "B L V"],
        proposal: Int[Tensor, "B L"],
        sample: Int[Tensor, "B L"],
        mask_id: int,
        prompt: Bool[Tensor, " L"] | None,
        number: int,
    ) -> Step:
        """The step that the gate meets: a block is its text, and here the mask is the id above all others."""
        if number == 0 or self._before is None or self._before.log_q.shape != logits.shape:
            self._forget()
        is_mask = sample == mask_id
        fixed = torch.zeros_like(is_mask) if prompt is None else prompt.expand_as(is_mask) & ~is_mask
        return Step(
            t=min(number + 1, self.num_inference_steps),
            T=self.num_inference_steps,
            x=sample.masked_fill(is_mask, logits.shape[-1]),
            proposal=proposal,
            now=Table(single(logits).log_softmax(-1)),
            before=self._before,
            log_q_written=torch.zeros(sample.shape, device=sample.device) if self._written is None else self._written,
            hidden=logits[..., :0],
            is_mask=is_mask,
            is_fixed=fixed,
            overwrites=torch.zeros_like(sample) if self._overwrites is None else self._overwrites,
        )

    def _remember(self, met: Step, action: Action) -> None:
        said = met.now.log_prob(met.proposal)
        self._before = met.now
        self._written = torch.where(action.write, said, met.log_q_written).masked_fill(action.remask, 0.0)
        self._overwrites = met.overwrites + ((action.write & ~met.is_mask) | action.remask)
