"""Train the critic on rendered scenes, whose labels and attributes are known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm.data import attributes
from ldm.data.scenes import ATTRIBUTES, CLASSES
from ldm.errors import TrainingError
from ldm.images import to_tensor
from ldm.models.critic import Critic
from ldm.training.config import TrainConfig
from ldm.training.loop import Run
from ldm.training.snapshots import CRITIC_WEIGHTS, export_weights
from ldm.training.world import World, open_world

# maximum standard deviation, for a range of 2: the critic should judge shapes, not single pixels
MAX_NOISE = 0.08


class CriticRun(Run):
    """Training run of the critic."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slices = attributes.slices()
        truth = [attributes.encode(about["attributes"]) for about in world.about]
        self.truth = torch.from_numpy(np.stack(truth))
        self.model = Critic(classes=len(CLASSES), answers=attributes.ANSWERS)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, ...]:
        """Return slightly noisy pictures, labels at half resolution, and the true attributes."""
        rows = rng.integers(len(self.world), size=size)
        image = to_tensor(self.world.images[rows])
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        image = image + noise * float(rng.uniform(0, MAX_NOISE))
        labels = np.ascontiguousarray(self.world.labels[rows][:, ::2, ::2])
        return image, torch.from_numpy(labels).long(), self.truth[rows]

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Cross-entropy of labels, of exclusive attributes, and of the presence of each object."""
        image, labels, truth = batch
        seen = model(image)
        segmentation = F.cross_entropy(seen.labels.float(), labels)
        answers = seen.attributes.float()
        terms = []
        for column, name in enumerate(attributes.NAMES):
            logits = answers[:, self.slices[name]]
            if name in ATTRIBUTES:
                terms.append(F.cross_entropy(logits, truth[:, column]))
            else:
                target = truth[:, column, None].float()
                terms.append(F.binary_cross_entropy_with_logits(logits, target))
        judged = torch.stack(terms).mean()
        pixels = (seen.labels.argmax(1) == labels).float().mean()
        return {"loss": segmentation + judged, "attributes": judged, "pixels": pixels}

    def sample(self, model: nn.Module, path: Path) -> None:
        """Do nothing: the critic makes no pictures."""

    def export(self, model: nn.Module, step: int) -> None:
        """Write the averaged weights."""
        export_weights(CRITIC_WEIGHTS, model.state_dict(), {"step": str(step)})


def make_run(config: TrainConfig) -> CriticRun:
    """Load the training data and build the run."""
    about = config.data
    if about.pictures is not None:
        raise TrainingError(
            "data.pictures must be left out: a critic learns what is known of scenes."
        )
    return CriticRun(open_world(about.folder, "train", count=about.scenes, size=about.size))
