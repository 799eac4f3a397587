"""What makes the host wait for a device, noted on the meta device, which has no values but is asked everything."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class WaitingCopies(TorchDispatchMode):
    """Notes operations that would wait for a device: copies between it and the host, and numbers read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), options: Any = None) -> Any:
        options, name = options or {}, str(operation)
        if name.startswith("aten._to_copy") and not options.get("non_blocking"):
            target = options.get("device") or args[0].device
            if torch.device(target).type != args[0].device.type:
                self.found.append(f"{name} {tuple(args[0].shape)}")
        if name.startswith("aten.copy_") and args[0].device.type != args[1].device.type:
            self.found.append(f"{name} {tuple(args[1].shape)}")
        if name.startswith("aten._local_scalar_dense") and args[0].device.type == "meta":
            self.found.append(name)
        return operation(*args, **options)
