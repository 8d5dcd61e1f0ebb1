"""Import what jobs need, once for all worker processes that are forked from the process that imports this module.

Garbage collection pauses meanwhile, because it would take a sixth of the time. Later it skips the imported objects, which
live as long as the process; so it does not write to memory that the workers share.
"""

import atexit
import gc
from importlib import import_module

NEEDED = (
    "bench.runs.run_one",
    "scipy.stats",
    "bench.analyses.run_analysis",
    "bench.analyses.transplants",
    "bench.analyses.probes",
)

gc.disable()
for _name in NEEDED:
    import_module(_name)
gc.freeze()
gc.enable()
atexit.register(gc.unfreeze)  # libraries report objects that are not freed at the end of the process as leaks
