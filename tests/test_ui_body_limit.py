"""A request that is too large is refused while it comes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from fastapi import HTTPException

from ui.body_limit import MAX_BODY, BodyLimit


@pytest.mark.parametrize(
    ("path", "most"),
    [("/gradio_api/upload", 5 * 2**20), ("/gradio_api/queue/join", MAX_BODY), ("/login", MAX_BODY)],
)
def test_a_request_is_refused_before_it_fills_the_memory(path, most):
    taken = 0

    async def page(scope, receive, send):
        while (await receive())["more_body"]:
            pass

    async def sent():
        nonlocal taken
        taken += 2**20
        return {"type": "http.request", "body": bytes(2**20), "more_body": taken < ends}

    for ends in (most, 2**30):
        taken = 0
        told = BodyLimit(page, 4 * 2**20)({"type": "http", "path": path}, sent, None)
        refused = nullcontext() if ends == most else pytest.raises(HTTPException)
        # a thread of its own: browser tests of the same process leave a loop running in this one
        with ThreadPoolExecutor(1) as other, refused as refusal:
            other.submit(asyncio.run, told).result()
    assert taken == most + 2**20
    says = f"a request may have up to {most >> 20} MiB."
    assert (refusal.value.status_code, refusal.value.detail) == (413, says)
