"""Pictures of where a prediction is right, wrong, or missing, filled block by block."""

import base64

import cv2
import numpy as np

from roadseg.metrics.error_classes import SHOWN, paint, share_of_classes
from roadseg.metrics.pixels import Bytes
from roadseg.windows import Window


class ErrorPicture:
    """An error map reduced to a picture, filled block by block.

    Parameters
    ----------
    height, width
        Size of the map in pixels.
    longest_px
        Longest side of the picture.
    """

    def __init__(self, height: int, width: int, longest_px: int) -> None:
        self._factor = -(-max(height, width) // longest_px)
        self.size = -(-height // self._factor), -(-width // self._factor)
        self._shares = np.zeros((len(SHOWN), *self.size), np.float32)

    def whole_squares(self, side_px: int) -> int:
        """Return the largest block side up to this one that cuts no pixel of the picture in two."""
        return max(1, side_px // self._factor) * self._factor

    def add(self, window: Window, classes: Bytes) -> None:
        """Fill the part of the picture that shows a block, given its classes (height, width).

        Blocks start at multiples of ``whole_squares``.
        """
        part = share_of_classes(classes, self._factor)
        row, col = window.row // self._factor, window.col // self._factor
        self._shares[:, row : row + part.shape[1], col : col + part.shape[2]] = part

    def png(self, backdrop: Bytes | None) -> str:
        """Return the picture over imagery of its size, see ``paint``, as a base64 PNG."""
        return png_base64(paint(self._shares, backdrop))


def png_base64(rgb: Bytes) -> str:
    """Return (rows, cols, 3) uint8 red, green, blue as a base64 PNG, for inline images."""
    _, png = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return base64.b64encode(png.tobytes()).decode("ascii")
