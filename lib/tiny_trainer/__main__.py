"""``python -m lib.tiny_trainer``: a check of the whole way on a CPU, not an image model."""

import argparse
import os
import sys
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # must be set before numpy is imported

import numpy as np  # noqa: E402

from lib.tiny_trainer.plan import Plan  # noqa: E402
from lib.tiny_trainer.training import Training  # noqa: E402


def main(arguments: list[str]) -> int:
    """Train as the arguments say; 0 when a LoRA file was written."""
    parser = argparse.ArgumentParser(prog="tiny", description=__doc__)
    for name in ("train_data_dir", "output_dir"):
        parser.add_argument(f"--{name}", type=_absolute, required=True)
    parser.add_argument("--output_name", default="last")
    for name in ("network_dim", "max_train_epochs", "train_batch_size", "resolution", "dataset_repeats"):
        parser.add_argument(f"--{name}", type=_positive, required=True)
    for name in ("network_alpha", "learning_rate"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--seed", type=int, default=42)
    for name in ("sample_prompts", "resume", "network_weights"):
        parser.add_argument(f"--{name}", type=_absolute)
    parser.add_argument("--initial_step", type=int)
    parser.add_argument("--more_data", type=_repeated_folder, action="append", default=[], metavar="REPEATS:FOLDER")
    parser.add_argument("--save_state", action="store_true")
    plan = Plan(**vars(parser.parse_args(arguments)))
    plan.output_dir.mkdir(exist_ok=True)  # what it is in has to be there, or the data folder is away
    os.chdir(plan.output_dir)  # from within, it is found even while the data folder is moved away
    with np.errstate(all="ignore"):  # a learning rate too high ends in NaN, which the printed loss shows
        return 0 if Training(plan).run() else 1


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _repeated_folder(text: str) -> tuple[int, Path]:
    repeats, _, folder = text.partition(":")
    return _positive(repeats), _absolute(folder)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
