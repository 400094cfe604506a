"""How each kind of request is met: task name -> run(model, request)."""

from collections.abc import Callable, Iterator
from typing import Any

from ldm.tasks import text_to_image

RUNNERS: dict[str, Callable[[Any, Any], Iterator[Any]]] = {"text-to-image": text_to_image.run}
