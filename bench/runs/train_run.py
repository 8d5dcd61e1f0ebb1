"""Train the network of a run on the internal images; write weights, history and facts."""

import torch

from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.planning.image_caches import open_images
from bench.planning.plan import CohortRef
from bench.planning.run import RunSpec
from bench.runs.encoder_features import EncoderFeatures
from bench.runs.networks import initial_network, normalization_of
from bench.store.store import Store, canonical_json, write_bytes, write_table
from bench.system.peak_memory import PeakMemory
from bench.training.data_parallel import DataParallelGroup
from bench.training.fit import fit
from bench.training.probe import fit_probe
from harmonize.progress import Progress


def train(
    run: RunSpec,
    store: Store,
    internal: CohortRef,
    device: torch.device,
    processes: DataParallelGroup,
    progress: Progress,
) -> None:
    """Train a run; the main process writes the selected epoch's weights, the history, and trained.json (facts of the run)."""
    from safetensors.torch import save

    config, folder = run.config, store.run_dir(run.id)
    cache = open_images(store, internal, run.geometry)
    training, watched = Examples.training(internal, config, cache, run.group_column)
    network = initial_network(run, run.weights_file or ("hub" if config.weights == "imagenet" else None))
    memory = PeakMemory.start(device)
    normalization = normalization_of(run, store, internal, network)
    if config.is_frozen:
        if not processes.is_main:
            return
        network.to(device).to(memory_format=torch.channels_last)
        features = EncoderFeatures.stored(run, store, internal, cache, network, normalization, device, progress)
        val = {split: (examples, features.of(examples.image_id)) for split, examples in watched.items()}
        finish = config.added_head.fit if config.added_head else fit_probe
        trained = finish(run, network, training, features.of(training.image_id), val)
    else:
        reader = BatchReader(cache.images, device)
        checkpoint = folder / "last.pt"
        trained = fit(
            run,
            network,
            normalization,
            reader,
            training,
            watched,
            device,
            checkpoint,
            progress,
            processes=processes,
        )
        if not processes.is_main:
            return
    write_table(folder / "history.parquet", trained.history)
    facts = {
        "best_epoch": trained.best_epoch,
        "gradient_evaluations": trained.gradient_evaluations,
        "unlearnt": [config.findings[k] for k in trained.unlearnt],
        "peak_memory_bytes": memory.bytes,
    }
    if run.has_given_vectors:
        facts["given_vectors"] = run.entries["architecture"].title
    for name in ("stopped", "compiled", "micro_batch", "probe", "zero_shot", "lora", "val_auroc"):
        if fact := getattr(trained, name):
            facts[name] = fact
    write_bytes(folder / "trained.json", canonical_json(facts))
    state = {name: tensor.contiguous().cpu() for name, tensor in trained.network.state_dict().items()}
    # `write_bytes` writes the file, because safetensors' save_file hides the cause of a failed write, such as a full disk
    write_bytes(folder / "model.safetensors", save(state))
