"""Where the maps of a bounded run lie."""

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ldm.canvas.workspace import Files, FileStore, MemoryStore


@pytest.mark.parametrize("store", [MemoryStore, FileStore])
def test_numbers_of_a_token_and_of_a_pixel_lie_side_by_side(store):
    """Attention over tokens that are strewn takes memory for each pair of them."""
    cpu = torch.device("cpu")
    for shape, dimension in (((1, 2, 64 * 8, 16), 3), ((1, 4, 64, 8), 1)):
        args = (torch.empty(shape, device="meta"), 2, 64, cpu)
        place = store(*args) if store is MemoryStore else store(*args, Files())
        values = torch.randn(shape)
        place.write(0, values)
        assert torch.equal(place.read(0, 64), values)
        assert place.read(0, 64).stride(dimension) == 1


def test_a_file_is_used_again():
    files = Files()
    first = files.take(100)
    first.write(bytes(100))
    files.give_back(first, 100)
    second = files.take(40)
    assert second is first
    assert os.fstat(second.fileno()).st_size == 40


@given(st.lists(st.one_of(st.integers(1, 9000), st.none()), max_size=30))
def test_files_never_take_more_of_the_disk_than_the_maps_did(changes):
    """A number is the size of a new map; None: the oldest one goes."""
    files, made, maps, most = Files(), [], [], 0
    for nbytes in changes:
        if nbytes is not None:
            file = files.take(nbytes)
            file.seek(0)
            file.write(bytes(nbytes))
            made += [] if file in made else [file]
            maps.append((file, nbytes))
        elif maps:
            files.give_back(*maps.pop(0))
        most = max(most, sum(size for _, size in maps))
        taken = sum(os.fstat(file.fileno()).st_size for file in made if not file.closed)
        assert sum(size for _, size in maps) <= taken <= most


def test_nothing_stays_open_when_the_last_map_is_gone():
    files, cpu = Files(), torch.device("cpu")
    stores = [FileStore(torch.empty(1, 2, 8, 8, device="meta"), 2, 8, cpu, files) for _ in "ab"]
    opened = [store._file for store in stores]
    del stores[0]
    assert not any(file.closed for file in opened)  # the free one waits for the next map
    del files, stores
    assert all(file.closed for file in opened)
