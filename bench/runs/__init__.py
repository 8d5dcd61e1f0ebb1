"""Do all steps of one run, from start to DONE."""
