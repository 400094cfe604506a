"""What the sheet of a comparison is called: on the page, in its file and in the history."""

from dataclasses import replace

import numpy as np
import pytest

from ldm.catalog.registry import load_preset
from ldm.events import Result
from ldm.history import History
from ldm.images import EncodedImage
from ldm.images.files import title_of
from ldm.outputs import metadata
from ldm.outputs.saving import save_sheet
from ldm.outputs.settings_line import how
from ldm.outputs.titles import headline, searched, settings, subject, title
from ldm.requests import ClassConditional, Inpaint, TextToImage, Upscale
from ldm.requests.comparison import Axis, Comparison
from ldm.requests.progression import Progression
from ldm.resolve import resolve
from ui.run import Picture
from ui.words import describe

BEACH = TextToImage(prompt="a beach at noon", seed=4)
DUSK, SUNSET = "a pine forest at dusk", "a pine forest at sunset"
FORESTS = Axis("prompt", (DUSK, SUNSET))
SEEDS = Axis("seed", (1, 2))


def resolved(request):
    return resolve(request, load_preset(request.preset))


@pytest.mark.parametrize("axes", [(FORESTS,), (FORESTS, SEEDS), (SEEDS, FORESTS)])
def test_a_sheet_of_prompts_has_one_title_everywhere(tmp_path, axes):
    made, pixels = Comparison(BEACH, *axes), np.zeros((4, 4, 3), np.uint8)
    first, day = made.rows()[0][0], tmp_path / "2026-11-23"
    day.mkdir()
    metadata.save(day / "a.png", pixels, first)
    path = save_sheet(pixels, Result((first,), (), paths=(day / "a.png",)), day, made)
    (day / "a.png").unlink()

    wanted = f"{DUSK}, {SUNSET}"
    assert Picture.of(path, made).title == title_of(path) == wanted
    past = History(tmp_path, tmp_path / "history.db", tmp_path / "removed", describe)
    list(past.refresh())
    (entry,) = past.find(f'"{DUSK}" "{SUNSET}"')
    assert (entry.about.title, entry.about.kind) == (wanted, "sheet")
    assert past.find("beach") == []
    assert entry.about.settings == Picture.of(path, made).settings == settings(made)


def test_many_prompts_are_counted_and_long_ones_cut_and_each_is_found(tmp_path):
    long = f"a lake\n with {'reeds and ' * 9}boats"
    prompts = (long, *(f"number {number}" for number in range(5)))
    made = Comparison(BEACH, Axis("prompt", prompts))
    cut = f"{' '.join(long.split())[:59]}…"
    assert title(made) == f"{cut}, number 0, number 1, number 2 and 2 more"
    assert settings(made) == f"Prompt {', '.join(prompts)} · seed 4"  # the title does not say all
    metadata.save(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8), BEACH, compared=made.record())
    assert {*"01234", "boats"} <= set(describe(tmp_path / "a.png").words.split())


def test_the_settings_do_not_repeat_the_title():
    assert settings(Comparison(BEACH, FORESTS)) == "2 prompts · seed 4"
    steps = Axis("steps", (5, 9))
    assert settings(Comparison(BEACH, steps, FORESTS)) == "Steps 5, 9 · 2 prompts · seed 4"
    alone = Comparison(BEACH, Axis("prompt", (DUSK,)), SEEDS)
    assert (title(alone), settings(alone)) == (DUSK, "Seed 1, 2")


def test_other_sheets_keep_the_title():
    for made in (Comparison(BEACH, SEEDS), Comparison(BEACH, Axis("preset", ("a", "b")))):
        assert title(made) == subject(made) == "a beach at noon"
    assert title(Progression(BEACH)) == "a beach at noon"


def test_all_that_decides_a_title_is_in_that_of_the_sheet(tmp_path):
    image = EncodedImage.from_array(np.zeros((8, 8, 3), np.uint8), "a lake")
    meadow = Comparison(ClassConditional(class_index=9), Axis("class_index", (0, 2)))
    names = [title(request) for request in meadow.rows()[0]]
    assert title(meadow) == subject(meadow) == ", ".join(names)
    assert settings(meadow).startswith("Class 0, 2 · seed ")
    metadata.save(
        tmp_path / "a.png",
        np.zeros((4, 4, 3), np.uint8),
        meadow.rows()[0][0],
        compared=meadow.record(),
    )
    assert describe(tmp_path / "a.png").title == title(meadow)
    models = Comparison(ClassConditional(class_index=9), Axis("preset", ("gone",)))
    assert title(models) == "Class 9"
    larger = Comparison(Upscale(image=image), Axis("passes", (1, 2)))
    assert title(larger) == "a lake, 4 times as large, a lake, 16 times as large"
    assert subject(larger) == "a lake"
    grown = Comparison(Inpaint(image=image, outpaint_top=8), Axis("outpaint_left", (8, 16)))
    assert title(grown) == "a lake, grown to 16 × 16 px, a lake, grown to 24 × 16 px"
    assert subject(grown) == "a lake"
    filled = Inpaint(image=image, outpaint_top=8, prompt="a boat")
    assert title(filled) == "a lake, with a boat, grown to 8 × 16 px"
    assert subject(filled) == "a lake, with a boat"  # what is made of it shows the boat, too
    there = EncodedImage.from_array(np.zeros((8, 8), np.uint8), "a lake, with a boat, by night")
    assert subject(replace(filled, image=there)) == "a lake, with a boat, by night"
    prompts = Comparison(filled, Axis("prompt", ("a red boat", "a tree")))
    assert title(prompts) == "a red boat, a tree"
    assert settings(prompts).startswith("2 prompts")
    all_of_it = EncodedImage.from_array(np.full((8, 8), 255, np.uint8))
    anew = Inpaint(image=image, mask=all_of_it, prompt="a\nboat")
    assert (title(anew), subject(anew)) == ("a boat", "a boat")
    long = replace(filled, prompt="a boat, " * 20 + "a zebra")
    assert "zebra" not in title(long) and "zebra" in searched(resolved(long))
    bare = replace(filled, image=EncodedImage.from_array(np.zeros((8, 8, 3), np.uint8)))
    assert title(bare) == "A boat, drawn in, grown to 8 × 16 px"


def test_a_sheet_of_negative_prompts_is_without_none_of_them():
    request = TextToImage(prompt="a lake", negative_prompt="fog", seed=4)
    made = Comparison(request, Axis("negative_prompt", ("rain", "snow")))
    assert Picture.of("a.png", made).without == ""
    assert "Negative prompt rain, snow" in Picture.of("a.png", made).settings
    assert Picture.of("a.png", Comparison(request, SEEDS)).without == "fog"


def test_the_guidance_of_a_hole_is_said_if_there_were_words():
    image = EncodedImage.from_array(np.zeros((64, 64, 3), np.uint8))
    request = resolved(Inpaint(image=image, outpaint_top=8, guidance_scale=7.0))
    assert "guidance" not in " ".join(how(request))
    for words in ({"prompt": "a boat"}, {"negative_prompt": "fog"}):
        assert "guidance 7" in how(replace(request, **words))
    assert "guidance" not in " ".join(how(replace(request, prompt=" ")))
    assert "guidance 7" in headline([request, replace(request, prompt="a boat")], {"prompt"})
