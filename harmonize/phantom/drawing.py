"""Draw on a square canvas: splines, filled shapes, polylines, blur, cloudy noise.

Coordinates are canvas fractions from (0, 0), top left, to (1, 1), bottom right. So a shape does not depend on R, the
side of the canvas in pixels. A Layer is uint8 [R, R], because OpenCV smooths edges only for this type. A Map is float32
[R, R]. Points are float64 [N, 2]: x and y of N points.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Map = NDArray[np.float32]
Layer = NDArray[np.uint8]
Points = NDArray[np.float64]
Shapes = Points | Sequence[Points]  # K shapes of N points: one array [K, N, 2], or K arrays [N, 2]

FIXED_BITS = 5  # OpenCV's sub-pixel positions are integers with this number of fractional bits


def blank(size: int) -> Layer:
    """Return a layer of zeros, [size, size]."""
    return np.zeros((size, size), np.uint8)


@lru_cache(8)
def grid(size: int) -> tuple[Map, Map]:
    """Return the canvas coordinates x and y of every pixel center (read-only)."""
    centers = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = np.meshgrid(centers, centers)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def bump(size: int, x: float, y: float, half_width: float, half_height: float) -> Map:
    """Return a map of a Gaussian bump: 1 at (x, y), exp(-1) at `half_width` beside it or `half_height` above or below it."""
    centers = grid(size)[0][0]
    return np.outer(np.exp(-(((centers - y) / half_height) ** 2)), np.exp(-(((centers - x) / half_width) ** 2)))


@lru_cache(64)
def _spline_matrix(num_points: int, steps: int, closed: bool) -> Points:
    """Return the matrix that maps the control points of a Catmull-Rom spline to samples of its curve.

    The curve has `steps` samples from each control point to the next; an open curve has one more sample at its end.
    """
    spans = num_points if closed else num_points - 1
    matrix = np.zeros((spans * steps + (not closed), num_points))
    t = np.arange(steps) / steps
    weights = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1) / 2
    for span in range(spans):
        for j in range(4):
            k = (span - 1 + j) % num_points if closed else min(max(span - 1 + j, 0), num_points - 1)
            matrix[span * steps : (span + 1) * steps, k] += weights[:, j]
    if not closed:
        matrix[-1, -1] = 1
    return matrix


def spline(points: ArrayLike, steps: int = 6, closed: bool = True) -> Points:
    """Return a smooth curve through the points, as samples (x, y); `steps` samples lie between neighboring points."""
    control = np.asarray(points, np.float64)
    curve: Points = _spline_matrix(len(control), steps, closed) @ control
    return curve


def ellipse(x: float, y: float, rx: ArrayLike, ry: ArrayLike, num_points: int = 32) -> Points:
    """Return the outline of an ellipse; each radius may be an array [num_points]."""
    cosine, sine = _circle(num_points)
    return np.stack([x + np.asarray(rx) * cosine, y + np.asarray(ry) * sine], 1)


@lru_cache(8)
def _circle(num_points: int) -> tuple[Points, Points]:
    """Return cosine and sine of equally distant angles (read by `ellipse`, never changed)."""
    angle = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    return np.cos(angle), np.sin(angle)


def _fixed_point(shapes: Shapes, size: int) -> list[NDArray[np.int32]]:
    """Return the shapes in OpenCV's fixed-point pixel coordinates."""
    # one array of shapes is converted at once, which saves a third of the drawing time
    if isinstance(shapes, np.ndarray):
        return list(np.rint((shapes * size - 0.5) * 2**FIXED_BITS).astype(np.int32))
    return [np.rint((shape * size - 0.5) * 2**FIXED_BITS).astype(np.int32) for shape in shapes]


def fill(layer: Layer, shapes: Shapes, value: float = 255) -> None:
    """Fill polygons with `value`; the layer is changed in place."""
    cv2.fillPoly(layer, _fixed_point(shapes, layer.shape[0]), (value,), cv2.LINE_AA, FIXED_BITS)


def stroke(layer: Layer, curves: Shapes, width: float, value: float = 255) -> None:
    """Draw open curves; the layer is changed in place. `width` is a canvas fraction.

    A line thinner than one pixel is drawn one pixel wide, but fainter.
    """
    pixels = width * layer.shape[0]
    shade = (value * min(1.0, pixels),)
    cv2.polylines(
        layer, _fixed_point(curves, layer.shape[0]), False, shade, max(1, round(pixels)), cv2.LINE_AA, FIXED_BITS
    )


def resize(image: Map, size: tuple[int, int], smooth: bool = True) -> Map:
    """Resize a map to (height, width): bilinear, or by area if `smooth` is false (for shrinking)."""
    interpolation = cv2.INTER_LINEAR if smooth else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation), np.float32)


def gaussian(image: Map, sigma_px: float) -> Map:
    """Return a Gaussian blur with replicated edges."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), np.float32)


def blur(image: Map, sigma: float) -> Map:
    """Return a Gaussian blur; `sigma` is a fraction of the canvas, and a wide blur is computed on a reduced grid."""
    size = image.shape[0]
    pixels = sigma * size
    if pixels < 0.3:
        return image
    shrink = int(pixels // 3)
    if shrink <= 1:
        return gaussian(image, pixels)
    small = resize(image, (max(8, size // shrink),) * 2, smooth=False)
    return resize(gaussian(small, sigma * small.shape[0]), (size, size))


def soft(layer: Layer, sigma: float = 0.004) -> Map:
    """Return a layer as a map of 0..1 with blurred edges."""
    return blur(layer.astype(np.float32) * np.float32(1 / 255), sigma)


@lru_cache(8)
def _noise_bank(power: float) -> Map:
    """Return a periodic noise field [1024, 1024] with amplitude 1 / frequency ** power and unit variance."""
    size = 512
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    # the seed is fixed, so the noise field is always the same; `cloud` takes a random crop
    white = np.random.default_rng(7).standard_normal((size, size))
    field = np.fft.irfft2(np.fft.rfft2(white) / frequency**power, (size, size))
    return np.tile((field - field.mean()) / field.std(), (2, 2)).astype(np.float32)


def cloud(rng: np.random.Generator, size: int, span: int = 256, power: float = 1.6) -> Map:
    """Return fractal noise, a map with mean 0 and variance 1.

    `span` is the side of the crop of the noise field that fills the canvas: a smaller crop gives larger clouds.
    """
    y, x = rng.integers(0, 512, 2)
    crop = _noise_bank(power)[y : y + span, x : x + span]
    interpolation = cv2.INTER_AREA if size < span else cv2.INTER_CUBIC
    field = np.asarray(cv2.resize(crop, (size, size), interpolation=interpolation), np.float32)
    mean, deviation = cv2.meanStdDev(field)
    return (field - np.float32(mean[0, 0])) / np.float32(deviation[0, 0] + 1e-6)


def rounded(layer: Layer, full_depth: float) -> Map:
    """Return the thickness 0..1 of a rounded body, which increases from the outline inwards as a quarter ellipse.

    The thickness reaches 1 at the distance `full_depth` from the outline, a fraction of the canvas.
    """
    size, coarse = layer.shape[0], 96
    mask = cv2.resize(layer, (coarse, coarse), interpolation=cv2.INTER_AREA)
    mask = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inside = cv2.distanceTransform((np.asarray(mask) > 127).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    share = np.minimum(np.asarray(inside, np.float32) / np.float32(coarse * full_depth), 1)
    profile = np.sqrt(np.maximum(1 - (1 - share) ** 2, 0))
    return resize(np.asarray(cv2.GaussianBlur(profile, (0, 0), 1.0), np.float32), (size, size))
