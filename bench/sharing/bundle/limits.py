"""The limits of a bundle, with the reason for each.

The sender of a bundle decides every size in it. The reader therefore checks each size before it reserves memory.
For comparison: the largest study that this project expects has 500 runs, 6 cohorts and 900,000 images.
"""

MOST_BYTES = 64 * 2**30  # size of a bundle; the logits of the largest study take 20 GB
MOST_MEMBERS = 100_000  # number of files in a bundle; the largest study has 14,000
MOST_JSON = 32 * 2**20  # bytes of a JSON file; the manifest of the largest study has 2 MB
# bytes of one file in a bundle. The limit is above MOST_TABLE_BYTES, because a label state takes 1 byte in memory and 4
# in Parquet
MOST_MEMBER_BYTES = 512 * 2**20

MOST_ROWS = 2_000_000  # rows of a table; no cohort has more images than the largest study
MOST_COLUMNS = 500  # columns of a table; the table of a cohort has one column for each finding and label mapping
MOST_ROW_GROUPS = 100  # parts of a Parquet file; `bench export` writes one part for each million rows
MOST_TABLE_BYTES = 256 * 2**20  # size of a table in memory; 900,000 images with 14 findings take 60 MB
MOST_TEXT = 400  # characters of a text; the longest texts contain the points of a curve
MOST_TEXT_BYTES = 64 * 2**20  # sum of the texts in all rows of a column; 900,000 names of devices take 30 MB

# memory of the child process that reads every table for a test; a valid table needs far less
MOST_READER_BYTES = 2 * 2**30
# parameters of a network that is built to count its operations; a parameter takes 4 bytes of memory
MOST_PARAMS = 400_000_000
