"""The limits of a bundle, each with its reason.

The sender of a bundle decides how large its files and tables are. So the reader checks each size before reserving memory for it.
For comparison: the largest study that this project expects has 500 runs, 6 cohorts and 900,000 images.
"""

import re

MOST_BYTES = 64 * 2**30  # bytes of a bundle; the logits of the largest study take 20 GB
MOST_MEMBERS = 100_000  # number of files in a bundle; the largest study has 14,000
MOST_JSON = 32 * 2**20  # bytes of a JSON file; the manifest of the largest study has 2 MB
MOST_MEMBER_BYTES = 512 * 2**20  # bytes of one file in a bundle

MOST_ROWS = 2_000_000  # rows of a table; no cohort has more images than the largest study
MOST_COLUMNS = 500  # columns of a table; the table of a cohort has one column for each finding and label mapping
MOST_ROW_GROUPS = 100  # row groups (parts) of a Parquet file; `bench export` writes one row group for each million rows
# bytes of a table in memory, 8 for each cell; 900,000 images with 14 findings in two label mappings take 252 MB
MOST_TABLE_BYTES = 300 * 2**20
COHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
MOST_TEXT = 400  # characters of a text in a table; the longest texts contain the points of a curve
