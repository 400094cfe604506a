"""A tiny studio whose runs are ended, see the fixture `made` in conftest.py."""

from ldm.requests import TextToImage

REQUEST = TextToImage(prompt="a red house", width=32, height=32, steps=6, seed=5, coarse=0.0)


def stopped(made, request, after):
    """End a run after so many steps; what can go on."""
    events = made.run(request)
    last = next(e for e in events if (e.stage, e.step) == ("sampling", after))
    events.close()
    return made.resumable(last)


def steps_of(events):
    return [event.step for event in events if getattr(event, "stage", "") == "sampling"]
