"""The processes that train one model together: this one alone, or those that torchrun started, joined by Lightning Fabric.

Every process draws the numbers of the whole batch and computes its own rows of it; what is summed is summed over all.

Fabric (the extra ``scale``) and not Hugging Face's accelerate, because it leaves more alone. It wraps a module and its backward
pass; data, optimiser, schedule, clipping and files stay those of the loop, and equality with one process is a matter of sums. What
accelerate prepares is changed: its backward pass divides by the number of accumulation steps, and its scheduler steps once for each
process.
"""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ardm.base.devices import launched
from ardm.base.errors import InputError
from ardm.base.streams import Lots

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Alone", "Together", "leads", "processes"]


def leads() -> bool:
    """Whether this process speaks and writes: the first of those that torchrun started, or the only one."""
    return not launched() or int(os.environ["RANK"]) == 0


class Alone:
    """One process: nothing is shared and nothing summed."""

    count = 1

    def lots(self, rng: torch.Generator, batch: int) -> Lots:
        """The rows of a batch that this process computes."""
        return Lots(rng, 0, batch, batch)

    def joined(self, module: nn.Module) -> nn.Module:
        """The module, with gradients that are the mean over the processes."""
        return module

    def backward(self, loss: Tensor) -> None:
        """The gradients of this process's part of a loss, of which the parts are added up."""
        loss.backward()

    def quiet(self, module: nn.Module, enabled: bool) -> AbstractContextManager:
        """While it is enabled gradients are gathered here and not yet shared."""
        return nullcontext()

    def whole(self, own: Lots, values: Tensor) -> Tensor:
        """The values of all rows of the batch, given those of the own ones."""
        return values

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes."""
        return value

    def wait(self) -> None:
        """Go on when all have come so far."""


class Together(Alone):
    """The processes that torchrun started, one for each GPU or several on the cores."""

    def __init__(self, device: str) -> None:
        self.count = int(os.environ["WORLD_SIZE"])
        self.rank = int(os.environ["RANK"])
        self.fabric = _fabric(device)

    def lots(self, rng: torch.Generator, batch: int) -> Lots:
        if batch < self.count:
            raise InputError(f"batch={batch}: {self.count} processes need at least as many texts a step; start fewer")
        first, end = (batch * rank // self.count for rank in (self.rank, self.rank + 1))
        return Lots(rng, first, end - first, batch)

    def joined(self, module: nn.Module) -> nn.Module:
        return self.fabric.setup_module(module, move_to_device=False)

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss * self.count)  # of which the mean over the processes is taken

    def quiet(self, module: nn.Module, enabled: bool) -> AbstractContextManager:
        return self.fabric.no_backward_sync(module, enabled)

    def whole(self, own: Lots, values: Tensor) -> Tensor:
        every = values.new_zeros(own.of, *values.shape[1:])
        every[own.first : own.first + own.count] = values
        return self.total(every)

    def total(self, value: Tensor) -> Tensor:
        return self.fabric.all_reduce(value.clone(), reduce_op="sum")

    def wait(self) -> None:
        self.fabric.barrier()


def _fabric(device: str) -> Fabric:
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise InputError("several processes are joined by Lightning Fabric: pip install 'ardm[scale]'") from error
    here, every = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # how many there are is said by who started them
    fabric = Fabric(accelerator=device, devices=here, num_nodes=every // here, strategy="ddp")
    fabric.launch()
    return fabric


@cache
def processes(device: str) -> Alone:
    """Those that train together on a kind of device (cpu, cuda, mps): this one alone unless torchrun started it.

    ``InputError`` where several are to be joined and Fabric is not installed.
    """
    return Together(device) if launched() else Alone()
