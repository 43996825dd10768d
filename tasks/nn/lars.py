"""Layer-wise adaptive rate scaling."""

from collections.abc import Iterable

import torch

_EPSILON = 1e-8


def scale_gradients(parameters: Iterable[torch.nn.Parameter], trust: float, weight_decay: float) -> None:
    """LARS (You, Gitman & Ginsburg, arXiv 1708.03888): from now on each parameter's gradient becomes
    (g + `weight_decay` * w) * `trust` * |w| / (|g| + `weight_decay` * |w|) as soon as it is computed.

    The optimiser that follows must not decay weights itself. Left as they are: gradients of a zero parameter, zero gradients.
    """

    def scale(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        weight, gradient = parameter.detach().norm(), parameter.grad.norm()
        if weight == 0 or gradient == 0:
            return
        rate = trust * weight / (gradient + weight_decay * weight + _EPSILON)
        parameter.grad.add_(parameter.detach(), alpha=weight_decay).mul_(rate)

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(scale)
