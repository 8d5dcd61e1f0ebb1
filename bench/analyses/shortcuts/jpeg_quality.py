"""The JPEG quality of image files, read from their quantization tables.

A JPEG encoder divides each frequency of a block of 8 x 8 pixels by a number of the quantization table, and rounds the
result. Large numbers lose much detail. A quality from 1 to 100 selects a table: quality 1 loses most, quality 100 loses
hardly anything.
"""

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from harmonize.images.image_header import UnreadableImage
from harmonize.images.shards import file_bytes

QUALITIES = range(1, 101)


def jpeg_quality(path: Path) -> int:
    """Return the quality of a JPEG file, 1 to 100; 0 for a file of another format or an unreadable file.

    The result is the quality at which OpenCV's encoder (libjpeg) writes the first quantization table with the nearest
    mean. If another encoder wrote the file, the result is the quality at which OpenCV loses about as much.
    """
    try:
        mean = mean_quantization(file_bytes(path))
    except (OSError, UnreadableImage):
        return 0
    if not mean:
        return 0
    means = _mean_by_quality()
    return min(QUALITIES, key=lambda quality: abs(means[quality] - mean))


def mean_quantization(content: bytes) -> float:
    """Return the mean of the first quantization table of a JPEG file; 0 for other files and for files without a table."""
    position = 2
    while (
        content.startswith(b"\xff\xd8")
        and position + 4 <= len(content)
        and content[position] == 0xFF
        and content[position + 1] != 0xDA
    ):
        segment_length = int.from_bytes(content[position + 2 : position + 4], "big")
        if content[position + 1] == 0xDB and segment_length >= 67:
            step = 2 if content[position + 4] >> 4 else 1
            values = np.frombuffer(content[position + 5 : position + 5 + 64 * step], ">u2" if step == 2 else np.uint8)
            return float(values.mean()) if len(values) == 64 else 0.0
        position += 2 + max(2, segment_length)
    return 0.0


@cache
def _mean_by_quality() -> dict[int, float]:
    """Return quality -> mean of the first quantization table that OpenCV's encoder writes."""
    blank = np.zeros((8, 8), np.uint8)
    return {
        quality: mean_quantization(bytes(cv2.imencode(".jpg", blank, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]))
        for quality in QUALITIES
    }
