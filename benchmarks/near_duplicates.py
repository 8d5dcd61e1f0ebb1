"""Measure CPU time and memory of the search for near duplicates among as many images as all six datasets have.

    python benchmarks/near_duplicates.py                    # 900,000 images in six cohorts
    python benchmarks/near_duplicates.py --images 100000

The script draws a hash of 64 bits and a thumbnail of 16 x 16 pixels for each image, makes copies of some images in other cohorts,
and searches as `bench run` does before training: for pairs of similar hashes, then for pairs with correlated thumbnails. The
hashes of different images differ in at most 4 bits as often as those of real radiographs (--near). A copy differs in 0 to 4 bits
of its hash and by noise in its thumbnail. The script counts the copies that are found. Decoding, and the last comparison at
64 x 64 pixels, are left out: they read the images of the pairs that are found here.
"""

import argparse
import resource
import time
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from harmonize.checks.duplicates import CAP, MAX_DISTANCE, are_correlated
from harmonize.images.perceptual_hash import SMALL_SIDE, Hashes, near_pairs

BITS = 64
# share of images per cohort: published numbers of images of CheXpert, MIMIC, PadChest, NIH, BRAX and VinDr
SHARES = np.array([224_316, 377_110, 160_868, 112_120, 40_967, 18_000]) / 933_381
NEAR = 1.5e-5  # benchmarks/changed_copies.py: 34 of the 2,329,561 pairs of 2,159 radiographs
COPIES = 0.001  # share of images that are copies


def share_near(offsets: NDArray[np.float64]) -> float:
    """Return the probability that the hashes of two images differ in at most MAX_DISTANCE bits.

    Bit k of a hash is 1 if a standard normal number is below `offsets[k]`.
    """
    distances = np.ones(1)
    for offset in offsets:
        p = NormalDist().cdf(offset)
        distances = np.convolve(distances, [p * p + (1 - p) * (1 - p), 2 * p * (1 - p)])
    return float(distances[: MAX_DISTANCE + 1].sum())


def offsets_for(near: float, draw: np.random.Generator) -> NDArray[np.float64]:
    """Return offsets of the 64 bits for which `share_near` is `near`."""
    direction = draw.standard_normal(BITS)
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share_near(middle * direction) < near else (low, middle)
    return low * direction


def drawn_hashes(number: int, offsets: NDArray[np.float64], draw: np.random.Generator) -> Hashes:
    """Return `number` hashes."""
    hashes = np.zeros(number, np.uint64)
    for k, offset in enumerate(offsets):
        bit = draw.standard_normal(number, np.float32) < offset
        hashes |= bit.astype(np.uint64) << np.uint64(k)
    return hashes


def flipped(hashes: Hashes, draw: np.random.Generator) -> Hashes:
    """Return the hashes with 0 to MAX_DISTANCE different bits each."""
    changed = hashes.copy()
    for i, bits in enumerate(draw.integers(0, MAX_DISTANCE + 1, len(hashes))):
        for k in draw.choice(BITS, bits, replace=False):
            changed[i] ^= np.uint64(1 << int(k))
    return changed


def main() -> None:
    """Draw the images, search, and print what was found and what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=900_000)
    parser.add_argument(
        "--near", type=float, default=NEAR, help="share of pairs of different images with similar hashes"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = np.random.default_rng(asked.seed)
    cohort = np.sort(draw.choice(len(SHARES), asked.images, p=SHARES))
    hashes = drawn_hashes(asked.images, offsets_for(asked.near, draw), draw)
    thumbnails = draw.integers(0, 256, (asked.images, SMALL_SIDE * SMALL_SIDE), np.uint8)
    num_copies = round(COPIES * asked.images)
    # the two rows of each pair are from the two ends of the table, so they belong to different cohorts
    originals, copies = (
        half + draw.choice(asked.images // 3, num_copies, replace=False) for half in (0, 2 * asked.images // 3)
    )
    hashes[copies] = flipped(hashes[originals], draw)
    thumbnails[copies] = (thumbnails[originals] + draw.normal(0, 3, (num_copies, thumbnails.shape[1]))).clip(0, 255)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    pairs = near_pairs(hashes, MAX_DISTANCE, CAP, cohort=cohort)
    hashed = time.process_time()
    similar = are_correlated(pairs.first, pairs.second, thumbnails)
    ended, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = set(zip(pairs.first[similar].tolist(), pairs.second[similar].tolist(), strict=True))
    of_copies = sum(pair in found for pair in zip(originals.tolist(), copies.tolist(), strict=True))
    print(
        f"{asked.images:,} images: {hashed - began:.0f} CPU s for {len(pairs.first):,} pairs of similar hashes, "
        f"{ended - hashed:.0f} CPU s for their thumbnails; peak memory {peak / 1e6:.2f} GB ({before / 1e6:.2f} GB before)\n"
        f"{of_copies:,} of {num_copies:,} copies found, {len(found) - of_copies:,} pairs of different images; "
        f"{pairs.crowded:,} images in groups that are too large to compare all pairs"
    )


if __name__ == "__main__":
    main()
