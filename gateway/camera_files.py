# SPDX-License-Identifier: Apache-2.0
"""What the camera commands need of settings and store file, which may still be unfinished."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

from gateway.config import ConfigError
from gateway.config_cameras import SHAPE_SLACK
from gateway.config_settings import load_watched
from gateway.config_store import read_store
from gateway.config_vision import Watched
from gateway.domain.store import Camera, Store
from vision.camera_tools.feed import CameraError, Feed
from vision.flats import Image
from vision.geometry import ShelfFront
from vision.worker import shelf_fronts

Page = TypeVar("Page", bound=ThreadingHTTPServer)

UNFINISHED = ("floor_points", "space_points")
"""Keys of a camera that calibrating it is to find."""


@dataclass(frozen=True, slots=True)
class CameraFiles:
    """Both files, as far as cameras are concerned.

    Attributes:
        store: None without a store file.
        store_path: Its path.
        vision: The settings' tables, by camera.
        urls: What OpenCV opens, by camera.
    """

    store: Store | None
    store_path: Path | None
    vision: dict[str, Watched]
    urls: dict[str, str]

    @classmethod
    def read(cls, args: argparse.Namespace) -> "CameraFiles":
        """Read what the arguments name.

        Raises:
            ConfigError: A file is wrong; points that a camera lacks are no error yet.
        """
        tables = () if args.settings is None else load_watched(args.settings)
        urls = {table.camera: table.url for table in tables}
        if getattr(args, "url", None) is not None:
            urls[args.name] = args.url
        store = None
        if args.store is not None:
            read = read_store(args.store)
            errors = [
                item
                for item in read.problems
                if item.severity == "error" and not item.key.endswith(UNFINISHED)
            ]
            if errors or read.known is None:
                raise ConfigError(errors)
            store = read.known
        return cls(store, args.store, {table.camera: table for table in tables}, urls)

    def find(self, name: str) -> Camera | None:
        """Return a camera of the store file; None if it has none of that name."""
        cameras = () if self.store is None else self.store.cameras
        return next((camera for camera in cameras if camera.name == name), None)

    def camera(self, name: str) -> Camera:
        """Return a camera of the store file.

        Raises:
            CameraError: It has none of that name.
        """
        found = self.find(name)
        if found is None:
            known = [] if self.store is None else [camera.name for camera in self.store.cameras]
            remedy = f"Known there: {', '.join(known)}" if known else "Add [[camera]]"
            raise CameraError(f"camera {name}: not in the store file. {remedy}")
        return found

    def url(self, name: str) -> str:
        """Return what OpenCV opens.

        Raises:
            CameraError: Nobody said it.
        """
        if name not in self.urls:
            raise CameraError(
                f"camera {name}: no address. Give --settings with its [[vision]] table, or --url"
            )
        return self.urls[name]

    def feed(self, name: str) -> Feed:
        """Return a camera's frames, asked for as the worker asks for them.

        Raises:
            CameraError: Nobody said its address.
        """
        table = self.vision.get(name)
        if table is None:
            return Feed(name, self.url(name))
        return Feed(name, self.url(name), resolution=table.resolution, fps=table.fps)


def of_shape(camera: Camera, size_wh: tuple[int, int]) -> bool:
    """Tell whether a picture's width and height are in the proportion of ``size_px``."""
    wide, high = camera.size_px
    return abs(size_wh[0] / size_wh[1] / (wide / high) - 1.0) <= SHAPE_SLACK


def size_of(image: Image) -> tuple[int, int]:
    """Return a picture's width and height."""
    height, width = image.shape[:2]
    return int(width), int(height)


def check_shape(camera: Camera, size_wh: tuple[int, int]) -> None:
    """Look whether a picture's width and height are in the proportion of ``size_px``.

    Raises:
        CameraError: They are not.
    """
    if not of_shape(camera, size_wh):
        raise CameraError(
            f"camera {camera.name}: gives {in_words(size_wh)}, another shape than size_px, "
            f"{in_words(camera.size_px)}. Correct size_px, or the camera's mode"
        )


def in_words(size_wh: tuple[int, int]) -> str:
    """Return a width and height as they are told."""
    return f"{size_wh[0]} x {size_wh[1]}"


def fronts_of(files: CameraFiles) -> tuple[ShelfFront, ...]:
    """Return the store's shelf fronts."""
    return () if files.store is None else shelf_fronts(files.store)


def points_mm_of(camera: Camera) -> list[tuple[float, float, float]]:
    """Return the places of a camera's points, of both kinds."""
    places = [(*point.mm, 0.0) for point in camera.floor_points]
    return places + [point.mm for point in camera.space_points or ()]


def page_at(make: Callable[[str, int], Page], host: str, port: int) -> Page:
    """Return a page's server, listening.

    Raises:
        CameraError: It cannot listen there.
    """
    try:
        return make(host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise CameraError(
            f"--port {port}: cannot be opened at {host}: {reason}. Choose another --port or --host"
        ) from error
