"""`bench reproduce`: train a run again, and compare each score with the stored one."""
