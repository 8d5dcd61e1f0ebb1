"""Limits for image files, which are checked before pixels are decoded; the comment of each limit states the reason.

A few hundred bytes can declare an image that fills the memory. The largest radiographs have about 20 million pixels,
so these limits are far above every real file.
"""

# five times the largest radiographs; a damaged header may state any size
MAX_PIXELS = 100_000_000

# enough for MAX_PIXELS pixels of 16-bit gray. Color, alpha, more bits and progressive JPEG need more bytes for each
# pixel, so such images may have fewer pixels
MAX_DECODED_BYTES = 2 * MAX_PIXELS

# uncompressed pixels of the maximum size, with room for the header of a DICOM file
MAX_FILE_BYTES = MAX_DECODED_BYTES + 50_000_000

# px. The smallest public set of chest radiographs (ChestMNIST) has 28 x 28 pixels; smaller files are icons or damaged
MIN_SIDE = 16

# A progressive JPEG has about 10 scans. A scan can have as few as 10 bytes, but makes the decoder visit all pixels
MAX_SCANS = 32
