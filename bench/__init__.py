"""Train, predict, score and explain chest X-ray networks across hospitals."""

import time

STARTED = time.time()  # before other modules are imported
