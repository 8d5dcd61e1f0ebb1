"""Phantom chest radiographs with known ground truth, written in the layouts of six real datasets.

Not for clinical use, and no claim about real radiographs: the shapes are plausible, not measured.
"""

from harmonize.phantom.cohorts import write_cohorts
from harmonize.phantom.radiograph import Radiograph, twin
from harmonize.phantom.settings import PhantomSettings

__all__ = ["PhantomSettings", "Radiograph", "twin", "write_cohorts"]
