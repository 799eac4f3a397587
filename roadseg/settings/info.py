"""Options of ``roadseg info``."""

from dataclasses import asdict, dataclass
from typing import Annotated

from roadseg.settings.option import Option
from roadseg.settings.train import Upsampling


@dataclass(frozen=True)
class ArchitectureSettings:
    """A network without a model file, by what its layers depend on; None stands for the default of ``train``."""

    width: Annotated[
        int | None,
        Option("--width", "Channels of the first level: 64 is the full network.", "Architecture", "N", min=1),
    ] = None
    upsample: Annotated[Upsampling | None, Option("--upsample", "Upsampling in the decoder.", "Architecture")] = None

    def chosen(self) -> dict[str, int | str]:
        """Return what was asked for, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}
