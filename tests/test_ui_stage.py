"""What the page is told of a run, without a page."""

import time

from ldm.events import Progress, Result
from ldm.jobs import JobQueue
from ldm.requests import TextToImage
from ui.run import fail
from ui.stage import PACE, paced

STEP = 0.002  # s


class FastStudio:
    """Makes many steps in a blink."""

    def run(self, request):
        for step in range(1, 301):
            time.sleep(STEP)
            yield Progress("sampling", step, 300)
        yield Result((request,), ())


def test_what_is_told_is_text_and_no_html():
    """Gradio shows an error as HTML, and it may quote a file of a stranger."""
    assert fail("got <img src=//evil>.").message == "got &lt;img src=//evil&gt;."


def test_a_fast_model_does_not_flood_the_page():
    jobs = JobQueue(FastStudio)
    begin = time.monotonic()
    told = list(paced(jobs.follow(jobs.submit(TextToImage(prompt="a lake")))))
    seconds = time.monotonic() - begin
    jobs.close()
    steps = [event.step for event in told if isinstance(event, Progress)]
    assert isinstance(told[-1], Result)
    assert steps == sorted(steps) and len(steps) >= 3
    assert len(told) <= seconds / PACE + 2
