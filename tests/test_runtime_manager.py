import copy
import gc
import threading
import time
import weakref
from dataclasses import replace

import psutil
import pytest
import torch

from ldm.catalog.registry import load_preset
from ldm.errors import CheckpointError, MemoryBudgetError, PresetError
from ldm.runtime import manager as module
from ldm.runtime.manager import ModelManager

SIZES = {"a": 4, "b": 4, "c": 4, "d": 8, "huge": 11}


class Model:
    """Stands for a loaded model."""

    def __init__(self, name):
        self.name = name


class Loader:
    """Loads stand-ins, counts them, waits or fails where a test says so."""

    def __init__(self):
        self.count = dict.fromkeys(SIZES, 0)
        self.failing = set()
        self.waiting = {}  # name -> event to wait for
        self.started = {name: threading.Event() for name in SIZES}
        self.alive = weakref.WeakSet()

    def __call__(self, preset):
        self.count[preset.name] += 1
        self.started[preset.name].set()
        if preset.name in self.waiting:
            assert self.waiting[preset.name].wait(10)
        if preset.name in self.failing:
            raise CheckpointError(f"{preset.name} is broken.")
        model = Model(preset.name)
        self.alive.add(model)
        return model


@pytest.fixture
def loader(monkeypatch):
    some = load_preset("demo-kl-f4")

    def find(name, tasks):
        if name not in SIZES:
            raise PresetError(f"there is no preset {name!r}.")
        return replace(some, name=name)

    monkeypatch.setattr(module, "load_preset", find)
    return Loader()


@pytest.fixture
def manager(loader):
    return ModelManager(
        device="cpu", memory_budget=10, load=loader, size_of=lambda preset: SIZES[preset.name]
    )


def use(manager, name):
    with manager.use(name) as model:
        return model.name


def test_nothing_is_loaded_before_the_first_use(manager, loader):
    assert manager.loaded() == {}
    assert use(manager, "a") == "a"
    assert manager.loaded() == {"a": 4}


def test_a_second_use_does_not_load_again(manager, loader):
    use(manager, "a")
    use(manager, "a")
    assert loader.count["a"] == 1


def test_the_least_recently_used_model_goes_first(manager):
    for name in ("a", "b", "a", "c"):
        use(manager, name)
    assert list(manager.loaded()) == ["a", "c"]


def test_several_go_if_one_is_not_enough(manager):
    for name in ("a", "b", "d"):
        use(manager, name)
    assert list(manager.loaded()) == ["d"]


def test_an_evicted_model_is_gone_before_the_next_is_loaded(manager, loader, monkeypatch):
    use(manager, "a")
    use(manager, "b")
    alive = []
    monkeypatch.setattr(manager, "_load", lambda preset: alive.append(len(loader.alive)) or preset)
    use(manager, "d")
    assert alive == [0]


def test_a_model_in_use_stays(manager):
    with manager.use("a"), manager.use("b"):
        with pytest.raises(MemoryBudgetError, match="c needs 4 bytes beside 8 bytes in use"):
            use(manager, "c")
        assert list(manager.loaded()) == ["a", "b"]
    assert use(manager, "c") == "c"


def test_a_model_in_use_is_skipped_by_eviction(manager):
    with manager.use("a"):
        use(manager, "b")
        use(manager, "c")
        assert list(manager.loaded()) == ["a", "c"]


def test_one_that_is_used_twice_stays_until_both_have_ended(manager):
    first, second = manager.use("a"), manager.use("a")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not manager.unload("a")
    second.__exit__(None, None, None)
    assert manager.unload("a")


def test_a_model_larger_than_the_budget_names_both_numbers(manager, loader):
    use(manager, "a")
    with pytest.raises(MemoryBudgetError, match="huge needs 11 bytes, and .* budget is 10 bytes"):
        use(manager, "huge")
    assert list(manager.loaded()) == ["a"]
    assert loader.count["huge"] == 0


def test_a_budget_of_nothing_is_a_budget(loader):
    manager = ModelManager(device="cpu", memory_budget=0, load=loader, size_of=lambda _: 1)
    with pytest.raises(MemoryBudgetError, match="0 bytes"):
        use(manager, "a")


def test_an_error_inside_the_block_lets_go(manager):
    with pytest.raises(ZeroDivisionError), manager.use("a"):
        raise ZeroDivisionError
    assert manager.unload("a")


def test_unload(manager):
    use(manager, "a")
    assert manager.unload("a")
    assert not manager.unload("a")
    assert manager.loaded() == {}


def test_an_unknown_name_is_told_with_those_that_there_are():
    with pytest.raises(PresetError, match="did you mean demo-layout"):
        ModelManager(device="cpu").preset("demo-layuot")


def test_an_unknown_preset_leaves_no_trace(manager):
    with pytest.raises(PresetError):
        use(manager, "none")
    assert manager._name_locks == {}


def test_a_failed_load_returns_to_the_previous_state(manager, loader):
    use(manager, "a")
    use(manager, "b")
    loader.failing = {"d"}
    with pytest.raises(CheckpointError, match="d is broken"):
        use(manager, "d")
    assert manager.loaded() == {"a": 4, "b": 4}
    loader.failing = set()
    assert use(manager, "d") == "d"


def test_what_cannot_be_brought_back_does_not_hide_the_error(manager, loader):
    use(manager, "a")
    use(manager, "b")
    loader.failing = {"a", "d"}
    with pytest.raises(CheckpointError, match="d is broken"):
        use(manager, "d")
    assert manager.loaded() == {"b": 4}
    assert manager._reserved == 0


def run_together(*targets):
    """Run functions in threads; returns what each gave or raised."""
    results = [None] * len(targets)

    def call(i, target):
        try:
            results[i] = target()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=call, args=item) for item in enumerate(targets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return results


def test_two_threads_load_one_model_once(manager, loader):
    loader.waiting["a"] = release = threading.Event()
    threading.Timer(0.1, release.set).start()
    assert run_together(*[lambda: use(manager, "a")] * 4) == ["a"] * 4
    assert loader.count["a"] == 1


def test_a_loaded_model_can_be_used_while_another_loads(manager, loader):
    use(manager, "a")
    loader.waiting["b"] = release = threading.Event()
    thread = threading.Thread(target=use, args=(manager, "b"))
    thread.start()
    assert loader.started["b"].wait(10)
    assert use(manager, "a") == "a"
    assert manager.loaded() == {"a": 4}
    release.set()
    thread.join(10)
    assert set(manager.loaded()) == {"a", "b"}


def test_two_models_load_at_the_same_time(manager, loader):
    loader.waiting = {"a": loader.started["b"], "b": loader.started["a"]}
    assert run_together(lambda: use(manager, "a"), lambda: use(manager, "b")) == ["a", "b"]


def test_a_model_that_is_being_loaded_counts(manager, loader):
    loader.waiting["d"] = release = threading.Event()
    thread = threading.Thread(target=use, args=(manager, "d"))
    thread.start()
    assert loader.started["d"].wait(10)
    with pytest.raises(MemoryBudgetError, match="a needs 4 bytes beside 8 bytes in use"):
        use(manager, "a")
    release.set()
    thread.join(10)


def test_many_threads_never_exceed_the_budget(manager, loader):
    failures = []

    def work(seed):
        order = torch.randperm(3, generator=torch.Generator().manual_seed(seed)).tolist()
        for i in order * 20:
            try:
                with manager.use("abc"[i]) as model:
                    assert model.name == "abc"[i]
                    if sum(manager.loaded().values()) > 10:
                        failures.append(manager.loaded())
            except MemoryBudgetError:
                time.sleep(0)

    results = run_together(*[lambda seed=seed: work(seed) for seed in range(6)])
    assert results == [None] * 6
    assert failures == []
    assert all(entry.pins == 0 for entry in manager._entries.values())
    assert manager._reserved == 0


def test_thirty_switches_of_a_real_model_leave_no_growth(loader, tiny_model):
    """Each load is a copy of its own; after a switch the one before is gone."""
    process, dead, sizes = psutil.Process(), [], []
    nbytes = sum(p.numel() * 4 for p in tiny_model.parameters())
    manager = ModelManager(
        device="cpu",
        memory_budget=int(1.5 * nbytes),
        load=lambda preset: copy.deepcopy(tiny_model),
        size_of=lambda preset: nbytes,
    )
    for i in range(33):
        with manager.use("ab"[i % 2]) as model:
            model.preview(torch.zeros(1, 3, 4, 4), 8)
            dead.append(weakref.ref(model))
        del model
        if i == 2:
            gc.collect()
        sizes.append(process.memory_info().rss)
    assert [reference() is None for reference in dead] == [True] * 32 + [False]
    assert sizes[-1] - sizes[2] < 4 * nbytes
