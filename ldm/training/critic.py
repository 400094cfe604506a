"""Training the critic on rendered scenes, whose labels and attributes are known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm.data.attributes import Answers, answers_of
from ldm.data.scenes import CLASSES
from ldm.training.samples import save_grid
from ldm.models.critic import Critic
from ldm.training.autoencoder import to_tensor
from ldm.training.config import TrainConfig
from ldm.training.snapshots import export_weights
from ldm.training.world import World, open_world

PATH = Path("presets/demo/critic.safetensors")


class CriticRun:
    """The loop's view of the critic."""

    def __init__(self, config: TrainConfig, world: World, held_out: World) -> None:
        self.config = config
        self.world = world
        self.held_out = held_out
        self.answers = Answers()
        self.targets = torch.from_numpy(
            np.stack([answers_of(about["attributes"]) for about in world.about])
        )
        self.model = Critic(classes=len(CLASSES), answers=self.answers.size)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, ...]:
        """Pictures (slightly degraded, so that it judges shapes rather than pixels) and truth."""
        rows = rng.integers(len(self.world), size=size)
        image = to_tensor(self.world.images[rows])
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        image = image + noise * float(rng.uniform(0, 0.1))
        labels = torch.from_numpy(np.ascontiguousarray(self.world.labels[rows][:, ::2, ::2]))
        return image, labels.long(), self.targets[rows]

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Cross-entropy of labels, of each exclusive attribute, and of each object's presence."""
        image, labels, truth = batch
        seen = model(image)
        segmentation = F.cross_entropy(seen.labels.float(), labels)
        attributes = self.answers.loss(seen.attributes.float(), truth)
        right = (seen.labels.argmax(1) == labels).float().mean()
        return {"loss": segmentation + attributes, "attributes": attributes, "pixels": right}

    def sample(self, model: nn.Module, path: Path) -> None:
        """Nothing to draw: the critic's numbers say it."""

    def export(self, model: nn.Module, step: int) -> None:
        """Write the averaged weights."""
        export_weights(PATH, model.state_dict(), {"step": str(step)})
