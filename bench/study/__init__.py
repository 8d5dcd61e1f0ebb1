"""Run a grid."""
