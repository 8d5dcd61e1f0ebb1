"""Image changes of the region transplant test: pixels that identify the hospital are moved from a donor to a host image.

Images are uint8 [S, S] from the image cache; donor and host have the same size. Masks are bool [S, S]. No function
changes its arguments.

`padded` means that images are letterboxed: pixels of value 0 are padding, all other pixels are content. Then only
content pixels of the host change, only content pixels of the donor are used, and no content pixel becomes 0.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]

RING = 1 / 16  # width of the border as a share of the side; the same as for the descriptor `ring` of images
# side of a corner patch as a share of the image's side; a patch contains letters and tags, but hardly any lung
CORNER = 1 / 4
KEPT_CYCLES = 4  # spatial frequencies up to this number of cycles per image show anatomy and are not changed
MOST_GAIN = 8.0  # maximum gain of a spatial frequency; a higher gain would amplify rounding noise
LOW_QUALITY = 25  # JPEG quality at which the blocks of 8 x 8 pixels are visible
CLIP, TILES = 2.0, 8  # clip limit and tiles per side of the equalization; the defaults of the preprocessing op `clahe`


def ring(size: int) -> Mask:
    """Return the mask of the border of an image with the side `size`."""
    width = max(1, round(RING * size))
    mask = np.ones((size, size), bool)
    mask[width:-width, width:-width] = False
    return mask


def corners(size: int) -> Mask:
    """Return the mask of the four corner patches of an image with the side `size`."""
    side = max(1, round(CORNER * size))
    edge = np.zeros(size, bool)
    edge[:side] = edge[-side:] = True
    return edge[:, None] & edge[None, :]


def picture(image: Gray, padded: bool) -> Box:
    """Return the box of an image without its padding; the entire image if it has no padding or only padding."""
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    if not padded or not len(rows):
        return slice(0, image.shape[0]), slice(0, image.shape[1])
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def pasted(host: Gray, donor: Gray, mask: Mask, padded: bool = False) -> Gray:
    """Return the host with the donor's pixels inside the mask; with `padded` only where both images have content."""
    return np.where(mask & (host > 0) & (donor > 0) if padded else mask, donor, host)


def intensity_matched(host: Gray, donor: Gray, padded: bool = False) -> Gray:
    """Return the host with its histogram matched to the donor's histogram.

    Each gray value of the host is a step in the host's cumulative histogram. The value becomes the smallest donor value
    whose cumulative share reaches the middle of this step. So a brighter value never becomes darker than a darker
    value, and an image that is matched to itself does not change.
    """
    host_count = np.bincount(host[picture(host, padded)].ravel(), minlength=256)
    donor_count = np.bincount(donor[picture(donor, padded)].ravel(), minlength=256)
    cumulative_share = (np.cumsum(host_count) - host_count / 2) / host_count.sum()
    table = np.minimum(np.searchsorted(np.cumsum(donor_count) / donor_count.sum(), cumulative_share), 255).astype(
        np.uint8
    )
    return _in_picture(host, table[host], padded)


def resolution_matched(host: Gray, donor: Gray, padded: bool = False) -> Gray:
    """Return the host with the donor's radial amplitude spectrum, so that the host is as sharp and noisy as the donor.

    Frequencies up to KEPT_CYCLES do not change. Higher frequencies are divided into rings: ranges with a width of one
    cycle. Each ring is multiplied by a gain: the donor's mean amplitude divided by the host's, limited to the range
    from 1 / MOST_GAIN to MOST_GAIN. The spectrum is from the cosine transform, which mirrors the image at its edges.
    A Fourier transform would join opposite edges and cause oscillations there.
    """
    box = picture(host, padded)
    host_amplitude, spectrum, ring_of_frequency = _amplitudes(host[box])
    donor_amplitude, _, _ = _amplitudes(donor[picture(donor, padded)])
    floor = 1e-3  # avoids division by 0 for a flat image
    # the content of a letterbox may be narrow and have fewer rings
    rings = min(len(host_amplitude), len(donor_amplitude))
    gain = np.ones(len(host_amplitude))
    gain[:rings] = np.clip(
        (donor_amplitude[:rings] + floor) / (host_amplitude[:rings] + floor), 1 / MOST_GAIN, MOST_GAIN
    )
    gain[: KEPT_CYCLES + 1] = 1
    changed = idctn(spectrum * gain[ring_of_frequency], norm="ortho")
    out = host.copy()
    out[box] = np.clip(np.rint(changed), 0, 255)
    return _in_picture(host, out, padded)


def _amplitudes(image: Gray) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the mean amplitude of each ring, the spectrum, and the ring of each frequency.

    A ring is a range of spatial frequencies with a width of one cycle per longer side of the image.
    """
    height, width = image.shape
    down, across = (np.arange(side) * (max(height, width) / side) for side in (height, width))
    radius = np.hypot(*np.meshgrid(down, across, indexing="ij")) / 2
    ring_of_frequency = np.rint(radius).astype(np.int64)
    spectrum: NDArray[np.float64] = dctn(image.astype(np.float64), norm="ortho")
    count = np.bincount(ring_of_frequency.ravel())
    return (
        np.bincount(ring_of_frequency.ravel(), np.abs(spectrum).ravel()) / np.maximum(count, 1),
        spectrum,
        ring_of_frequency,
    )


def _in_picture(host: Gray, changed: Gray, padded: bool) -> Gray:
    """Return the changed image; with `padded`, the host's padding is 0, and all other pixels are at least 1."""
    return np.where(host > 0, np.maximum(changed, 1), 0).astype(np.uint8) if padded else changed


def reencoded(host: Gray, quality: int, padded: bool = False) -> Gray:
    """Return the host after it was encoded as JPEG with this quality, 1 to 100, and decoded."""
    box = picture(host, padded)
    encoded, data = cv2.imencode(".jpg", np.ascontiguousarray(host[box]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise RuntimeError("OpenCV cannot encode the image as JPEG")
    out = host.copy()
    out[box] = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return _in_picture(host, out, padded)


def equalized(host: Gray, padded: bool = False) -> Gray:
    """Return the host after contrast-limited adaptive histogram equalization (CLAHE).

    Source: Zuiderveld, Graphics Gems IV (1994) 474, as in OpenCV.
    """
    box = picture(host, padded)
    out = host.copy()
    out[box] = cv2.createCLAHE(clipLimit=CLIP, tileGridSize=(TILES, TILES)).apply(np.ascontiguousarray(host[box]))
    return _in_picture(host, out, padded)


def flattened(host: Gray, mask: Mask, padded: bool = False) -> Gray:
    """Return the host with all pixels in the mask set to the median of these pixels."""
    out = host.copy()
    mask = mask & (host > 0) if padded else mask
    if mask.any():
        out[mask] = np.uint8(np.median(host[mask]))
    return out


def erased(host: Gray, mask: Mask, padded: bool = False) -> Gray:
    """Return the host with the mask inpainted: surrounding pixels continue from the edge of the mask inwards.

    Source: Telea, Journal of Graphics Tools 9 (2004) 23, as in OpenCV.
    """
    box = picture(host, padded)
    out, inside = host.copy(), mask[box]
    if not inside.any() or inside.all():
        return out
    dilated = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8))
    out[box] = cv2.inpaint(np.ascontiguousarray(host[box]), dilated, 3, cv2.INPAINT_TELEA)
    return _in_picture(host, out, padded)


def mirrored(mask: Mask) -> Mask:
    """Return the mask mirrored left to right: the position of a control, because a marker can be on either side."""
    return np.ascontiguousarray(mask[:, ::-1])


def boxed(mask: Mask) -> Mask:
    """Return the bounding box of a mask, as a mask; empty for an empty mask."""
    out = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows):
        out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return out
