"""Fit the weights of `harmonize/checks/frontal_view.py` to radiographs, and print them with their errors.

    python scripts/frontal_view.py FOLDER...      one folder of upright frontal radiographs for each hospital

Each hospital has the same weight. The printed errors of a hospital are those of weights fitted to the other hospitals.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from harmonize.checks import frontal_view
from harmonize.checks.frontal_view import squares, wrong_views
from harmonize.images.image_header import UnreadableImage
from harmonize.images.perceptual_hash import smaller, thumbnail
from harmonize.images.pixels import read_gray

PENALTY = 1e-3


def small_images(folder: Path) -> NDArray[np.uint8]:
    """Return the thumbnails of all images below a folder."""
    thumbnails = []
    for path in sorted(folder.rglob("*.*")):
        try:
            thumbnails.append(thumbnail(read_gray(path, 128)))
        except UnreadableImage:
            continue
    return smaller(np.stack(thumbnails))


def fitted(hospitals: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return the left half of the weights, [8, 4]: a logistic regression of the unchanged image against its changes."""
    image_NHW = np.concatenate([squares(small) for small in hospitals])
    share_N = np.concatenate([np.full(len(small), 1 / len(small) / len(hospitals)) for small in hospitals])
    views = [image_NHW, image_NHW[:, ::-1], np.rot90(image_NHW, 1, (1, 2)), np.rot90(image_NHW, -1, (1, 2))]
    x_NVW = np.stack([sign * view for sign in (1, -1) for view in views], axis=1)
    x_NVW = (x_NVW + x_NVW[..., ::-1])[..., :4].reshape(len(image_NHW), 8, -1)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score_NV = x_NVW @ weights
        total = share_N @ (logsumexp(score_NV, axis=1) - score_NV[:, 0]) + 2 * PENALTY * weights @ weights
        mean_NW = np.einsum("nv,nvw->nw", softmax(score_NV, axis=1), x_NVW)
        return total, share_N @ (mean_NW - x_NVW[:, 0]) + 4 * PENALTY * weights

    return np.asarray(minimize(loss, np.zeros(x_NVW.shape[2]), jac=True, method="L-BFGS-B").x.reshape(8, 4))


def main(folders: list[str]) -> None:
    """Print the errors for each folder, then the weights for all folders."""
    hospitals = [small_images(Path(folder)) for folder in folders]
    for k, small in enumerate(hospitals):
        frontal_view.HALF = fitted(hospitals[:k] + hospitals[k + 1 :])
        image = small.reshape(-1, 16, 16)
        changes = {
            "unchanged": image,
            "inverted": 255 - image,
            "upside down": image[:, ::-1],
            "turned": np.rot90(image, 1, (1, 2)),
        }
        shares = {
            name: np.mean([text != "" for text in wrong_views(x.reshape(len(x), -1))]) for name, x in changes.items()
        }
        print(
            folders[k],
            len(small),
            "images with a remark:",
            ", ".join(f"{name} {100 * s:.1f} %" for name, s in shares.items()),
        )
    print(np.round(fitted(hospitals), 1).tolist())


if __name__ == "__main__":
    main(sys.argv[1:])
