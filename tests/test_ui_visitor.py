import json
import threading
import time
import urllib.request

import gradio as gr
import pytest

from tests.browser import free_port
from tests.gate import wait_until
from ui import visitor


@pytest.fixture(scope="module")
def answering():
    """A page with an endpoint that answers until it is stopped, and what it learns on the way."""
    told, stop = [], threading.Event()

    def run():
        is_heard, number = visitor.reader(), 0
        while not stop.is_set():
            told.append((visitor.owner(), is_heard()))
            time.sleep(0.01)
            number += 1
            yield str(number)

    with gr.Blocks() as page:
        gr.Button().click(run, None, gr.Textbox(), api_name="run")
    page._queue.sleep_when_free = 0.01
    port = free_port()
    page.launch(
        prevent_thread_lock=True,
        server_name="127.0.0.1",
        server_port=port,
        quiet=True,
        ssr_mode=False,
        _frontend=False,
    )
    yield f"http://127.0.0.1:{port}/gradio_api/call/run", told
    stop.set()
    page.close()


def test_it_is_known_whether_answers_are_read_and_by_whom(answering):
    url, told = answering
    asked = urllib.request.Request(url, b'{"data": []}', {"Content-Type": "application/json"})
    event = json.loads(urllib.request.urlopen(asked, timeout=10).read())["event_id"]
    wait_until(lambda: told and told[-1] == ("127.0.0.1", False))
    assert told[0] == ("127.0.0.1", True)  # it may still be going to read
    with urllib.request.urlopen(f"{url}/{event}", timeout=10) as answers:
        assert any(told[-1][1] for _ in answers)


def test_outside_of_any_event_there_is_no_visitor():
    assert visitor.owner() == ""
    assert visitor.reader() is None
