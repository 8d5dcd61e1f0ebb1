"""Import what jobs need, once for all worker processes that are forked from the process that imports this module.

Garbage collection pauses meanwhile, because it would take a sixth of the time. Later it skips the imported objects, which
live as long as the process; so it does not write to memory that the workers share.

A fork server ends at once and does not free the imported modules. Freeing them would take 2 CPU seconds, and a program that
reads the output of `bench run` through a pipe would wait for it.
"""

import atexit
import gc
import os
import sys
from functools import partial
from importlib import import_module

from harmonize.child_processes import end_at_interrupts

NEEDED = (
    "bench.runs.run_one",
    "scipy.stats",
    "timm",  # the functions that need it import it, so each worker would
    "bench.analyses.run_analysis",
    "bench.analyses.transplants",
    "bench.analyses.probes",
)

if any("multiprocessing.forkserver" in word for word in sys.orig_argv):
    atexit.register(os._exit, 0)  # the function that is registered first runs last
    end_at_interrupts()  # also its workers, until they run jobs; the server itself ignores them later
    os.register_at_fork(after_in_child=partial(atexit.unregister, os._exit))  # workers have an exit code of their own
gc.disable()
for _name in NEEDED:
    import_module(_name)
gc.freeze()
gc.enable()
atexit.register(gc.unfreeze)  # libraries report objects that are not freed at the end of the process as leaks
