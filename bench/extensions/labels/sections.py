"""The hook `sections`."""

from bench.extensions.labels.efficiency_section import label_efficiency
from bench.extensions.labels.gap_note import gap_note
from bench.extensions.labels.policies_section import policies
from bench.extensions.labels.readings_section import label_readings
from reports.html.section import COST, DATA, PlacedSection

__all__ = ["SECTIONS", "gap_note"]
SECTIONS = (
    PlacedSection(label_readings, DATA, ranked_only=True, before="policies"),
    PlacedSection(policies, DATA, ranked_only=True, before="published"),
    PlacedSection(label_efficiency, COST, ranked_only=True, before="learning"),
)
