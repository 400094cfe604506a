"""Where the maps of a bounded run lie."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ldm.canvas import stores
from ldm.canvas.stores import BLOCK_BYTES, FileStore, MemoryStore, SpillFile
from ldm.canvas.workspace import STRIP_SHARE, Workspace

CPU = torch.device("cpu")


@pytest.mark.parametrize("store", [MemoryStore, FileStore])
def test_numbers_of_a_token_and_of_a_pixel_lie_side_by_side(store):
    """Attention over tokens that are strewn takes memory for each pair of them."""
    for shape, dimension in (((1, 2, 64 * 8, 16), 3), ((1, 4, 64, 8), 1)):
        args = (torch.empty(shape, device="meta"), 2, 64, CPU)
        place = store(*args) if store is MemoryStore else store(*args, SpillFile())
        values = torch.randn(shape)
        place.write(0, values)
        assert torch.equal(place.read(0, 64), values)
        assert place.read(0, 64).stride(dimension) == 1


def kept(file, rows, width=BLOCK_BYTES):
    """A map of so many rows, a block each by itself, with the row's number everywhere."""
    store = FileStore(
        torch.empty(1, 1, rows, width, dtype=torch.uint8, device="meta"), 2, rows, CPU, file
    )
    for row in range(rows):
        store.write(row, torch.full((1, 1, 1, width), row, dtype=torch.uint8))
    return store


def test_a_map_takes_the_place_of_one_that_is_gone():
    file = SpillFile()
    first = kept(file, 5)
    assert torch.equal(first.read(0, 5)[0, 0, :, 0], torch.arange(5, dtype=torch.uint8))
    del first
    second, third = kept(file, 3), kept(file, 2)
    assert file.blocks == 5
    assert [int(store.read(1, 2)[0, 0, 0, -1]) for store in (second, third)] == [1, 1]


def test_rows_above_those_read_last_make_room():
    file = SpillFile()
    old = kept(file, 6)
    old.read(2, 5)
    old.read(1, 4)
    old.forget_passed()  # row 0
    assert torch.equal(old.read(1, 6)[0, 0, :, 7], torch.arange(1, 6, dtype=torch.uint8))
    old.forget_passed()
    old.forget_passed()  # nothing was read in between
    new = kept(file, 2)
    assert file.blocks == 7
    assert int(old.read(1, 2)[0, 0, 0, 0]) == int(new.read(1, 2)[0, 0, 0, 0]) == 1
    with pytest.raises(KeyError):
        old.read(0, 1)


@pytest.mark.usefixtures("small_blocks")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.integers(1, 900), st.none()), max_size=20))
def test_a_file_takes_no_more_of_the_disk_than_its_maps_did_at_most(changes):
    """A number is the width of a new map of four rows; None: the oldest one goes."""
    file, maps, most = SpillFile(), [], 0
    for width in changes:
        if width is not None:
            maps.append((kept(file, 4, width), width))
        elif maps:
            maps.pop(0)
        most = max(most, sum(-(-4 * width // stores.BLOCK_BYTES) for _, width in maps))
        assert file.blocks == most
    for store, width in maps:
        assert torch.equal(store.read(0, 4)[0, 0, :, width - 1], torch.arange(4, dtype=torch.uint8))


def test_nothing_stays_open_when_the_last_map_is_gone():
    file = SpillFile()
    maps = [kept(file, 1, 8), kept(file, 1, 8)]
    opened = file._file
    del file, maps[0]
    assert not opened.closed
    del maps
    assert opened.closed


@pytest.mark.parametrize(
    "fit, height, rows",
    [(1, 9, 1), (3, 9, 3), (4, 9, 4), (7, 9, 4), (8.5, 9, 8), (9, 9, 9), (40, 9, 9)],
)
def test_strips_are_whole_tiles_where_they_can_be(fit, height, rows):
    space = Workspace(int(100 * fit / STRIP_SHARE))
    assert space.strip_rows(100, height) == rows
