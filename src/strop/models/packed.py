"""Linear layers with weights reordered once for oneDNN, while a model samples on a CPU.

Two reasons. Speed: with 8 to 64 rows torch's own `linear` spends much of its time rearranging the weights each call.
Exactness: the packed product gives each row the same bits whatever the number of rows and whichever its place, so a
sample does not depend on what else is in the batch (tested; torch's `linear` differs below 5 rows).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

# oneDNN lays the weights out for this number of rows. From 32 on the layout is the same; below it is another one for
# single rows, which is faster for one row and not invariant.
ROWS_HINT = 32


class PackedLinears:
    """Packed copies of a model's linear weights, as much memory again as the weights take."""

    def __init__(self, model: Any) -> None:
        import torch

        self._torch = torch
        self._packed: dict[Any, tuple[Any, Any]] = {}
        self._linears = [module for module in model.modules() if type(module) is torch.nn.Linear]

    @staticmethod
    def available(model: Any) -> bool:
        """Float32 weights on a CPU whose torch was built with oneDNN."""
        import torch

        parameter = next(model.parameters())
        return (
            parameter.device.type == "cpu"
            and parameter.dtype == torch.float32
            and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        )

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Inside, the model's linear layers use the packed weights. Weights trained since are packed anew."""
        module: Any
        for module in self._linears:
            state = _version(module.weight)
            if self._packed.get(module, (None,))[0] != state:
                with self._torch.no_grad():
                    packed = self._torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), ROWS_HINT)
                self._packed[module] = (state, packed)
            module.forward = _forward(self._packed[module][1], module.bias)
        try:
            yield
        finally:
            for module in self._linears:
                del module.forward  # uncovers the class's own


def _forward(packed: Any, bias: Any) -> Callable[[Any], Any]:
    import torch

    product = torch.ops.mkldnn._linear_pointwise

    def forward(x: Any) -> Any:
        return product(x, packed, bias, "none", [], "")

    return forward


def versions(model: Any) -> Any:
    """A value that is another one after any parameter has changed in place or been replaced."""
    return tuple(_version(parameter) for parameter in model.parameters())


def _version(parameter: Any) -> tuple[int, int]:
    return parameter.data_ptr(), parameter._version
