"""The folder of finished blocks that several processes at work on one output share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from roadseg.errors import OutputError
from roadseg.files.lock import locked
from roadseg.files.parts import PATIENCE_S, Share, check_unshared, joined
from roadseg.raster.partial import Partial, partial_folder


@contextmanager
def shared_partial(
    targets: Sequence[Path], fingerprint: Mapping[str, object], *, start_over: bool
) -> Iterator[tuple[Partial, Share]]:
    """Context manager that joins the processes at work on an output; on exit nothing stays if none finished a block.

    Parameters
    ----------
    targets
        The outputs; the folder lies beside the first.
    fingerprint, start_over
        As of ``Partial``.

    Raises
    ------
    OutputError
        If a run that will publish works on the output, or there are blocks of other inputs or settings.
    """
    output, folder = targets[0], partial_folder(targets[0])

    def alone() -> None:
        check_unshared(output, folder)

    with ExitStack() as stack:
        with locked(targets, PATIENCE_S):
            common = Partial(output, fingerprint, start_over=start_over, check_lock=alone)
            stack.callback(_leave, common, targets)
            share = stack.enter_context(joined(folder))
        yield Partial(output, fingerprint, check_lock=share.check), share


def _leave(partial: Partial, targets: Sequence[Path]) -> None:
    if not partial.block_count():
        with suppress(OutputError), locked(targets, PATIENCE_S), partial:
            pass
