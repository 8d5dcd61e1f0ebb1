"""Synthetic chest radiographs (phantoms) with ground truth, in the layouts of six real datasets.

Some images have the tag (a white tag with text; `token` in names) in a corner. A network may use the tag as a shortcut
in place of a finding.

Not for clinical use. The shapes are plausible but not measured, so phantoms prove nothing about real radiographs.
"""

from harmonize.phantom.cohorts import write_cohorts
from harmonize.phantom.label_tables import write_label_tables
from harmonize.phantom.radiograph import Radiograph, twin
from harmonize.phantom.settings import PhantomSettings

__all__ = ["PhantomSettings", "Radiograph", "twin", "write_cohorts", "write_label_tables"]
