"""Distances of images to internal images, and the two-sample test: other implementations, and data with a known answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from bench.scoring.image_distances import FAR, METHODS, MIN_PATIENTS, NEIGHBORS, ImageDistances, Reference
from bench.scoring.metrics import auroc
from tests.nonempty import nonempty

MAHALANOBIS, KNN, RESIDUAL = (METHODS.index(name) for name in ("mahalanobis", "knn", "residual"))


def features(num: int, width: int = 24, seed: int = 0) -> NDArray[np.float64]:
    """Return features with correlated columns of different spread, as those of a network."""
    mixing = np.random.default_rng(99).normal(size=(width, width)) * np.linspace(0.2, 3, width)
    return np.random.default_rng(seed).normal(size=(num, width)) @ mixing + 1


def ids(num: int, start: int = 0) -> NDArray[np.str_]:
    return np.array([f"p{number}" for number in range(start, start + num)])


@pytest.mark.parametrize(("num", "width"), [(400, 24), (30, 24), (30, 200)])  # more images than features, and fewer
def test_mahalanobis_is_that_of_scikit_learn(num: int, width: int) -> None:
    home, new = features(num, width), features(50, width, 1)
    peer = LedoitWolf().fit(home)
    expected = np.sqrt(peer.mahalanobis(new))
    np.testing.assert_allclose(Reference.fit(home).distances(new)[:, MAHALANOBIS], expected, rtol=1e-8)


def test_without_noise_in_the_covariance_mahalanobis_is_that_of_the_empirical_covariance() -> None:
    home, new = (np.random.default_rng(seed).normal(size=(num, 3)) * [1, 2, 3] for seed, num in ((0, 200_000), (1, 50)))
    expected = np.sqrt(EmpiricalCovariance().fit(home).mahalanobis(new))
    np.testing.assert_allclose(Reference.fit(home).distances(new)[:, MAHALANOBIS], expected, rtol=1e-3)


@pytest.mark.parametrize(("num", "neighbors"), [(1200, NEIGHBORS), (1000, NEIGHBORS), (200, 10), (19, 1)])
def test_knn_is_that_of_scikit_learn_with_fewer_neighbors_among_few_images(num: int, neighbors: int) -> None:
    home, new = features(num), features(50, seed=1)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (home, new)]
    distance = NearestNeighbors(n_neighbors=neighbors).fit(unit[0]).kneighbors(unit[1])[0][:, -1]
    reference = Reference.fit(home)
    assert reference.neighbors == neighbors
    np.testing.assert_allclose(reference.distances(new)[:, KNN], distance, atol=1e-7)


@pytest.mark.parametrize(("num", "width", "kept"), [(400, 24, 12), (31, 200, 15)])
def test_residual_is_what_principal_components_do_not_explain(num: int, width: int, kept: int) -> None:
    home, new = features(num, width), features(50, width, 1)
    peer = PCA(kept, svd_solver="full").fit(home)
    expected = np.linalg.norm(new - peer.inverse_transform(peer.transform(new)), axis=1)
    np.testing.assert_allclose(Reference.fit(home).distances(new)[:, RESIDUAL], expected, rtol=1e-8)


def test_images_from_a_shifted_distribution_are_farther_and_others_are_not() -> None:
    home = ImageDistances.fit(features(600), ids(600))
    same, shifted = features(400, seed=1), features(400, seed=2) + 20 * np.eye(24)[0]
    label = np.repeat([0, 1], 400).astype(np.int8)
    both = home.reference.distances(np.concatenate([same, shifted]))
    for method in nonempty(range(len(METHODS))):
        assert auroc(label, both[:, method].astype(np.float32)) > 0.7
    new = home.reference.distances(features(400, seed=3))
    for method in nonempty(range(len(METHODS))):
        value = auroc(label, np.concatenate([both[:400, method], new[:, method]]).astype(np.float32))
        assert abs(value - 0.5) < 0.08  # four standard deviations of an AUROC without a difference


def test_at_most_one_percent_of_new_internal_images_is_beyond_the_99th_percentile() -> None:
    far = [
        (ImageDistances.fit(features(300, seed=seed), ids(300)).percentiles(features(200, seed=seed + 1000)) > FAR)
        for seed in range(60)
    ]
    share = np.mean(far, axis=(0, 1))
    # 60 fits: each share is a random number with mean 1/151 and standard deviation of about the same size
    assert (share < 0.01).all()
    assert (share > 0.002).all()


def test_a_percentile_is_the_share_of_validation_images_with_a_smaller_distance() -> None:
    home = ImageDistances.fit(features(100), ids(100))
    new = features(20, seed=1)
    distance, found = home.reference.distances(new), home.percentiles(new)
    assert home.num_validation == 50
    for image in range(20):
        for method in range(len(METHODS)):
            smaller = sum(home.validation_V3[:, method] < distance[image, method])
            assert found[image, method] == pytest.approx(100 * smaller / 51)
    far = home.percentiles(1000 * features(1, seed=2) - 5000)
    assert far[0, MAHALANOBIS] == far[0, RESIDUAL] == 100 * 50 / 51  # below 99: too few images for a far image


def test_no_patient_is_in_both_halves_and_the_order_of_images_has_no_effect() -> None:
    home, patient = features(300), np.repeat(ids(100), 3)
    order = np.random.default_rng(5).permutation(300)
    first, second = ImageDistances.fit(home, patient), ImageDistances.fit(home[order], patient[order])
    np.testing.assert_allclose(first.validation_V3, second.validation_V3, rtol=1e-9)
    # the unit vectors of the reference identify its images
    unit = home / np.linalg.norm(home, axis=1, keepdims=True)
    member = (unit @ first.reference.unit_RD.T).max(1) > 1 - 1e-12
    assert member.sum() == 150
    assert not set(patient[member]) & set(patient[~member])


def test_constant_features_are_allowed_and_a_change_of_them_counts() -> None:
    home = features(200)
    home[:, 3] = 5.0
    fitted = ImageDistances.fit(home, ids(200))
    new = np.concatenate([home[:1], home[:1]])
    new[1, 3] = 500.0
    distance = fitted.reference.distances(new)
    assert np.isfinite(distance).all()
    assert (distance[1] > distance[0]).all()


def test_unusable_internal_features_are_refused() -> None:
    with pytest.raises(ValueError, match="same features"):
        ImageDistances.fit(np.ones((100, 4)), ids(100))
    for value in (np.nan, np.inf):
        broken = features(100)
        broken[7, 2] = value
        with pytest.raises(ValueError, match="features of internal images"):
            ImageDistances.fit(broken, ids(100))
    with pytest.raises(ValueError, match=f"at least {MIN_PATIENTS} internal patients are needed, not 39"):
        ImageDistances.fit(features(100), np.resize(ids(39), 100))


def test_a_new_image_without_finite_features_has_no_distance_and_others_keep_theirs() -> None:
    home = ImageDistances.fit(features(100), ids(100))
    new = features(3, seed=1)
    broken = new.copy()
    broken[1, 0] = np.inf
    found = home.percentiles(broken)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], home.percentiles(new)[[0, 2]])


@settings(max_examples=25)
@given(st.integers(40, 90), st.integers(1, 60), st.integers(0, 1000))
def test_percentiles_are_at_least_0_and_below_100_for_any_size(num: int, width: int, seed: int) -> None:
    home = ImageDistances.fit(np.maximum(features(num, width, seed), 0).astype(np.float16), ids(num))
    found = home.percentiles(features(10, width, seed + 1).astype(np.float16))
    assert found.shape == (10, len(METHODS))
    assert ((found >= 0) & (found < 100)).all()
