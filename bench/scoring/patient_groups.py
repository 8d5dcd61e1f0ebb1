"""Patient attributes of each image in a split, the subgroups that they define, and label states under other mappings.

Shapes: N images, K findings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

AGES = ("<40", "40-60", "60-80", ">80")  # each band includes its lower bound and excludes its upper bound
ATTRIBUTES = ("sex", "age", "view", "device")
UNKNOWN = ""
SEXES, VIEWS = ("F", "M"), ("AP", "PA")
MOST_UNKNOWN = 0.2  # an attribute with a larger share of unknown values counts as not recorded

Text = NDArray[np.object_]


@dataclass(frozen=True, eq=False)  # no `slots=True`, because slots do not allow cached properties
class PatientGroups:
    """Patient attributes of N images, and their label states under other label mappings than the grid's.

    sex, view, device [N]: text, "" where unknown. age [N]: years, NaN where unknown.
    mapped: mapping -> label states [N, K] of K findings; only mappings that change a label are included.
    further: name of an attribute that an extension adds -> text [N].
    """

    sex: Text
    age: NDArray[np.float64]
    view: Text
    device: Text
    mapped: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    further: Mapping[str, Text] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        mapped: Mapping[str, NDArray[np.int8]] | None = None,
        further: Mapping[str, Text] | None = None,
    ) -> "PatientGroups":
        """Read the attributes from the rows of a cohort table."""
        sex, view, device = (table[name].fillna(UNKNOWN).to_numpy(object) for name in ("sex", "view", "device"))
        return cls(sex, table["age"].to_numpy(np.float64), view, device, mapped or {}, further or {})

    @cached_property
    def attributes(self) -> dict[str, Text]:
        """Return the value of each attribute for each image [N]: sex, band of the age, view and device; "" where unknown."""
        band_index = np.digitize(np.nan_to_num(self.age, nan=0.0), (40, 60, 80))
        return {
            "sex": np.where(np.isin(self.sex, SEXES), self.sex, UNKNOWN),
            "age": np.where(np.isfinite(self.age), np.array(AGES, object)[band_index], UNKNOWN),
            "view": np.where(np.isin(self.view, VIEWS), self.view, UNKNOWN),
            "device": self.device,
            **self.further,
        }

    @cached_property
    def groups(self) -> dict[str, dict[str, NDArray[np.bool_]]]:
        """Return the subgroups: attribute -> name of the group ("sex=F", "sex=F age=40-60") -> mask of its images [N].

        An image with an unknown value is in no group of this attribute. An attribute without known values is left out.
        """
        columns = self.attributes
        orders = {name: tuple(sorted(set(values) - {UNKNOWN})) for name, values in columns.items()}
        orders |= {"sex": SEXES, "age": AGES, "view": VIEWS}
        groups = {
            name: {
                f"{name}={value}": columns[name] == value for value in orders[name] if (columns[name] == value).any()
            }
            for name in columns
        }
        groups["sex age"] = {
            f"{sex} {age}": of_sex & of_age
            for sex, of_sex in groups["sex"].items()
            for age, of_age in groups["age"].items()
            if (of_sex & of_age).any()
        }
        return {name: members for name, members in groups.items() if members}

    @cached_property
    def missing(self) -> list[str]:
        """Return the names of the attributes (among sex, age, view) that are unknown for more than a fifth of the images."""
        unknown = {name: self.attributes[name] == UNKNOWN for name in ("sex", "age", "view")}
        return [name for name, absent in unknown.items() if not len(absent) or absent.mean() > MOST_UNKNOWN]

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """Return the index of each image's cell [N], 0 to NUM_CELLS - 1.

        A cell is one combination of sex, age decade and view. "Unknown" is a possible value of each attribute.
        """
        sex = np.where(self.sex == "F", 0, np.where(self.sex == "M", 1, 2))
        view = np.where(self.view == "AP", 0, np.where(self.view == "PA", 1, 2))
        has_age = np.isfinite(self.age)
        decade = np.where(has_age, np.clip(np.nan_to_num(self.age) // 10, 0, 9), 10)
        return ((sex * 11 + decade) * 3 + view).astype(np.int64)


NUM_CELLS = 3 * 11 * 3
