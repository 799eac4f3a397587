"""Training on other devices: the host waits for no copy, and a GPU ends about where the CPU does.

What runs on CUDA runs on the CPU, too, so that it is tried where there is no GPU.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import SETTINGS, trainer
from waiting_copies import WaitingCopies

from roadseg.model.resunet import ResUNet
from roadseg.settings import AugmentSettings, OptimizerName, TrainSettings
from roadseg.training.gradients import compile_blocks, memory_format_for
from roadseg.training.loop import Step, Trainer

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")],
)


@pytest.mark.filterwarnings("ignore:.*no-op:UserWarning")
def test_a_step_waits_for_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device has no values, but every operation is asked of it."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which it does not know
    everything = AugmentSettings(**{one.name: 0.5 for one in fields(AugmentSettings) if isinstance(one.default, float)})
    assert 0 < everything.hue_deg == everything.compression == everything.rotate_deg
    settings = replace(SETTINGS, augment=everything, optimizer="muon", clip_norm=1.0)
    work = Trainer(ResUNet(width=4).to("meta"), trainer(tmp_path).tiles, settings, tmp_path)
    work._prepare()
    images = torch.zeros((2, 3, 40, 40), dtype=torch.uint8, device="meta")
    labels = torch.zeros((2, 40, 40), dtype=torch.uint8, device="meta")
    work._advance(images, labels)  # what stays the same goes to the device once
    with WaitingCopies() as copies:
        work._advance(images, labels)
    assert copies.found == []


def weights_after(folder: Path, device: str, settings: TrainSettings, **how: Any) -> dict[str, torch.Tensor]:
    """Train on a device and return the weights, on the CPU; ``stop`` interrupts and resumes."""
    work = trainer(folder, settings, device=device)
    if stop := how.get("stop"):
        with pytest.raises(KeyboardInterrupt):
            work.run(_interrupt_at(stop))
        work = trainer(folder, settings, device=device)
        assert work.step == stop
        states = [state for state in work.optimizer.state.values() if "step" in state]
        assert {state["step"].device.type for state in states} == {"cpu"}
        others = {value.device.type for state in states for name, value in state.items() if name != "step"}
        assert others == {torch.device(device).type}
    work.run()
    return {name: value.float().cpu() for name, value in work.model.state_dict().items()}


def _interrupt_at(number: int) -> Callable[[Step], None]:
    def on_step(step: Step) -> None:
        if step.step == number:
            raise KeyboardInterrupt

    return on_step


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("stop", [None, 2])
def test_steps_and_resumed_runs_end_about_where_those_of_the_cpu_do(
    tmp_path: Path, request: pytest.FixtureRequest, device: str, stop: int | None
) -> None:
    if device == "cuda":
        request.getfixturevalue("cuda")
    settings = replace(SETTINGS, steps=4, width=8, tf32=False)
    start = {name: value.float() for name, value in trainer(tmp_path / "0", settings).model.state_dict().items()}
    expected = weights_after(tmp_path / "a", "cpu", settings)
    found = weights_after(tmp_path / "b", device, settings, stop=stop)
    for name in (name for name in start if name.endswith("weight")):
        moved, apart = (expected[name] - start[name]).abs().mean(), (found[name] - expected[name]).abs().mean()
        assert moved > 0, name
        assert apart <= (0.0 if device == "cpu" else 0.1) * moved, name


@pytest.mark.parametrize("device", [pytest.param("cpu", marks=pytest.mark.slow), CUDA])
@pytest.mark.filterwarnings("ignore")
def test_compiled_blocks_have_the_gradients_of_the_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole-network compilation once lost every gradient below the last upsampling."""
    torch.manual_seed(0)
    plain = ResUNet(width=16).train()
    compiled = copy.deepcopy(plain).to(device).to(memory_format=memory_format_for(16))  # type: ignore[call-overload]
    compile_blocks(compiled)
    x = torch.randn(2, 3, 32, 32)
    plain(x).square().mean().backward()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    compiled(x.to(device)).square().mean().backward()
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad.cpu(), rtol=1e-2, atol=1e-5), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_blocks_stay_compiled_when_memory_splits_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *args, **how: compile_module(*args, **how, backend="eager"))
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    model = ResUNet(width=2).train()
    compile_blocks(model)
    for batch in (8, 4, 2, 1):
        model(torch.randn(batch, 3, 32, 32)).sum().backward()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_optimizer_has_the_memory_format_of_its_parameters(tmp_path: Path, optimizer: OptimizerName) -> None:
    """Fused AdamW on CUDA refuses others."""
    settings = replace(SETTINGS, width=16, steps=2, optimizer=optimizer)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, settings).run(_interrupt_at(1))
    work = trainer(tmp_path, settings)
    assert work.step == 1
    work._prepare()
    for parameter, state in work.optimizer.state.items():
        for value in state.values():
            assert value.ndim == 0 or value.stride() == parameter.stride()
