"""Do all steps of one run, from training to the file DONE that marks a finished run."""
