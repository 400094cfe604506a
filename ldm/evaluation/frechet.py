"""Fréchet distance of the critic's features, with that between real scenes for comparison."""

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
    """Fréchet distance between the model's pictures and real scenes.

    For few pictures the distance is always large, so its value alone says nothing about a model.
    The row therefore also holds the distance between as many other real scenes and `real`.

    Args:
        critic: The critic that computed the features.
        seen: Features of the model's pictures, (N, D).
        real: Features of the first `size.count` held-out scenes. The next `size.count` scenes are
            the other real ones.
        size: Size and number of the pictures.
        measure: Name of the measure in the row.
    """
    others = held_out(size.count, size.width, size.height, first=size.count).images
    between_real = frechet_distance(judge(critic, others).features, real)
    distance = frechet_distance(seen, real)
    return Row(measure, distance, size=str(size), between_real=between_real)
