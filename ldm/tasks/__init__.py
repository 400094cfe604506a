"""The implementation of each task: task name -> run(model, request, context)."""

from collections.abc import Callable, Iterator
from typing import Any

from ldm.tasks import class_conditional, inpaint, layout, semantic, text_to_image, upscale

RUNNERS: dict[str, Callable[[Any, Any], Iterator[Any]]] = {
    "text-to-image": text_to_image.run,
    "inpaint": inpaint.run,
    "semantic": semantic.run,
    "layout": layout.run,
    "upscale": upscale.run,
    "class-conditional": class_conditional.run,
}
