"""Measure how far images are from the internal images of a run, in the space of the network's features.

    distances = ImageDistances.fit(feature_FD, patient_id)     # features of internal images
    distances.percentiles(new_ND)                              # [N, 3]: one column for each of METHODS

A run stores features of its headline images only, which at the internal hospital are images of the test split: the network
has not trained on them. Half of the patients are the reference, to which the distances are fitted. The images of the other
half are the validation images, whose distances give the percentiles. So no validation image affects the distances, and a new
image of the internal hospital is beyond the 99th percentile with a probability of at most 1 %.

Shapes: F internal images with features, R reference images, V validation images, N new images, D features, C components.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.metrics import require_finite

Array = NDArray[np.float64]

METHODS = ("mahalanobis", "knn", "residual")
DEFAULT = "residual"  # the method with the highest AUROC in benchmarks/RESULTS.md
FAR = 99.0  # an image beyond this percentile is far from the internal images
MIN_PATIENTS = 40  # minimum number of internal patients with features: 20 for the reference, 20 for the percentiles
NEIGHBORS = 50  # k of the k-th nearest neighbor, as in Sun et al. 2022
_IMAGES_PER_NEIGHBOR = 20  # with fewer than 50 x 20 reference images, k is smaller
_MIN_SHRINKAGE = 1e-6  # keeps the variance of a constant feature above 0


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Three distances to the reference images. They need no labels and no weights, so they work for every network."""

    mean_D: Array
    axis_CD: Array  # principal components of the reference features, largest variance first
    variance_C: Array  # shrunk variance along each component
    variance_rest: float  # shrunk variance in each direction outside the components
    unit_RD: Array  # reference features, divided by their length
    neighbors: int  # k of the k-th nearest neighbor

    @classmethod
    def fit(cls, feature_RD: NDArray[np.floating]) -> Self:
        """Fit the distances to reference images. Raises ValueError for features that are not finite, or equal in all images."""
        require_finite(feature_RD, "features of internal images")
        x_RD = feature_RD.astype(np.float64)
        if not (x_RD != x_RD[0]).any():
            raise ValueError("all internal images have the same features")
        mean_D = x_RD.mean(0)
        length_C, axis_CD = np.linalg.svd(x_RD - mean_D, full_matrices=False)[1:]
        eigenvalue_C = length_C**2 / len(x_RD)
        shrinkage = max(_shrinkage(x_RD - mean_D, eigenvalue_C), _MIN_SHRINKAGE)
        variance_rest = shrinkage * float(eigenvalue_C.sum()) / x_RD.shape[1]
        variance_C = (1 - shrinkage) * eigenvalue_C + variance_rest
        neighbors = min(NEIGHBORS, max(1, len(x_RD) // _IMAGES_PER_NEIGHBOR))
        return cls(mean_D, axis_CD, variance_C, variance_rest, _unit(x_RD), neighbors)

    def distances(self, feature_ND: NDArray[np.floating]) -> Array:
        """Return the distances [N, 3] of images, one column for each of METHODS; NaN for features that are not finite.

        Distances are at least 0, without a unit, and cannot be compared between methods or networks.

        mahalanobis: distance to the mean, in standard deviations, with one Gaussian for all images. The paper fits one mean
        for each class, but an image with several findings has no single class. The covariance is shrunk (Ledoit and Wolf 2004).
        Source: Lee et al. 2018, arXiv:1807.03888.

        knn: distance to the k-th nearest reference image, after each feature vector is divided by its length. k is 50, or a
        twentieth of the reference images if there are fewer than 1,000. Range: 0 to 2. Source: Sun et al. 2022,
        arXiv:2204.06507.

        residual: length of the part of the features outside the first principal components of the reference images; the
        number of components is half of their rank. It is "Residual" of Wang et al. 2022, arXiv:2203.10807, around the mean. Their ViM
        adds the energy of the logits, which assumes that each image has exactly one class.
        """
        finite = np.isfinite(feature_ND).all(1)
        x_ND = np.where(finite[:, None], feature_ND, 0).astype(np.float64)
        centered_ND = x_ND - self.mean_D
        along_NC = centered_ND @ self.axis_CD.T
        length_N = (centered_ND**2).sum(1)
        outside_N = np.maximum(length_N - (along_NC**2).sum(1), 0)
        mahalanobis_N = np.sqrt((along_NC**2 / self.variance_C).sum(1) + outside_N / self.variance_rest)
        kept = min(len(self.axis_CD), len(self.unit_RD) - 1) // 2
        residual_N = np.sqrt(np.maximum(length_N - (along_NC[:, :kept] ** 2).sum(1), 0))
        cosine_NR = _unit(x_ND) @ self.unit_RD.T
        nearest_N = np.partition(cosine_NR, -self.neighbors, axis=1)[:, -self.neighbors]
        knn_N = np.sqrt(np.maximum(2 - 2 * nearest_N, 0))
        return np.where(finite[:, None], np.stack([mahalanobis_N, knn_N, residual_N], axis=1), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class ImageDistances:
    """The distances of a run: the reference, and the sorted distances of the validation images to the reference."""

    reference: Reference
    validation_V3: Array  # one column for each of METHODS, smallest distance first

    @classmethod
    def fit(cls, feature_FD: NDArray[np.floating], patient_id: NDArray[Any]) -> Self:
        """Fit the distances to internal images, given their features and the patient [F] of each image.

        Raises ValueError for features that are not finite, for features that are equal in all reference images, and for fewer
        than MIN_PATIENTS patients.
        """
        require_finite(feature_FD, "features of internal images")
        in_reference = _reference_half(patient_id)
        reference = Reference.fit(feature_FD[in_reference])
        return cls(reference, np.sort(reference.distances(feature_FD[~in_reference]), axis=0))

    @property
    def num_validation(self) -> int:
        """Return the number V of validation images. With fewer than 100, no image can be beyond the 99th percentile."""
        return len(self.validation_V3)

    def percentiles(self, feature_ND: NDArray[np.floating]) -> Array:
        """Return the percentiles [N, 3] of the distances of images; NaN for features that are not finite.

        A percentile is 100 x (number of validation images with a smaller distance) / (V + 1), from 0 to just below 100. A
        new image of the internal hospital is beyond percentile p with a probability of at most 1 - p / 100, if images are
        exchangeable. Source: Vovk et al. 2005, Algorithmic Learning in a Random World, section 2.2.
        """
        distance_N3 = self.reference.distances(feature_ND)
        smaller = [
            np.searchsorted(column, own) for column, own in zip(self.validation_V3.T, distance_N3.T, strict=True)
        ]
        return np.where(np.isnan(distance_N3), np.nan, 100 * np.stack(smaller, axis=1) / (self.num_validation + 1))


def _reference_half(patient_id: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of the images of half of the patients. The half depends on the patient ids only, not on their order."""
    patients, code = np.unique(np.asarray(patient_id, dtype=str), return_inverse=True)
    if len(patients) < MIN_PATIENTS:
        raise ValueError(f"features of at least {MIN_PATIENTS} internal patients are needed, not {len(patients)}")
    order = sorted(range(len(patients)), key=lambda i: hashlib.sha256(f"distance {patients[i]}".encode()).digest())
    half = np.zeros(len(patients), bool)
    half[order[::2]] = True
    return np.asarray(half[code])


def _shrinkage(centered_RD: Array, eigenvalue_C: Array) -> float:
    """Return the weight of the mean variance in the covariance of Ledoit and Wolf 2004, equal to scikit-learn's.

    scikit-learn computes this weight from the D x D covariance, which takes longer than all other steps together for networks with
    many features. The eigenvalues contain the same sums.
    """
    num, width = centered_RD.shape
    mean_variance = eigenvalue_C.sum() / width
    squares = (eigenvalue_C**2).sum()
    noise = (((centered_RD**2).sum(1) ** 2).sum() / num - squares) / num
    spread = squares - width * mean_variance**2
    return float(min(noise, spread) / spread) if spread > 0 else 0.0


def _unit(x_ND: Array) -> Array:
    """Return vectors of length 1; a vector of zeros stays as it is."""
    length_N1 = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return np.asarray(x_ND / np.where(length_N1 > 0, length_N1, 1))
