"""Intensity normalization: calculated values and edge cases."""

import pytest
import torch

from bench.config.preprocessing_ops import geometry, input_size, parse
from bench.inputs.augmentation import chain
from bench.inputs.normalize import Normalizer, minmax, unit, zscore
from harmonize.errors import ConfigError
from harmonize.images.pixels import Geometry

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE = torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])


def test_minmax_and_zscore_are_the_published_formulas_over_all_pixels() -> None:
    torch.testing.assert_close(minmax(IMAGE, pixels="all")[0, 0], torch.tensor([[0.0, 0.2], [0.4, 1.0]]))
    expected = torch.tensor([[-1.069, -0.5345], [0.0, 1.6036]])
    torch.testing.assert_close(zscore(IMAGE, pixels="all")[0, 0], expected, atol=1e-4, rtol=0)


def test_the_statistics_ignore_the_border() -> None:
    bordered = torch.nn.functional.pad(IMAGE / 5 + 0.1, (3, 3, 3, 3))
    for op in (minmax, zscore):
        inside = op(bordered)[:, :, 3:5, 3:5]
        torch.testing.assert_close(inside, op(IMAGE / 5 + 0.1), atol=1e-5, rtol=0)
    assert float(minmax(bordered).min()) == 0


@pytest.mark.parametrize("value", [0, 1, 77, 100, 255])
def test_a_constant_image_gives_zeros(value: int) -> None:
    image = unit(torch.full((2, 31, 31), value, dtype=torch.uint8))
    assert float(minmax(image).abs().max()) == 0
    assert float(zscore(image).abs().max()) == 0


def test_imagenet_uses_mean_and_std_of_the_network_per_channel() -> None:
    gray = torch.full((1, 1, 1, 1), 0.5)
    x = Normalizer(["imagenet"], MEAN, STD).normalize(gray).flatten()
    torch.testing.assert_close(x, torch.tensor([0.0655, 0.1964, 0.4178]), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        Normalizer(["imagenet"], (0.0,) * 3, (1.0,) * 3).normalize(gray), gray.expand(1, 3, 1, 1)
    )
    one = Normalizer(["imagenet"], MEAN, STD, in_channels=1).normalize(gray)
    assert float(one) == pytest.approx((0.5 - sum(MEAN) / 3) / (sum(STD) / 3))


def test_augmentation_comes_before_normalization() -> None:
    images = torch.full((1, 2, 2), 51, dtype=torch.uint8)
    seen: list[float] = []

    def lighter(x: torch.Tensor) -> torch.Tensor:
        seen.append(float(x.mean()))
        return x + 0.3

    x = Normalizer(["imagenet"], (0.5,) * 3, (0.5,) * 3)(images, lighter)
    assert seen == [pytest.approx(0.2)]
    torch.testing.assert_close(x, torch.zeros(1, 3, 2, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("ops", "of_bytes", "dtype"),
    [
        (["imagenet"], True, torch.uint8),
        (["imagenet"], False, torch.float32),
        (["histstd", "imagenet"], True, torch.float32),  # values of a lookup table are not bytes
    ],
)
@pytest.mark.parametrize("padded", [False, True])
def test_an_augmentation_that_accepts_bytes_gets_bytes(
    ops: list[str], of_bytes: bool, dtype: torch.dtype, padded: bool
) -> None:
    images = torch.randint(1, 256, (2, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    dtypes: set[torch.dtype] = set()

    def mirrored(x: torch.Tensor) -> torch.Tensor:
        dtypes.add(x.dtype)
        return chain(x, 0, [{"hflip": {"p": 1.0}}])

    normalizer = Normalizer(ops, MEAN, STD, reference={"histstd": [k / 10 for k in range(11)]}, padded=padded)
    assert torch.equal(normalizer(images, mirrored, of_bytes=of_bytes), normalizer(images).flip(3))
    assert dtypes == {dtype}


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        (["imagnet"], "did you mean 'imagenet'"),
        (["imagenet", "zscore"], "move imagenet to the end"),
        (["zscore", {"clahe": {}}], "move clahe to the front"),
        (["minmax", "histstd"], "move histstd before minmax"),
        ([{"clahe": {}}, "roi"], "move roi before clahe"),
        (["roi", "adaptive_roi"], "choose one of them"),
        (["histstd", "histmatch"], "choose one of them"),
        ([{"zscore": {"pixls": "all"}}], "pixls"),
        ([{"zscore": {"pixels": "some"}}], "foreground or all"),
        ([{"zscore": {}, "minmax": {}}], "unknown op"),
    ],
)
def test_invalid_ops_are_refused_with_a_fix(ops: list[object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Normalizer(ops, MEAN, STD)  # type: ignore[arg-type]


def test_the_cached_part_is_read_from_the_same_entry() -> None:
    options = {"size": 96, "fit": "letterbox", "ops": [{"clahe": {"clip": 3, "tiles": 4}}, "imagenet"]}
    assert geometry(options) == Geometry(96, "letterbox", (3.0, 4))
    assert geometry({"size": 64, "ops": ["zscore"]}) == Geometry(64, "squash", None)
    assert geometry({"size": 64, "ops": ["adaptive_roi"]}) == Geometry(64, region=("adaptive_roi", 0.1))
    assert geometry({"size": 64, "ops": [{"roi": {"centre": 0.8}}, "clahe"]}).region == ("roi", 0.8)
    for broken in (
        {"ops": ["zscore"]},
        {"size": 64, "ops": [{"clahe": {"clp": 1}}]},
        {"size": 64, "ops": [{"clahe": {"clip": "high"}}]},
        {"size": 64, "ops": [{"histstd": {"bins": 8}}]},
        {"size": 64, "ops": [{"zscore": {"pixls": "all"}}]},
        {"size": 64, "ops": [{"minmax": {"pixels": "some"}}]},
        {"size": 64, "ops": [{"imagenet": {"mean": 0.5}}]},
        {"size": 64, "ops": [{"roi": {"centre": 2}}]},
        {"size": 64, "input": 65},
        {"size": 64, "input": 63},
        {"size": 0},
        {"size": 64, "fit": "crop"},
    ):
        with pytest.raises(ConfigError):
            geometry(broken)


def test_normalization_skips_the_cached_ops() -> None:
    images = torch.randint(256, (2, 8, 8), dtype=torch.uint8)
    assert torch.equal(
        Normalizer([{"clahe": {"clip": 2.0}}, "zscore"], MEAN, STD)(images), Normalizer(["zscore"], MEAN, STD)(images)
    )
    assert [name for name, _ in parse([{"clahe": None}, "minmax"])] == ["clahe", "minmax"]


def test_with_input_the_network_gets_the_center_crop() -> None:
    images = torch.randint(256, (2, 72, 72), dtype=torch.uint8)
    facts = {"size": 72, "input": 64, "ops": ["minmax"]}
    seen = Normalizer.of(facts, MEAN, STD)(images)
    assert torch.equal(seen, Normalizer(["minmax"], MEAN, STD)(images[:, 4:68, 4:68]))
    assert (input_size(facts), input_size({"size": 72})) == (64, 72)
