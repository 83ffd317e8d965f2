"""A folder of images: one file a sample, the first folder its class, as torchvision's ImageFolder.

Images are not decoded: a sample has the bytes of the file.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.data.errors import IndexRefused, NotADataset
from headrace.data.formats.format import Decode, Options, Scan, Unit
from headrace.data.formats.listing import any_of, legible, listing, located
from headrace.data.formats.source import Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


class Images:
    """A sample is {"image": bytes, "label": int, "name": str}; no label in a folder without
    classes. Labels count the folders that hold images, in the order of their names as bytes."""

    name = "images"

    def claims(self, path: Path) -> bool:
        return path.is_dir() and any_of(path, SUFFIXES)

    def scan(self, path: Path, options: Options) -> Scan:
        if not path.is_dir():
            raise NotADataset(path, "images are indexed by the folder that holds them")
        files = listing(path, SUFFIXES, options.glob)
        classes = sorted({name.split("/")[0] for name in files if "/" in name}, key=os.fsencode)
        loose = [name for name in files if "/" not in name]
        if classes and loose:
            raise IndexRefused(
                f"{path / loose[0]}: an image outside of the folders of classes",
                why=f"{path} has images in folders ({classes[0]}, ..), whose names are labels, and "
                "beside them",
                remedy="move it into a folder, or leave it out with --glob '*/*'",
            )
        return Scan(
            files=files,
            units=_files(path, files),
            meta={"classes": [legible(name) for name in classes]},
        )

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        labels = {name: number for number, name in enumerate(meta["classes"])}

        def decode(data: memoryview, file: str, start: int) -> list[dict[str, Any]]:
            del start
            sample: dict[str, Any] = {"image": bytes(data), "name": file}
            if labels:
                sample["label"] = labels[legible(file.split("/")[0])]
            return [sample]

        return decode


def _files(path: Path, files: list[str]) -> Iterator[Unit]:
    for number, name in enumerate(files):
        with Source(located(path, name)) as source:
            if not source.size:
                raise source.damaged("an image of no bytes")
            yield Unit(number, 0, source.size)
