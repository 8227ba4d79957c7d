"""The kinds of network a model folder may hold: how each is built from its config and described again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from latentsync.core.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Kind:
    """One class of network.

    Attributes:
        module: where the class lives; imported when first needed.
        describe: the JSON config of a network, which `from_config` takes.
        network: the module whose `state_dict` is stored (the adapted library's own names where it's an adapter).
        is_meta_safe: everything it needs is in its state dict, so it may be built without memory and filled.
    """

    module: str
    describe: Callable[[Any], Mapping[str, Any]]
    network: Callable[[Any], nn.Module] = lambda module: module
    is_meta_safe: bool = False


KINDS: dict[str, Kind] = {
    "UNet": Kind("unet", lambda unet: unet.config.to_mapping(), is_meta_safe=True),
    "SyncNet": Kind("syncnet", lambda syncnet: syncnet.to_mapping(), is_meta_safe=True),
    "SdAutoencoder": Kind("autoencoder", lambda vae: vae.to_mapping(), lambda vae: vae.network, is_meta_safe=True),
    "TinyAutoencoder": Kind("tiny_autoencoder", lambda vae: vae.to_config()),
    "AudioEncoder": Kind("audio_encoder", lambda audio_encoder: audio_encoder.config),
}


def kind_of(class_name: str, where: str) -> Kind:
    """The kind by class name. Raises WeightsError where this version knows none of that name."""
    if class_name not in KINDS:
        raise WeightsError(f"{where}: unknown network class {class_name!r}. Update latentsync, or use another model")
    return KINDS[class_name]


class _Unfilled(TorchFunctionMode):
    """Leaves new parameters as they come: random values would be overwritten anyway.

    On the meta device it also keeps torch from importing its whole symbolic machinery (2.8 s) for the first of them.
    """

    fills = frozenset({torch.Tensor.uniform_, torch.Tensor.normal_})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in self.fills else func(*args, **(kwargs or {}))


def build_empty(class_name: str, config: Mapping[str, Any], where: str) -> nn.Module:
    """A network whose parameters wait for `load_state_dict`: on the meta device where its kind allows it."""
    kind = kind_of(class_name, where)
    cls = getattr(import_module(f"latentsync.models.{kind.module}"), class_name)
    with torch.device("meta" if kind.is_meta_safe else "cpu"), _Unfilled():
        return cls.from_config(config)
