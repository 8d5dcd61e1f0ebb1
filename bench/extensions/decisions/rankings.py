"""The hook `rankings`: recipes can be ranked by net benefit."""

from bench.extensions.decisions import criterion

SCORE = criterion
