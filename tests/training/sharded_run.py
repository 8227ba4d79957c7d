"""Run by a test in two processes: the toy, its weights sharded by FSDP2 on CPUs, which accelerate itself does not do.

python -m torch.distributed.run --nproc-per-node 2 sharded_run.py OUT STEPS
"""

from __future__ import annotations

import sys
from pathlib import Path

from accelerate import Accelerator, DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin

from latentsync.training.engine import distributed as parallel
from latentsync.training.engine import trainer
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.objectives import TrainedObjective
from latentsync.training.engine.sharding import is_sharded
from training.toy_task import Toy

CONFIG = {
    "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 5, "schedule": "constant", "log_every": 1, "ema": 0.9,
    "tensorboard": False, "validate_every_s": None, "snapshot_every": 4,
}  # fmt: skip
SETTINGS = {"nan_at": 85}

plain_start = parallel.start


def start(config: TrainConfig) -> Accelerator:
    """As on GPUs: accelerate's own preparation of FSDP2, which its launcher asks for there."""
    made = plain_start(config)
    made.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, cpu_ram_efficient_loading=False, auto_wrap_policy="no_wrap", reshard_after_forward=True
    )
    made.state.distributed_type = DistributedType.FSDP
    return made


class Watched(TrainedObjective):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        if not all(is_sharded(p) for p in self.trainable):
            raise SystemExit("the weights are not sharded")


if __name__ == "__main__":
    parallel.start, trainer.TrainedObjective = start, Watched  # type: ignore[misc]
    trainer.Trainer(
        Toy(SETTINGS), TrainConfig(steps=int(sys.argv[2]), **CONFIG), Path(sys.argv[1]), settings=SETTINGS
    ).run()
