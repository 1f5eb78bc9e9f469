"""A device without float64 on any machine: the CPU, which calls itself ``mps``, refuses float64 and tensors from elsewhere."""

from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

MPS, CPU = torch.device("mps"), torch.device("cpu")
BETWEEN_DEVICES = {Tensor.copy_, Tensor.data.__set__, Tensor.grad.__set__, torch._has_compatible_shallow_copy_type}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
NO_TENSOR = {Tensor.shape.__get__, Tensor.dtype.__get__, Tensor.dim, Tensor.size, Tensor.numel, Tensor.is_floating_point}


def _tensors(values):
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def _there(x):
    return getattr(x, "on_mps", False)


class WithoutFloat64(TorchFunctionMode):
    """Tensors made on ``mps`` carry a mark, and so does what is computed from them until it is asked to the CPU."""

    def __torch_function__(self, function, types, arguments=(), settings=None):
        settings = dict(settings or {})
        given = list(_tensors((*arguments, *settings.values())))
        marked = [x for x in given if _there(x)]
        if function == Tensor.device.__get__:
            return MPS if marked else function(*arguments, **settings)
        if function in NO_TENSOR:
            return function(*arguments, **settings)
        if marked and function is Tensor.numpy:
            raise TypeError("can't convert mps:0 device type tensor to numpy: use Tensor.cpu() first")
        arguments, target = self._translated(function, arguments, settings)
        if marked and target is None and function not in BETWEEN_DEVICES:
            self._check_together(function, arguments, settings)
        result = function(*arguments, **settings)
        if function == Tensor.data.__set__:
            given[0].on_mps = _there(given[1])
        here = target == "mps" or (bool(marked) and target is None)
        return self._placed(result, _there(given[0]) if function in BETWEEN_DEVICES else here, given)

    def _translated(self, function, arguments, settings):
        """The arguments with the CPU in place of ``mps``, and the device that was asked for, if any."""
        target = "cpu" if function is Tensor.cpu else None
        if settings.get("device") is not None:
            target = torch.device(settings["device"]).type
            settings["device"] = CPU
        if function is Tensor.to:
            arguments = list(arguments)
            for i, value in enumerate(arguments[1:], start=1):
                if isinstance(value, torch.device | str):
                    target, arguments[i] = torch.device(value).type, CPU
                elif isinstance(value, Tensor):
                    target = "mps" if _there(value) else "cpu"
        return tuple(arguments), target

    def _check_together(self, function, arguments, settings):
        given = list(_tensors((*arguments, *settings.values())))
        if function in INDEXING:  # a tensor on the CPU may say which elements
            given = given[:1] if _there(given[0]) else given
        if any(x.dim() and not _there(x) for x in given):
            raise RuntimeError(f"{function.__name__}: expected all tensors on one device, found mps and cpu")

    def _placed(self, result, here, given):
        """The result with its mark, or without: never the very tensor that was given, when that one is elsewhere."""
        if isinstance(result, Tensor) and _there(result) != here and any(result is x for x in given):
            result = result.clone()
            result.on_mps = False
        for x in _tensors([result]):
            if here and x.dtype in (torch.float64, torch.complex128):
                raise TypeError("the MPS framework doesn't support float64: use float32 instead")
            if here:
                x.on_mps = True
        return result


class OnTheCpu(torch.Generator):
    """A generator of the CPU, whichever device is asked for."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")


def _parameter(cls, data=None, requires_grad=True, new=nn.Parameter.__new__):
    made = new(cls, data, requires_grad)
    made.on_mps = data is not None and _there(data)
    return made


@contextmanager
def without_float64():
    """Within it ``torch.device("mps")`` can be computed on, slowly and in float32 at most."""
    parameters = mock.patch.object(nn.Parameter, "__new__", _parameter)  # those of a copied module are made without a call
    with parameters, mock.patch.object(torch, "Generator", OnTheCpu), WithoutFloat64():
        yield MPS
