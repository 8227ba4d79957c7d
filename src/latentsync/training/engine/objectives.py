"""One objective as it is trained: wrapped for the processes, with its optimiser and its averaged weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn

from latentsync.core.errors import ConfigError, WeightsError
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.ema import EmaWeights
from latentsync.training.engine.sharding import own, put, whole
from latentsync.training.engine.task import Objective

Tensors = dict[str, Tensor]


class TrainedObjective:
    """An objective, its AdamW over what is trainable in it, and the averaged weights of its network.

    `tensors` and `restore` are the whole of its state, named so that neither the number of processes nor the order of
    parameters matters.
    """

    def __init__(self, objective: Objective, config: TrainConfig, accelerator: Accelerator) -> None:
        self.objective, self.network, self.accelerator = objective, objective.network, accelerator
        self.clip_norm = config.clip_norm
        if config.gradient_checkpointing:
            save_activations(self.network)
        if config.compile:
            self.network.compile(dynamic=False)
        trainable = [p for p in objective.parameters() if p.requires_grad]
        if not trainable:
            raise ValueError(f"{type(objective).__name__}: nothing to train, all its parameters are frozen")
        objective.to(accelerator.device)
        is_sharded = accelerator.distributed_type == DistributedType.FSDP
        self.spare = deepcopy(self.network).to("cpu") if is_sharded and accelerator.is_main_process else None
        optimiser = torch.optim.AdamW(
            paced(objective),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        objective.train()
        self.model, wrapped = accelerator.prepare(objective, optimiser)
        self.optimiser: torch.optim.Optimizer = wrapped.optimizer
        self.is_sharded = is_sharded
        self.trainable = [p for p in objective.parameters() if p.requires_grad]  # sharding puts others in their place
        self.names = {id(p): name for name, p in objective.named_parameters()}
        self.average = None if config.ema is None else EmaWeights(self.network, config.ema)

    @contextmanager
    def trained_alone(self, others: Sequence[TrainedObjective]) -> Iterator[None]:
        """Inside, no gradient flows into the parameters of other parts: a discriminator is consulted, not taught."""
        held = [p for part in others if part is not self for p in part.trainable]
        for p in held:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in held:
                p.requires_grad_(True)

    def clip_gradient(self) -> Tensor:
        """Clip the gradient. Returns: its norm before that, a scalar, not finite where a gradient is not."""
        scaler = self.accelerator.scaler
        if scaler is not None:
            scaler.unscale_(self.optimiser)
        limit = float("inf") if self.clip_norm is None else self.clip_norm
        return whole(torch.nn.utils.clip_grad_norm_(self.trainable, limit))

    @torch.no_grad()
    def weights_norm(self) -> Tensor:
        """Norm of the trainable weights this process holds, a scalar: not finite where one of them is not."""
        return torch.stack(torch._foreach_norm([own(p) for p in self.trainable])).norm()

    def step(self, rate: float, number: int) -> None:
        """One step of the optimiser; `number` counts from 1."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * self.objective.learning_rate_scale * group["pace"]
        scaler = self.accelerator.scaler
        if scaler is None:
            self.optimiser.step()
        else:
            scaler.step(self.optimiser)
        if self.average is not None:
            self.average.update(number)

    def forget_gradients(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)

    @contextmanager
    def judged(self) -> Iterator[nn.Module]:
        """The network with its averaged weights, in evaluation mode; undone afterwards.

        Entered by all processes; where weights are sharded, the first one gets a whole copy, the others must not use
        theirs.
        """
        with ExitStack() as stack:
            if self.average is not None:
                stack.enter_context(self.average.applied())
            network = self._whole_copy() if self.is_sharded else self.network
            if network._compiled_call_impl is not None:  # other shapes, no gradients: not worth another compilation
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            modes = {module: module.training for module in network.modules()}
            network.eval()
            try:
                yield network
            finally:
                for module, mode in modes.items():
                    module.training = mode
                if self.spare is not None:
                    self.spare.to("cpu")

    @torch.no_grad()
    def _whole_copy(self) -> nn.Module:
        """The network with whole weights, in the first process; the sharded one elsewhere."""
        values = {n: whole(t) for n, t in [*self.network.named_parameters(), *self.network.named_buffers()]}
        if self.spare is None:
            return self.network
        for name, tensor in [*self.spare.named_parameters(), *self.spare.named_buffers()]:
            tensor.copy_(values[name])
        return self.spare.to(self.accelerator.device)

    def gathered(self) -> dict[str, Tensors]:
        """`tensors`, whole, for the disk: asked for by all processes, given to the first one alone."""
        keeps = self.accelerator.is_main_process
        gathered: dict[str, Tensors] = {}
        for group, tensors in self.tensors().items():
            gathered[group] = {}
            for name, tensor in tensors.items():
                value = whole(tensor)
                if keeps:
                    gathered[group][name] = value.to("cpu") if self.is_sharded else value
        return gathered

    def num_bytes(self) -> int:
        """Size of its state on disk: weights and buffers, averages, and two moments of every trainable weight."""
        held = [*self.objective.parameters(), *self.objective.buffers(), *self.trainable, *self.trainable]
        held += [] if self.average is None else self.average.shadow.values()
        return sum(t.numel() * t.element_size() for t in held)

    def tensors(self) -> dict[str, Tensors]:
        """Live tensors by group: `weights`, `buffers`, `average`, `optimiser`."""
        state: Tensors = {}
        for p, values in self.optimiser.state.items():
            state |= {f"{self.names[id(p)]}//{key}": value for key, value in values.items()}
        return {
            "weights": dict(self.objective.named_parameters()),
            "buffers": dict(self.objective.named_buffers()),
            "average": {} if self.average is None else self.average.shadow,
            "optimiser": state,
        }

    @torch.no_grad()
    def restore(self, saved: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what `tensors` gave, in place. Raises: WeightsError: names or shapes differ."""
        live = self.tensors()
        for group in ("weights", "buffers", "average"):
            fill(live[group], saved[group], group)
        self.optimiser.state.clear()
        by_name = dict(self.objective.named_parameters())
        for name, value in saved["optimiser"].items():
            of, _, key = name.rpartition("//")
            p = by_name[of]
            # the strides of the parameter: fused kernels walk both alike
            fused = self.optimiser.param_groups[0]["fused"]
            device = p.device if fused else value.device
            kept = torch.empty_like(p) if value.shape == p.shape else torch.empty_like(value, device=device)
            put(kept, value)
            self.optimiser.state[p][key] = kept


def paced(objective: Objective) -> list[dict[str, Any]]:
    """Trainable parameters in groups that learn equally fast; `pace`: times the rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            pace = next((pace for start, pace in objective.slower.items() if name.startswith(start)), 1.0)
            groups.setdefault(pace, []).append(parameter)
    return [{"params": parameters, "pace": pace} for pace, parameters in groups.items()]


def fill(target: Mapping[str, Tensor], values: Mapping[str, Tensor], what: str) -> None:
    """Copy tensors by name. Raises: WeightsError: names or shapes differ."""
    differing = sorted(set(target) ^ set(values))
    differing += sorted(n for n in set(target) & set(values) if target[n].shape != values[n].shape)
    if differing:
        names = ", ".join(differing[:4]) + (" …" if len(differing) > 4 else "")
        raise WeightsError(f"state: {len(differing)} {what} do not fit this network ({names}). Start a new run.")
    for name, tensor in target.items():
        put(tensor, values[name])


def save_activations(network: nn.Module) -> None:
    """Switch gradient checkpointing on. Raises: ConfigError: the network has none."""
    for name, arguments in (("set_gradient_checkpointing", (True,)), ("enable_gradient_checkpointing", ())):
        switch: Any = getattr(network, name, None)
        if switch is not None:
            switch(*arguments)
            return
    raise ConfigError("loop.gradient_checkpointing", True, f"{type(network).__name__} cannot; choose false")
