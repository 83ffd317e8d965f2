"""Folders of images."""

import json
import os
from pathlib import Path

import pytest
from tests.datasets import Written, read

from headrace.core.errors import HeadraceError
from headrace.data.errors import DamagedData, IndexRefused, NotADataset
from headrace.data.formats.format import Options
from headrace.data.formats.images import Images


def put(folder: Path, *names: str, data: bytes = b"\xff\xd8") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def refusal(path: Path, glob: str | None = None) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        list(Images().scan(path, Options(glob=glob)).units)
    return caught.value


def test_the_first_folder_is_the_class_and_classes_are_numbered_by_name(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "Dog/x/2.PNG", "cat/notes.txt")
    (tmp_path / "empty").mkdir()
    assert read(Written("images", tmp_path, [])) == [
        {"image": b"\xff\xd8", "label": 0, "name": "Dog/x/2.PNG"},
        {"image": b"\xff\xd8", "label": 1, "name": "cat/1.jpg"},
    ]


def test_a_folder_without_classes_has_no_labels(tmp_path: Path) -> None:
    put(tmp_path, "b.jpg", "a.jpg", ".hidden.jpg")
    names = [sample["name"] for sample in read(Written("images", tmp_path, []))]
    assert names == ["a.jpg", "b.jpg"]


def test_classes_whose_names_are_not_utf8_have_labels_of_their_own(tmp_path: Path) -> None:
    put(tmp_path, os.fsdecode(b"\xff/1.jpg"), "\\xff/1.jpg", "\\\\xff/1.jpg")
    scan = Images().scan(tmp_path, Options())
    assert len(set(scan.meta["classes"])) == 3
    json.dumps(scan.meta).encode()
    labels = [sample["label"] for sample in read(Written("images", tmp_path, []))]
    assert labels == [0, 1, 2]


def test_an_image_beside_the_classes_is_refused_with_what_to_do(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "x.jpg")
    assert str(refusal(tmp_path)) == (
        f"error HR-DATA-010: {tmp_path}/x.jpg: an image outside of the folders of classes\n"
        f"  why: {tmp_path} has images in folders (cat, ..), whose names are labels, and beside "
        "them\n"
        "  fix: move it into a folder, or leave it out with --glob '*/*'"
    )
    assert len(list(Images().scan(tmp_path, Options(glob="*/*")).units)) == 1


def test_an_image_of_no_bytes_is_damaged(tmp_path: Path) -> None:
    assert isinstance(refusal(put(tmp_path, "a.jpg", data=b"")), DamagedData)


def test_a_file_and_a_folder_without_images_are_refused(tmp_path: Path) -> None:
    assert isinstance(refusal(tmp_path), NotADataset)
    assert isinstance(refusal(put(tmp_path, "a.jpg") / "a.jpg"), NotADataset)
    assert isinstance(refusal(tmp_path, glob="*.png"), NotADataset)


def test_a_link_to_an_image_elsewhere_in_the_folder_is_a_sample_of_its_class(
    tmp_path: Path,
) -> None:
    put(tmp_path, "cat/1.jpg", "dog/2.jpg")
    (tmp_path / "dog" / "1.jpg").symlink_to("../cat/1.jpg")
    labels = [sample["label"] for sample in read(Written("images", tmp_path, []))]
    assert labels == [0, 1, 1]


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "secret.jpg", "set/a.jpg")
    (tmp_path / "set" / "b.jpg").symlink_to(tmp_path / "secret.jpg")
    assert isinstance(refusal(tmp_path / "set"), IndexRefused)
