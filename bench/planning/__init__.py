"""Plan the runs and the jobs of a grid."""
