"""What calls are worth: net benefit, workload at thresholds with a stated goal, and triage with a guarantee."""
