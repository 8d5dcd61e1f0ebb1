"""Models that were trained elsewhere: `bench evaluate` tests them on the cohorts of a grid."""
