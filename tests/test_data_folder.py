"""A person's own pictures: which files are pictures, how they are cut, what is said of them."""

import numpy as np
import pytest
from PIL import Image

from ldm.data.folder import MAX_CAPTIONS, Picture, key_of, pictures_in, read, read_all
from ldm.errors import TrainingError


def save(path, size=(8, 8), colour="red", **about):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **about)
    return path


def test_pictures_of_all_folders_in_the_order_of_their_names(tmp_path):
    for name in ("b/2.JPG", "a/x/1.png", "c.webp", ".hidden.png", "b/.hidden/y.png"):
        save(tmp_path / name)
    (tmp_path / "b" / "note.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    found = pictures_in(tmp_path)
    assert [one.name for one in found] == ["a/x/1.png", "b/2.JPG", "c.webp"]
    assert [one.class_name for one in found] == ["a", "b", ""]


def test_links_to_folders_are_followed_but_not_back(tmp_path):
    """A link to a folder that it lies in, straight or through another link, has no end."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    save(other / "deep" / "1.png")
    save(mine / "own" / "2.png")
    for link, to in {
        mine / "linked": other,
        mine / "own" / "itself": mine / "own",
        mine / "up": mine,
        other / "back": mine,
    }.items():
        link.symlink_to(to, target_is_directory=True)
    (mine / "nowhere").symlink_to(tmp_path / "none")
    found = pictures_in(mine)
    assert [one.name for one in found] == ["linked/deep/1.png", "own/2.png"]
    assert [one.class_name for one in found] == ["linked", "own"]
    (tmp_path / "link").symlink_to(mine)
    assert len(pictures_in(tmp_path / "link")) == 2


@pytest.mark.parametrize(
    ("name", "says"), [("none", "is no folder"), ("empty", "holds no picture; .png, .jpg")]
)
def test_a_folder_without_pictures_is_a_sentence(tmp_path, name, says):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match=says):
        pictures_in(tmp_path / name)


def test_the_middle_of_a_picture_upright_and_without_its_alpha(tmp_path):
    stripes = np.zeros((20, 60, 3), np.uint8)
    stripes[:, 20:40] = 200  # the middle square
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    assert (read(Picture(tmp_path / "wide.png", "wide.png"), 20) == 200).all()
    # a camera's turned picture: what is to its left is the top
    turned = np.zeros((20, 20, 3), np.uint8)
    turned[:, :10] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to the right
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)
    image = read(Picture(tmp_path / "turned.png", "turned.png"), 20)
    assert (image[:10] == 200).all()
    assert (image[10:] == 0).all()
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert (read(Picture(tmp_path / "clear.png", "clear.png"), 4) == 255).all()


def test_grey_of_16_bits_keeps_its_greys(tmp_path):
    """Converted straight to RGB, all but the 256 darkest of its 65536 greys are white."""
    for suffix in (".png", ".tif"):
        path = (tmp_path / "deep").with_suffix(suffix)
        Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(path)
        assert (read(Picture(path, path.name), 4) == 100).all()


def test_a_picture_of_32_bits_is_left_out_with_the_reason(tmp_path, caplog):
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(path)
    assert read(Picture(path, path.name), 4) is None
    assert caplog.messages == [
        f"left out: {path}: the picture has numbers of 32 bits (mode F); save it with 8 or 16."
    ]


def test_what_is_no_picture_is_left_out(tmp_path, png_of_size, caplog):
    save(tmp_path / "a.png", colour=(1, 2, 3))
    (tmp_path / "b.png").write_text("no picture")
    png_of_size(40_000, 40_000).rename(tmp_path / "c.png")
    save(tmp_path / "d.png", colour=(4, 5, 6))
    images = np.zeros((4, 2, 2, 3), np.uint8)
    assert read_all(pictures_in(tmp_path), 2, images) == [0, 3]
    assert images[:2, 0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert {record.args[0].name for record in caplog.records} == {"b.png", "c.png"}


def test_captions_are_the_lines_beside_it(tmp_path):
    picture = Picture(save(tmp_path / "a.png"), "a.png")
    assert picture.captions() == []
    (tmp_path / "a.txt").write_text("a red thing\n\n  Eine rote Fläche \n", "utf-8")
    assert picture.captions() == ["a red thing", "Eine rote Fläche"]
    (tmp_path / "a.txt").write_text("many\n" * 100)
    assert len(picture.captions()) == MAX_CAPTIONS
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(TrainingError, match=r"a\.txt cannot be read as text \(it is not UTF-8\)"):
        picture.captions()
    (tmp_path / "a.txt").write_text("x" * 100_000)
    with pytest.raises(TrainingError, match="larger than captions of"):
        picture.captions()


def test_one_in_twenty_is_held_out_whatever_else_there_is():
    held_out = [Picture(None, f"{i}.png").is_held_out for i in range(4000)]
    assert 150 < sum(held_out) < 250
    assert Picture(None, f"{held_out.index(True)}.png").is_held_out


def test_the_key_changes_with_the_files_and_the_size(tmp_path):
    save(tmp_path / "a.png")
    key = key_of(pictures_in(tmp_path), 8)
    assert key == key_of(pictures_in(tmp_path), 8)
    keys = {key, key_of(pictures_in(tmp_path), 16)}
    save(tmp_path / "b.png")
    keys.add(key_of(pictures_in(tmp_path), 8))
    (tmp_path / "b.png").unlink()
    save(tmp_path / "a.png", colour="blue", size=(9, 9))
    keys.add(key_of(pictures_in(tmp_path), 8))
    assert len(keys) == 4
