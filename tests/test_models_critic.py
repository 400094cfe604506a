import torch

from ldm.models.critic import Critic


@torch.no_grad()
def test_judges_wide_pictures():
    verdict = Critic(classes=5, answers=9)(torch.zeros(2, 3, 32, 64))
    assert verdict.labels.shape == (2, 5, 16, 32)
    assert verdict.attributes.shape == (2, 9)
    assert verdict.features.shape == (2, 256)
