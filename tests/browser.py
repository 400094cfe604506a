"""The app as a person starts it, and a real browser; the fixtures stand in conftest.py."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# the one without windows is the same engine, and a page takes it a fifth less time
BROWSERS = (os.environ.get("CHROMIUM", ""), "chromium-headless-shell", "chromium")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
REQUIRED = os.environ.get("LATENT_CANVAS_REQUIRE_BROWSER") == "1"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--process-per-site",  # see `visit`
)
RUN_MS = 120_000  # a run, with the loading of its model: seconds, but for a machine that is full
TWICE_MS = 400  # longer than between the two clicks of a double one, see ui/row.js
IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no browser here"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# How far below the top of what is on show its strip was, frame by frame; 0: nothing was on show
WATCH_HEIGHTS = """(task) => {
  window.heights = [];
  const part = (name) => document.querySelector(`#${task}-${name}`);
  const look = () => {
    const shown = [part("wall"), part("compare")].find((one) => one.getBoundingClientRect().height);
    const tops = [part("strip"), shown].map((one) => one?.getBoundingClientRect().top);
    heights.push(tops[0] - tops[1] || 0);
    requestAnimationFrame(look);
  };
  look();
}"""


@contextmanager
def running_app(data: Path, port: int | None = None):
    """`python app.py` on a port, by default a free one; gives its address."""
    port = port or free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--data-dir", str(data)]
    app = subprocess.Popen(command, cwd=ROOT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, app)
        yield address
    finally:
        app.terminate()
        app.wait(20)


def _wait_for(address: str, app: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert app.poll() is None, "the app ended"
        try:
            urllib.request.urlopen(address, timeout=30).read()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the page did not answer")


@contextmanager
def visit(chromium, url: str):
    """A fresh visitor; any request to another host and any script error is a failure.

    The browser keeps the page's files from one visitor to the next, and nothing else.
    """
    if not chromium.pages:  # one that stays keeps the process, which then knows the scripts
        chromium.new_page().goto(f"{url}/robots.txt")
    before = list(chromium.pages)
    page = chromium.new_page()
    foreign, errors = [], []
    own = (url, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else foreign.append(r.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.goto("about:blank")  # a page that is open writes down what it remembers
    about = {"origin": url, "storageTypes": "local_storage,indexeddb,cookies,cache_storage"}
    chromium.new_cdp_session(page).send("Storage.clearDataForOrigin", about)
    for opened in set(chromium.pages) - set(before):
        opened.close()
    assert foreign == [], foreign
    assert errors == [], errors


def open_page(page, address: str) -> None:
    # A page that is left while a slow server still makes the next one takes its closed connection
    # for a lost one, and Gradio then loads it again instead of the next.
    page.goto("about:blank")
    page.goto(address)
    page.locator(".masthead").wait_for()
    page.locator("body[data-ready]").wait_for()  # it has recalled its settings


def open_tab(page, task: str) -> None:
    page.locator(f"#tab-{task}-button").click()
    page.locator(f"#{task}-go").wait_for()


def press_generate(page, task: str, button: str = "go") -> None:
    """Press what starts a run, no sooner again than the page takes for a new click.

    The page looks first whether the app is still its own; whoever goes on typing right after a
    click that waits for this has typed it into the run.
    """
    go = page.locator(f"#{task}-{button}:not([disabled])")
    since = "go => performance.now() - (go.pressed ?? -Infinity)"  # ms
    until(page, lambda: go.evaluate(since) > TWICE_MS)
    page.evaluate("lookForNewApp()")
    go.click()


def wait_done(page, task: str) -> None:
    page.locator(f"#{task}-strip .strip.done").wait_for(timeout=RUN_MS)
    page.locator(f"#{task}-go:not([disabled])").wait_for()


def set_steps(page, task: str, steps: int) -> None:
    box = page.locator(f"#{task}-steps input").first
    if not box.is_visible():
        # a key finds the fold where a click misses it: an estimate that comes moves all below it
        page.locator(f"#{task}-sampling button").first.press("Enter")
        page.wait_for_timeout(500)  # what opens is drawn anew; typing before that is lost
    box.fill(str(steps))
    box.press("Tab")
    page.wait_for_timeout(200)  # as long as a hand takes to the next button


def newest(page, task: str, path: Path) -> Path:
    """The file of the newest picture of a tab's gallery, saved as `path`."""
    source = page.locator(f"#{task}-results img").first.get_attribute("src")
    path.write_bytes(page.request.get(source).body())
    return path


def until(page, is_so, milliseconds=15_000):
    """Wait for what no locator can wait for; the page draws when the machine lets it."""
    for _ in range(milliseconds // 50):
        if is_so():
            return
        page.wait_for_timeout(50)
    assert is_so()


def wait_kept(page, painter):
    """Until the browser has written down all that is on this painter."""
    page.wait_for_function(
        """(id) => {
          const { changes, kept } = document.querySelector(`#${id} .painter`).dataset;
          return changes === kept;
        }""",
        arg=painter,
    )


def drag_slider(page, task, by):
    """Drag the bar between before and after by so many px from the middle."""
    slider = page.locator(f"#{task}-slider input")
    # Generate, below, has scrolled it out at the top, where no mouse gets
    slider.evaluate("slider => slider.scrollIntoView({ block: 'center' })")
    box = slider.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + by, middle[1], steps=5)
    page.mouse.up()
    expected = 50 + 100 * by / box["width"]
    until(page, lambda: abs(float(slider.input_value()) - expected) < 2)


def watch_jumps(page, task):
    """From now on; the call of what it gives says by how many px what is under a picture moved."""
    page.route(re.compile(r"outputs.*\.png"), _late)  # the slower, the more is seen to jump
    page.evaluate(WATCH_HEIGHTS, task)

    def jumped():
        heights = page.evaluate("heights")
        assert len(heights) > 2
        return max(heights) - min(heights)

    return jumped


def _late(route):
    time.sleep(0.2)
    route.continue_()
