"""Measure the time of a training with two CPU threads, alone and together with busy processes.

A thread that waits for another thread can spin (use the CPU) or sleep. Both are measured.

    python benchmarks/threads.py --busy 2

The training is 10 steps of ResNet-10 on 32 images of 64 x 64 pixels, in a new process. With the environment variables
that our workers set, waiting threads sleep; without these variables, waiting threads spin.
"""

import argparse
import os
import subprocess
import sys

from bench.executors.local import _WAITING

STEPS = """
import time, timm, torch
torch.set_num_threads(2); torch.manual_seed(0)
network = timm.create_model("resnet10t", num_classes=9, in_chans=1)
optimizer = torch.optim.AdamW(network.parameters())
image, label = torch.randn(32, 1, 64, 64), torch.rand(32, 9).round()
def step():
    optimizer.zero_grad()
    torch.nn.functional.binary_cross_entropy_with_logits(network(image), label).backward()
    optimizer.step()
step()
wall, cpu = time.perf_counter(), time.process_time()
for _ in range(10):
    step()
print(f"{time.perf_counter() - wall:.2f} s, {time.process_time() - cpu:.2f} CPU s")
"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=0, help="number of processes that only count")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(parser.parse_args().busy)]
    unset = {name: value for name, value in os.environ.items() if name not in (*_WAITING, "OMP_NUM_THREADS")}
    try:
        for title, variables in (("spin", {}), ("sleep", _WAITING)):
            done = subprocess.run(
                [sys.executable, "-c", STEPS], env=unset | variables, stdout=subprocess.PIPE, check=True
            )
            print(title, done.stdout.decode().strip())
    finally:
        for process in busy:
            process.kill()
