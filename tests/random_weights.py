"""Networks that do something, untrained."""

import torch


def randomise(model):
    """Gives every weight of a network a value, so that nothing hides behind a zero."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.data = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
    return model.eval()
