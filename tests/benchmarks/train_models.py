"""Train the models that come with the package, in chunks of a few minutes that resume where the last one stopped.

    python tests/benchmarks/train_models.py resunet data/train data/dev out/       # again and again until it is done
    python tests/benchmarks/train_models.py resunet data/train data/dev out/ --minutes 9 --small-files
    python tests/benchmarks/train_models.py compact data/train data/dev out/       # on two CPU cores: 5 hours
    python tests/benchmarks/train_models.py distilled data/train data/dev out/     # compact, taught by out/resunet
    python tests/benchmarks/train_models.py robust data/train data/dev out/ --more data/train_crops
    python tests/benchmarks/train_models.py standard data/train data/dev out/ --more data/train_crops
    python tests/benchmarks/train_models.py rehearsal data/train data/dev out/ --minutes 0.3

`robust` starts from the bundled `compact`; stopped where it is good enough, `snapshot_model.py` makes
out/snapshot.safetensors of it, which `cooled` anneals. `standard` starts from out/wide.safetensors, which
`widen_model.py` makes.

Exit status 0: the model is finished; 3: there is a checkpoint to resume from. ``--small-files`` keeps every file below
16 MiB and all of them below 64 MiB (16-bit checkpoints in parts: no longer exact to the bit), for machines that
hand results over piecemeal.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from small_files import join_checkpoint, split_checkpoint

AERIAL = [
    "augment.rotate_deg=20",
    "augment.zoom=0.25",
    "augment.hue_deg=5",
    "augment.blur_px=0.7",
    "augment.compression=0.5",
]

LONG = ["optimizer=muon", "learning_rate=0.0015", "average_decay=0.999"]

SENSORS = [
    "augment.gamma=0.5",
    "augment.contrast=0.35",
    "augment.brightness=0.3",
    "augment.balance=0.1",
    "augment.exposure=0.5",
    "augment.white_balance=0.35",
    "augment.saturation=0.5",
    "augment.grey=0.1",
    "augment.haze=0.5",
    "augment.noise=0.07",
]
"""Light and colours of other sensors and seasons."""

WILD = [
    *SENSORS,
    "augment.rotate_deg=45",
    "augment.zoom=0.6",
    "augment.hue_deg=12",
    "augment.blur_px=1.2",
    "augment.compression=1",
    "augment.mixing=0.12",
    "augment.tone=0.6",
    "augment.shadow=0.5",
    "augment.sharpen=1.5",
    "augment.plain=0.2",
]
MILD = [
    *SENSORS,
    "augment.rotate_deg=30",
    "augment.zoom=0.3",
    "augment.hue_deg=10",
    "augment.blur_px=1.0",
    "augment.compression=0.8",
    "augment.mixing=0.1",
    "augment.tone=0.5",
    "augment.shadow=0.4",
    "augment.sharpen=1.2",
    "augment.plain=0.35",
]
STAGED = ["crop=160", "learning_rate=0.001", "precision=bfloat16", "pixel_m=1.0"]

MODELS = {
    "resunet": ["width=64", "steps=14000", "batch=32", *LONG, *AERIAL],
    "compact": ["width=16", "steps=24000", "crop=160", *LONG, "augment.blur_px=1.2"],
    "robust": [
        "start=compact",
        "width=16",
        "steps=24000",
        "schedule=flat",
        "warmup_steps=300",
        "average_decay=0.999",
        "seed=12",
        *STAGED,
        *WILD,
    ],
    "cooled": [
        "start={out}/snapshot.safetensors",
        "width=16",
        "steps=5600",
        "warmup_steps=100",
        "average_decay=0.998",
        "seed=13",
        *STAGED,
        *MILD,
    ],
    "standard": [
        "start={out}/wide.safetensors",
        "width=32",
        "steps=37500",
        "schedule=flat",
        "warmup_steps=300",
        "average_decay=0.999",
        "seed=11",
        *STAGED,
        *WILD,
    ],
    "distilled": ["width=16", "steps=14000", "batch=32", *LONG, *AERIAL, "teacher={out}/resunet.safetensors"],
    "rehearsal": ["width=8", "steps=60", "batch=2", "crop=96", "checkpoint_minutes=0.1", "dev_tiles=1", *AERIAL],
}
"""What differs from the recipe ``default``; with 142 megapixels of tiles, 14,000 steps of 32 crops are 160 epochs."""

CARD = {
    "description": "ResUNet of Zhang, Liu and Wang (2018) for aerial imagery at 1 m.",
    "training-data": "Massachusetts Roads Dataset (Mnih 2013), 96 tiles (142 Mpx) of its training split",
    "licence": "ODbL 1.0 as far as it derives from OpenStreetMap",
    "attribution": "Labels © OpenStreetMap contributors; imagery MassGIS/USGS 2008–2009",
}


def command(arguments: argparse.Namespace) -> list[str]:
    """Return the command that trains for one chunk."""
    output = arguments.out / f"{arguments.model}.safetensors"
    settings = [*MODELS[arguments.model], *arguments.set]
    options = [f"--{name}={text}" for name, text in CARD.items()]
    options += [f"--set={setting.format(out=arguments.out)}" for setting in settings]
    options += ["--minutes", str(arguments.minutes), "--device", arguments.device, "--dtype", "float16", "--json"]
    places = [arguments.data, *arguments.more, "--dev", arguments.dev, "-o", output]
    return [sys.executable, "-m", "roadseg", "train", *map(str, places), *options]


def main() -> int:
    """Train for one chunk and say whether there is more to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    for name in ("data", "dev", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--more", type=Path, action="append", default=[], help="a further folder to train on")
    parser.add_argument("--minutes", type=float, default=8.5, help="of training; dev scores at the end come on top")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small-files", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    run_folder = arguments.out / f"{arguments.model}.run"
    join_checkpoint(run_folder)
    done = subprocess.run(command(arguments), stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    if arguments.small_files:
        split_checkpoint(run_folder)
    for path in sorted(arguments.out.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size / (1 << 20):8.2f} MiB  {path}")
    if done.returncode:
        return done.returncode
    return 0 if json.loads(done.stdout)["finished"] else 3


if __name__ == "__main__":
    sys.exit(main())
