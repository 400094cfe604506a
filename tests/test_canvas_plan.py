"""What is whole, what is in bands and what is refused follows from sizes and bytes alone."""

import re
from dataclasses import replace

import pytest

from ldm.canvas.facts import MOST_GAPS, Bands, Facts, Line, Work
from ldm.canvas.plan import BANDS_BUDGET, Canvas, Resources, plan
from ldm.canvas.windows import EvenWindows
from ldm.errors import MemoryBudgetError, RequestError

MIB = 2**20
WINDOWS = EvenWindows((32, 32), 4)
FACTS = Facts(
    factor=4,
    multiple=16,
    unet=Line(0, 2048),
    decoder=Line(0, 12288),
    encoder=Line(0, 8192),
    unet_bands=Bands(4096, 1280),
    decoder_bands=Bands(8192, 8192),
    encoder_bands=Bands(6144, 6144),
    unet_work=Work(0, 1e6, 2),
    guided_work=Work(0, 1.8e6, 4),
    decoder_work=Work(0, 8e6, 0),
)
PIXELS = 16 * 16  # bytes of a cell's pixels


def test_whole_while_it_fits():
    canvas = Canvas(128, 128)
    need = canvas.cells * (12288 + PIXELS)
    assert plan(canvas, FACTS, Resources(need)).cover == "whole"
    assert plan(canvas, FACTS, Resources(need)).memory == need
    chosen = plan(canvas, FACTS, Resources(need - 1))
    assert (chosen.cover, chosen.unet, chosen.decoder) == ("bands", False, True)
    assert "the same picture" in chosen.why


def test_gaps_between_tensors_stop_growing():
    line = Line(0, 1024, gaps=0.5)
    assert line.at(1000) == 1536 * 1000
    assert line.at(2**20) == 2**30 + MOST_GAPS
    assert Line(0, 1024).at(2**20) == 2**30


def test_a_batch_shrinks_before_anything_goes_in_bands():
    canvas = Canvas(32, 32, count=8)
    one = canvas.cells * 12288
    resources = Resources(3 * one + 8 * canvas.cells * PIXELS)
    chosen = plan(canvas, FACTS, resources)
    assert (chosen.cover, chosen.batch) == ("whole", 3)
    assert plan(canvas, FACTS, Resources(2**40)).batch == 8


@pytest.mark.parametrize("side", [128, 512, 1024, 4096])
@pytest.mark.parametrize("memory", [128 * MIB, 600 * MIB, 5000 * MIB])
def test_a_plan_never_takes_more_than_there_is(side, memory):
    try:
        chosen = plan(Canvas(side, side, passes=2, encodes=True), FACTS, Resources(memory))
    except MemoryBudgetError:
        assert side * side * PIXELS + 8192 * side > memory
        return
    assert chosen.memory <= memory
    assert chosen.budget <= max(BANDS_BUDGET, 8192 * side)


def test_guidance_counts_twice_for_the_denoiser():
    need = 2048 * 2 * 64 * 64
    facts = Facts(**{**FACTS.__dict__, "decoder": Line(0, 1)})
    resources = Resources(need + 64 * 64 * PIXELS - 1)
    assert plan(Canvas(64, 64, passes=2), facts, resources).unet
    assert not plan(Canvas(64, 64, passes=1), facts, resources).unet


def test_what_cannot_fit_is_refused_with_what_could():
    with pytest.raises(MemoryBudgetError, match=r"4096 x 4096 px needs at least 264 MiB, even in"):
        plan(Canvas(1024, 1024), FACTS, Resources(64 * MIB))
    with pytest.raises(MemoryBudgetError, match="on the disk while it is made and 100 MiB are fr"):
        plan(Canvas(1024, 1024), FACTS, Resources(600 * MIB, disk=100 * MIB))
    with pytest.raises(MemoryBudgetError, match="in bands it is the same picture in less"):
        plan(Canvas(1024, 1024), FACTS, Resources(600 * MIB), "whole")


@pytest.mark.parametrize("canvas", [(1024, 1024), (2048, 100), (100, 2048)])
@pytest.mark.parametrize("asked", ["auto", "bands", "windows"])
@pytest.mark.parametrize("resources", [Resources(3 * MIB), Resources(MIB, disk=70 * MIB)])
def test_the_size_that_is_proposed_works_and_no_larger_one_does(canvas, asked, resources):
    canvas = Canvas(*canvas, windows=WINDOWS)
    with pytest.raises(MemoryBudgetError) as caught:
        plan(canvas, FACTS, resources, asked)
    side = int(re.search(r" or ([0-9]+) x \1 px\.$", str(caught.value))[1])
    assert side % FACTS.multiple == 0
    cells = side // FACTS.factor
    assert plan(replace(canvas, rows=cells, columns=cells), FACTS, resources, asked)
    cells += FACTS.multiple // FACTS.factor
    if cells**2 <= canvas.cells:
        with pytest.raises(MemoryBudgetError):
            plan(replace(canvas, rows=cells, columns=cells), FACTS, resources, asked)


@pytest.mark.parametrize(
    ("memory", "says"),
    [
        (0, "there are 0 bytes; take more memory."),
        (1000, "there are 1000 bytes; take more memory."),
        (1536, "there are 1.5 KiB; take more memory."),
        (MIB - 2**10, "there are 1023 KiB; take more memory or 192 x 192 px."),
        (2**19, "there are 512 KiB; take more memory or 128 x 128 px."),
        (MIB, "there are 1 MiB; take more memory or 192 x 192 px."),
    ],
)
def test_how_little_memory_there_is_is_told(memory, says):
    with pytest.raises(MemoryBudgetError, match="needs at least 264 MiB, even in bands") as caught:
        plan(Canvas(1024, 1024), FACTS, Resources(memory))
    assert str(caught.value).endswith(says)


def test_bands_can_be_asked_for():
    chosen = plan(Canvas(16, 16), FACTS, Resources(2**30), "bands")
    assert (chosen.cover, chosen.unet, chosen.decoder) == ("bands", True, True)
    with pytest.raises(
        RequestError, match="cover must be one of auto, whole, bands, windows, got 'til"
    ):
        plan(Canvas(16, 16), FACTS, Resources(2**30), "tiles")


def test_windows_are_taken_only_when_asked():
    canvas = Canvas(32, 128, windows=WINDOWS)
    assert plan(canvas, FACTS, Resources(2**30)).windows is None
    chosen = plan(canvas, FACTS, Resources(2**30), "windows")
    assert (chosen.cover, chosen.windows, chosen.is_bounded) == ("windows", WINDOWS, False)
    assert chosen.why.startswith("in 7 windows of 128 x 128 px that overlap; whole, it takes")


def test_one_window_that_holds_it_all_is_whole():
    assert (
        plan(Canvas(32, 16, windows=WINDOWS), FACTS, Resources(2**30), "windows").cover == "whole"
    )


def test_the_denoiser_in_windows_takes_the_memory_of_one():
    canvas = Canvas(32, 4096, windows=WINDOWS)
    facts = Facts(**{**FACTS.__dict__, "decoder": Line(0, 1)})
    resources = Resources(canvas.cells * PIXELS + 32 * 32 * 2048)
    assert not plan(canvas, facts, resources, "windows").unet
    with pytest.raises(MemoryBudgetError, match="needs at least 48 MiB, even in bands"):
        plan(canvas, facts, resources)


def test_windows_need_a_trained_size():
    with pytest.raises(RequestError, match="cover must be auto, whole or bands for this model"):
        plan(Canvas(32, 128), FACTS, Resources(2**30), "windows")


def test_facts_tell_the_trained_size_in_px():
    assert FACTS.trained_size is None
    facts = Facts(**{**FACTS.__dict__, "trained_rows": 8, "trained_columns": 16})
    assert (facts.trained_size, facts.size_multiple) == ((32, 64), 16)
