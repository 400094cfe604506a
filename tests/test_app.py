import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from fastapi import Request
from gradio_client import Client
from gradio_client.exceptions import AppError
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import app
import ldm
from ldm.errors import RequestError
from ldm.jobs.line import ANYTHING, Limits
from tests.browser import free_port
from ui.body_limit import MAX_BODY
from ui.endpoint import told_of_upload

ROOT = Path(__file__).parents[1]


@pytest.fixture
def port():
    return free_port()


def start(*flags, **environment):
    return subprocess.Popen(
        [sys.executable, "app.py", *flags],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def refused(*flags):
    """The one line that a refused start says."""
    process = start(*flags)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1
    return err


def answer(url, process, seconds=120):
    """The page, once it answers."""
    limit = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < limit
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--port", "70000"], "port must be 1 to 65535, got 70000."),
        (["--device", "gpu"], "device must be one of auto, cpu, cuda, mps, got 'gpu'."),
        (["--memory-budget", "lots"], "an amount like 4GiB or 500MB, got 'lots'."),
        (["--data-dir", "app.py"], "no data can be kept in "),
        (["--keep", "much"], "keep must be an amount like 4GiB or 500MB, got 'much'."),
        (["--longest", "0"], "longest must be more than 0 seconds, got 0."),
    ],
)
def test_a_wrong_flag_is_one_line(tmp_path, flags, says):
    assert says in refused("--data-dir", str(tmp_path), *flags)


def test_a_busy_port_is_one_line(tmp_path, port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        line = refused("--port", str(port), "--data-dir", str(tmp_path))
    assert f"port {port} of 127.0.0.1 cannot be used (Address already in use)" in line


def ended(process, how):
    """A page that was told to end does so in peace."""
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    return process.returncode == 0 and "Traceback" not in err


def test_the_page_answers_and_ctrl_c_ends_it(tmp_path, port):
    process = start("--port", str(port), "--data-dir", str(tmp_path))
    try:
        page = answer(f"http://127.0.0.1:{port}", process)
        assert "Latent Canvas" in page
        assert process.stdout.readline() == f"Latent Canvas is at http://127.0.0.1:{port}\n"
        assert (tmp_path / "outputs").is_dir()
        assert ended(process, signal.SIGINT)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ("", True),
        ("--host localhost", True),
        ("--host 0.0.0.0", False),
        ("--share", False),
        ("--no-history", False),
        ("--host 0.0.0.0 --history", True),
    ],
)
def test_others_see_what_was_made_only_if_they_are_to(monkeypatch, flags, shown):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setattr(sys, "argv", ["app.py", *flags.split()])
    assert app._flags().history is shown


@pytest.mark.parametrize(
    ("flags", "limits"),
    [
        ("", ANYTHING),
        ("--longest 90", Limits(seconds=90)),
        ("--no-history", Limits(8, 600)),
        ("--share --longest 90", Limits(8, 90)),
    ],
)
def test_what_one_visitor_may_ask_for_is_limited_where_others_wait(monkeypatch, flags, limits):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setattr(sys, "argv", ["app.py", *flags.split()])
    assert app._limits(app._flags()) == limits


def test_a_visitor_of_a_space_cannot_choose_an_address():
    """The proxies of a Space add whom they speak for to what the visitor says."""
    seen, pool = [], ThreadPoolExecutor(1)  # a test in a browser leaves a loop in this thread

    async def page(scope, _, __):
        seen.append(scope["client"][0])

    said = b"198.51.100.1, 203.0.113.7, 10.0.0.3"
    for peer in ("10.20.0.5", "203.0.113.9"):
        scope = {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", said)]}
        told = ProxyHeadersMiddleware(page, trusted_hosts=app.PROXIES)(scope, None, None)
        pool.submit(asyncio.run, told).result()
    assert seen == ["203.0.113.7", "203.0.113.9"]


def test_an_upload_without_room_is_a_sentence():
    request = Request({"type": "http", "path": "/gradio_api/upload", "headers": []})
    told = told_of_upload(request, OSError(28, "No space left on device"))
    says = {"detail": "the file cannot be kept here: No space left on device."}
    assert (told.status_code, json.loads(told.body)) == (507, says)
    request.scope["path"] = "/gradio_api/queue/join"
    with pytest.raises(OSError, match="reset"):
        told_of_upload(Request(request.scope), ConnectionError("reset"))


def test_a_folder_that_is_there_must_be_writable(tmp_path, port, monkeypatch):
    def read_only(dir):  # noqa: A002  (root may write wherever a test takes the right to)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("app.TemporaryFile", read_only)
    monkeypatch.setattr(sys, "argv", ["app.py", "--port", str(port)])
    with pytest.raises(RequestError, match=r"no data can be kept in .*: Permission denied\.$"):
        app._check(app._flags(), tmp_path)


def post(port, endpoint="text_to_image", **fields):
    """Call the endpoint over plain HTTP: the status, and the answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as there:
        about = {"Content-Type": "application/json"}
        path = f"/gradio_api/call/v2/{endpoint}"
        there.request("POST", path, json.dumps(fields), about)
        answered = there.getresponse()
        return answered.status, json.loads(answered.read())


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """A page that others visit: its port, process and data."""
    data = tmp_path_factory.mktemp("public")
    old = data / "visitors" / "2000-01-01" / "a.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x" * 2_000_000)
    upload = data / "cache" / "upload" / "a.png"  # younger than what the page itself has
    upload.parent.mkdir(parents=True)
    upload.write_bytes(b"x" * 60_000)
    os.utime(upload, (4e9, 4e9))
    port = free_port()
    flags = ("--no-history", "--keep", "60kB", "--longest", "30")
    process = start("--port", str(port), "--data-dir", str(data), *flags)
    try:
        answer(f"http://127.0.0.1:{port}", process)
        yield port, process, data
        assert ended(process, signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()


def made_by_api(port):
    client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=False)
    small = {"prompt": "a lake", "steps": 1, "width": 128, "height": 128}
    client.predict(**small, api_name="/text_to_image")
    return client


def test_a_shared_page_is_not_taken_by_one_visitor(public):
    port, process, data = public
    assert post(port, prompt="a", stpes=1) == (
        422,
        {"detail": "text_to_image has no field 'stpes'."},
    )
    assert post(port, steps=1) == (422, {"detail": "text_to_image needs prompt."})
    mine = {"path": str(ROOT / "app.py"), "meta": {"_type": "gradio.FileData"}}
    for name, says, given in (
        ("text_to_image", "what names a file must be a file that", {"prompt": "a", "seed": mine}),
        ("upscale", "image must be a file that", {"image": None}),
    ):
        _, called = post(port, name, **given)
        told = f"http://127.0.0.1:{port}/gradio_api/call/{name}/{called['event_id']}"
        assert f"{says} was uploaded, " in answer(told, process)
    large = {"prompt": "a" * (MAX_BODY + 1)}
    assert post(port, **large) == (413, {"detail": "a request may have up to 16 MiB."})
    assert post(port, endpoint="nope") == (404, {"detail": "there is no endpoint 'nope'."})
    with pytest.raises(AppError, match=r"runs here may take 30 s; fewer pixels"):
        made_by_api(port).predict(prompt="a lake", steps=1000, count=16, api_name="/text_to_image")
    assert not (data / "visitors" / "2000-01-01" / "a.png").exists()
    page = answer(f"http://127.0.0.1:{port}", process)
    own = set(re.findall(r"cache/[0-9a-f]{16,}/[^\"&]+?\.\w+", page))
    assert own
    assert all((data / name).exists() for name in own)
    assert (data / "cache" / "upload" / "a.png").exists()
    assert len([*(data / "visitors").rglob("*.png")]) == 1


def test_a_public_page_hands_out_nothing_that_was_made_here(public):
    """A file's name is all that it takes to get it, and names in a history can be guessed."""
    port, _, data = public
    made_by_api(port)
    assert not (data / "outputs").exists()
    made = [*(data / "visitors").rglob("*.png")]
    assert made
    assert all(re.search(r"[0-9a-f]{16}", path.stem) for path in made)
    told = {}
    for folder in ("visitors", "outputs", "thumbnails"):
        path = data / folder / "a.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"a picture")
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as there:
            there.request("GET", f"/gradio_api/file={path}")
            told[folder] = there.getresponse().status
    assert told == {"visitors": 200, "outputs": 403, "thumbnails": 403}


def test_the_version_is_that_of_the_library(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["app.py", "--version"])
    with pytest.raises(SystemExit) as stop:
        app.main()
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"Latent Canvas {ldm.__version__} (python ")


def test_a_space_shows_no_visitor_what_another_made(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    monkeypatch.setattr(sys, "argv", ["app.py"])
    assert app._flags().history is False
