"""A scene that several threads read at once: a dataset is used by one thread at a time, so each gets its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from queue import LifoQueue
from typing import Self

from roadseg.raster.scene import Scene


class SceneCopies:
    """An open scene and copies of it, opened when they are needed; a context manager that closes the copies.

    Parameters
    ----------
    scene
        An open scene; meanwhile nobody else may use it.
    count
        How many threads read it.
    """

    def __init__(self, scene: Scene, count: int) -> None:
        self._scene = scene
        self._opened: list[Scene] = []
        self._idle: LifoQueue[Scene | None] = LifoQueue()
        for one in (*(None for _ in range(count - 1)), scene):
            self._idle.put(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for scene in self._opened:
            scene.close()

    @contextmanager
    def one(self) -> Iterator[Scene]:
        """Context manager for a scene that no other thread uses.

        Raises
        ------
        SceneError
            If it can no longer be opened.
        """
        scene = self._idle.get()
        try:
            if scene is None:
                scene = self._again()
            yield scene
        finally:
            self._idle.put(scene)

    def _again(self) -> Scene:
        """Open the scene once more, with the same stretch."""
        settings = self._scene.settings
        again = Scene(self._scene.path, replace(settings, stretch=self._scene.stretch or settings.stretch))
        self._opened.append(again)
        return again
