"""From stored predictions to the tables of a report."""
