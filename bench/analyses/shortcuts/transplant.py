"""What of one radiograph is put into another: pixels that say where a picture is from, and not what it shows.

Images are uint8 [S, S], donor and host of one size, as they lie in the image cache; masks are bool [S, S], boxes too. Every
function is a pure function of its arguments and gives a new image.

`padded`: the images are letterboxed, so 0 is padding and nothing else. Then only the host's picture changes, by nothing but the
donor's picture, and no pixel of it becomes 0.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]

RING = 1 / 16  # width of the border, as a share of the side: the ring of the descriptors, too
CORNER = 1 / 4  # side of a corner patch, as a share of the side: holds letters and tags, hardly any lung
KEPT_CYCLES = 4  # spatial frequencies up to here [cycles per image] are anatomy and stay
MOST_GAIN = 8.0  # of one spatial frequency: more would be noise made of rounding


def ring(size: int) -> Mask:
    """Return the border of an image."""
    width = max(1, round(RING * size))
    mask = np.ones((size, size), bool)
    mask[width:-width, width:-width] = False
    return mask


def corners(size: int) -> Mask:
    """Return the four corner patches of an image."""
    side = max(1, round(CORNER * size))
    edge = np.zeros(size, bool)
    edge[:side] = edge[-side:] = True
    return edge[:, None] & edge[None, :]


def picture(image: Gray, padded: bool) -> Box:
    """Return the box of an image without its padding; all of it where there is none, or nothing else."""
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    if not padded or not len(rows):
        return slice(0, image.shape[0]), slice(0, image.shape[1])
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def pasted(host: Gray, donor: Gray, mask: Mask, padded: bool = False) -> Gray:
    """Return the host with the donor's pixels inside the mask; in letterboxes where both have a picture."""
    return np.where(mask & (host > 0) & (donor > 0) if padded else mask, donor, host)


def intensity_matched(host: Gray, donor: Gray, padded: bool = False) -> Gray:
    """Return the host with the donor's gray values: ranks stay, the histogram becomes the donor's.

    Each gray value goes to the least donor value whose cumulative share reaches the middle of its own step, so an image
    matched to itself is unchanged.
    """
    own, other = (np.bincount(image[picture(image, padded)].ravel(), minlength=256) for image in (host, donor))
    middle = (np.cumsum(own) - own / 2) / own.sum()
    table = np.minimum(np.searchsorted(np.cumsum(other) / other.sum(), middle), 255).astype(np.uint8)
    return _in_picture(host, table[host], padded)


def resolution_matched(host: Gray, donor: Gray, padded: bool = False) -> Gray:
    """Return the host with the donor's radial amplitude spectrum: as sharp, as blurred and as noisy as the donor.

    Frequencies up to KEPT_CYCLES stay; above, each ring of one cycle is scaled by the ratio of mean amplitudes, by at most
    MOST_GAIN either way. The spectrum is that of the cosine transform: it mirrors the image at its edges, where a Fourier
    transform would join the left edge to the right one and ring.
    """
    box = picture(host, padded)
    own, spectrum, place = _amplitudes(host[box])
    other, _, _ = _amplitudes(donor[picture(donor, padded)])
    floor = 1e-3  # a flat image has no amplitude to be scaled
    rings = min(len(own), len(other))  # a letterbox's picture may be narrow, and have fewer
    gain = np.ones(len(own))
    gain[:rings] = np.clip((other[:rings] + floor) / (own[:rings] + floor), 1 / MOST_GAIN, MOST_GAIN)
    gain[: KEPT_CYCLES + 1] = 1
    changed = idctn(spectrum * gain[place], norm="ortho")
    out = host.copy()
    out[box] = np.clip(np.rint(changed), 0, 255)
    return _in_picture(host, out, padded)


def _amplitudes(image: Gray) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the mean amplitude of each ring of one cycle per longer side, the spectrum, and each frequency's ring."""
    height, width = image.shape
    down, across = (np.arange(side) * (max(height, width) / side) for side in (height, width))
    radius = np.hypot(*np.meshgrid(down, across, indexing="ij")) / 2
    place = np.rint(radius).astype(np.int64)
    spectrum: NDArray[np.float64] = dctn(image.astype(np.float64), norm="ortho")
    count = np.bincount(place.ravel())
    return np.bincount(place.ravel(), np.abs(spectrum).ravel()) / np.maximum(count, 1), spectrum, place


def _in_picture(host: Gray, changed: Gray, padded: bool) -> Gray:
    """Return the changed image, in a letterbox with the host's padding and without any other pixel of 0."""
    return np.where(host > 0, np.maximum(changed, 1), 0).astype(np.uint8) if padded else changed


def flattened(host: Gray, mask: Mask, padded: bool = False) -> Gray:
    """Return the host with one gray inside the mask: the median of what was there."""
    out = host.copy()
    mask = mask & (host > 0) if padded else mask
    if mask.any():
        out[mask] = np.uint8(np.median(host[mask]))
    return out


def erased(host: Gray, mask: Mask, padded: bool = False) -> Gray:
    """Return the host with the mask filled from its rim inwards.

    Source: Telea, Journal of Graphics Tools 9 (2004) 23, as in OpenCV.
    """
    box = picture(host, padded)
    out, inside = host.copy(), mask[box]
    if not inside.any() or inside.all():
        return out
    wide = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8))
    out[box] = cv2.inpaint(np.ascontiguousarray(host[box]), wide, 3, cv2.INPAINT_TELEA)
    return _in_picture(host, out, padded)


def mirrored(mask: Mask) -> Mask:
    """Return the mask on the other side of the image: where a marker would be as likely, and none is."""
    return np.ascontiguousarray(mask[:, ::-1])


def boxed(mask: Mask) -> Mask:
    """Return the smallest box around a mask, as a mask; empty for an empty one."""
    out = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows):
        out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return out
