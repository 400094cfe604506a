from ldm.catalog.registry import load_preset
from ldm.data.classes import NAMES, NO_CLASS, class_of
from ldm.data.scenes import ATTRIBUTES


def test_every_scene_has_one_class_with_its_name():
    seen = [
        class_of({"ground": ground, "time": time})
        for ground in ATTRIBUTES["ground"]
        for time in ATTRIBUTES["time"]
    ]
    assert seen == list(range(16))
    assert NO_CLASS == 16
    assert NAMES[0] == "grass by day"
    assert NAMES[class_of({"ground": "sand", "time": "sunset"})] == "sand at sunset"


def test_the_preset_has_a_row_for_each_class_and_for_none():
    about = load_preset("demo-class-conditional").architecture.conditioner
    assert about.n_classes == NO_CLASS + 1
