"""The Fréchet distance of the critic's features, beside that of real scenes to other real ones."""

from __future__ import annotations

from torch import Tensor

from ldm.evaluation.critic import judge
from ldm.evaluation.drawing import Size
from ldm.evaluation.held_out import held_out
from ldm.evaluation.metrics import frechet_distance
from ldm.evaluation.report import Row
from ldm.models.critic import Critic

MEASURE = "Frechet distance of the critic's features"


def frechet_row(
    critic: Critic, seen: Tensor, real: Tensor, size: Size, measure: str = MEASURE
) -> Row:
    """How far pictures are from real ones, as sets.

    Few pictures are far from any others, so it says by itself nothing of a model.

    Args:
        critic: Whose features they are.
        seen: Of the model's pictures, (N, D).
        real: Of the first `size.count` held-out scenes; those after them are the other real ones.
        size: Of all of them.
        measure: What it is called.
    """
    others = held_out(size.count, size.width, size.height, first=size.count).images
    between_real = frechet_distance(judge(critic, others).features, real)
    distance = frechet_distance(seen, real)
    return Row(measure, distance, size=str(size), between_real=between_real)
