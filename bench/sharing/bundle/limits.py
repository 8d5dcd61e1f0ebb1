"""The limits of a bundle, with the reason for each.

The sender of a bundle decides every size in it. The reader therefore checks each size before it reserves memory.
For comparison: the largest study that this project expects has 500 runs, 6 cohorts and 900,000 images.
"""

MOST_BYTES = 64 * 2**30  # size of a bundle; the logits of the largest study take 20 GB
MOST_MEMBERS = 100_000  # the largest study has 14,000 files
MOST_JSON = 32 * 2**20  # bytes of a JSON file; the manifest of the largest study has 2 MB
MOST_MEMBER_BYTES = 512 * 2**20  # Parquet stores a label state in 4 bytes, so a file may be larger than its table

MOST_ROWS = 2_000_000  # rows of a table; no cohort has more images than the largest study
MOST_COLUMNS = 500  # columns of a table; a cohort has one for each finding and label mapping
MOST_ROW_GROUPS = 100  # parts of a Parquet file; `bench export` writes one for each million rows
MOST_TABLE_BYTES = 256 * 2**20  # size of a table in memory; 900,000 images with 14 findings take 60 MB
MOST_TEXT = 400  # characters of a text; the longest texts contain the points of a curve
MOST_TEXT_BYTES = 64 * 2**20  # all texts of a column, each row counted; 900,000 names of devices take 30 MB

MOST_READER_BYTES = 2 * 2**30  # memory of the child process that reads all tables first; one table needs far less
MOST_PARAMS = 400_000_000  # larger networks are not built for counting; a parameter takes 4 bytes of memory
