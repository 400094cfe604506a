"""What a browser is sent, and what it may keep."""

from pathlib import Path

import gradio
import pytest
from starlette.testclient import TestClient

from ui.app import launch_options
from ui.endpoint import Page

ASSETS = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"


@pytest.fixture(scope="module")
def client():
    with Page() as page:
        gradio.Textbox()
    page.launch(server_name="127.0.0.1", prevent_thread_lock=True, **launch_options())
    yield TestClient(page.app)
    page.close()


def test_the_page_is_compressed_where_the_browser_can_read_that(client):
    zipped = client.get("/", headers={"accept-encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    plain = client.get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert zipped.text == plain.text
    assert int(zipped.headers["content-length"]) < len(plain.content) / 2


def test_a_script_runs_before_those_of_gradio(client):
    page = client.get("/")
    first, gradio = page.text.index("unwatched"), page.text.index('<script type="module"')
    assert page.text.index("window.gradio_config =") < first < gradio
    assert client.head("/").status_code == 200


def test_files_whose_names_change_with_them_are_kept_and_nothing_else_is(client):
    script = next(ASSETS.glob("core-*.js")).name
    assert "immutable" in client.get(f"/assets/{script}").headers["cache-control"]
    for path in ("/", "/theme.css", "/assets/none.js"):
        assert "immutable" not in client.get(path).headers.get("cache-control", "")
