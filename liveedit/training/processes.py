"""The processes and devices of the editor's training: accelerate's, opened with this project's options.

Alone, or under ``accelerate launch`` with one process a GPU (https://huggingface.co/docs/accelerate). Each process
holds the whole frozen backbone and its own share of the batches; gradients of the editor's modules are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    broadcast_object_list,
    gather_object,
    parse_flag_from_env,
)
from torch import nn

from liveedit.backbones.memory import pick_device
from liveedit.types import ConfigError

# What the backbone computes in; the editor's own weights stay in float32.
DTYPES: Mapping[str, torch.dtype] = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SERVED = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def open_accelerator(device: str, precision: str, accumulation: int) -> Accelerator:
    """accelerate's view of this process: ``device`` is auto, cpu or cuda, ``precision`` no, bf16 or fp16.

    The options here decide, not those that ``accelerate launch`` has for precision and accumulation. Trainings of
    one process may differ in them; they follow one another, since accelerate keeps one setting a process.
    """
    cpu = pick_device(device).type == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    if cpu and precision == "fp16":
        raise ConfigError("mixed_precision fp16 needs a GPU: choose bf16 or no")
    forget_other(cpu, precision)
    try:
        accelerator = Accelerator(
            cpu=cpu,
            mixed_precision=precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=accumulation),
            # A stage that trains the generator leaves the extractors without gradient, and the other way round.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
        )
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"accelerate cannot start as asked ({reason}): choose another device or precision"
        ) from error
    if accelerator.distributed_type not in SERVED:
        raise ConfigError(
            f"the launcher asks for {accelerator.distributed_type.value}: the editor trains with one whole backbone a "
            "process, so launch it with `accelerate launch --multi_gpu`"
        )
    return accelerator


def forget_other(cpu: bool, precision: str) -> None:
    """Let accelerate begin anew where an earlier training of this process had another device or precision.

    Processes that were launched together stay connected, on the devices that they have.
    """
    if not is_initialized():
        return
    state = AcceleratorState()
    alone, same_device = state.num_processes == 1, (state.device.type == "cpu") == cpu
    if same_device and state.mixed_precision == precision:
        return
    if alone or same_device:
        # accelerate has no public way to do so; transformers' own trainer does the same between trainings.
        AcceleratorState._reset_state(reset_partial_state=alone)


class Share:
    """This process's share of numbered things, and what all processes know together."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.rank, self.count, self.device = accelerator.process_index, accelerator.num_processes, accelerator.device
        self.writes = accelerator.is_main_process

    def number(self, own: int) -> int:
        """The number among all processes' batches of this process's batch ``own``: they take turns."""
        return own * self.count + self.rank

    def mean(self, figures: dict[str, float], weight: float = 1.0) -> dict[str, float]:
        """The mean of all processes' figures (of the same names), each process's with its ``weight``."""
        if self.count == 1:
            return figures
        values = torch.tensor([weight, *(weight * v for v in figures.values())], dtype=torch.float64)
        total, *sums = self.accelerator.reduce(values.to(self.device), "sum").tolist()
        return dict(zip(figures, (s / total for s in sums), strict=True))

    @torch.no_grad()
    def pool_statistics(self, modules: nn.Module) -> None:
        """Average the running statistics that batch normalisation gathers over all processes.

        As means over batches (momentum None) they are then what one process would have that saw everyone's.
        """
        if self.count == 1:
            return
        for module in modules.modules():
            if isinstance(module, nn.BatchNorm1d):
                for running in filter(torch.is_floating_point, module.buffers()):
                    running.copy_(self.accelerator.reduce(running, "mean"))

    def told(self, value: Any) -> Any:
        """The main process's ``value`` (on the CPU), on every process; the others' are not looked at."""
        return broadcast_object_list([value])[0] if self.count > 1 else value

    def gather(self, value: object) -> list[object]:
        """Every process's ``value`` (on the CPU), in the processes' order, on every process."""
        return list(gather_object([value]))

    def wait(self) -> None:
        """Until every process has come here."""
        self.accelerator.wait_for_everyone()
