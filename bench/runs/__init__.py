"""All steps of one run, from training to the file DONE that marks a finished run; and predictions with finished runs."""
