"""What is to be trained, and what the resulting file says of it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.tiny_trainer.network import BASE_NAME
from lib.tiny_trainer.patches import PATCH_PX, TrainingImage, tag_frequency

COMMENT = "Made by the tiny trainer: a check of the whole way on a CPU, not a LoRA for an image model."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The arguments of one training; names and meaning as sd-scripts'. ``more_data``: repeats and folder of others."""

    train_data_dir: Path
    output_dir: Path
    output_name: str
    network_dim: int
    network_alpha: float
    learning_rate: float
    max_train_epochs: int
    train_batch_size: int
    resolution: int
    dataset_repeats: int
    seed: int
    sample_prompts: Path | None = None
    save_state: bool = False
    resume: Path | None = None
    network_weights: Path | None = None
    initial_step: int | None = None
    more_data: tuple[tuple[int, Path], ...] = ()

    @property
    def side_px(self) -> int:
        """The resolution, rounded down to whole patches."""
        return max(PATCH_PX, self.resolution // PATCH_PX * PATCH_PX)

    @property
    def folders(self) -> dict[Path, int]:
        """Folder -> repeats of its images."""
        return {self.train_data_dir: self.dataset_repeats, **{folder: repeats for repeats, folder in self.more_data}}

    def shown(self, images: Sequence[TrainingImage]) -> int:
        """How many images an epoch shows: all with their repeats."""
        return sum(self.folders[image.path.parent] for image in images)

    def batches(self, images: Sequence[TrainingImage]) -> int:
        """Batches per epoch."""
        return math.ceil(self.shown(images) / self.train_batch_size)


def metadata(plan: Plan, images: Sequence[TrainingImage], *, epoch: int, step: int) -> dict[str, str]:
    """The ``ss_*`` values of a file saved after ``epoch`` and ``step``.

    Times and the session's number are left out: the same seed gives the same file.
    """
    folders = {
        folder.name: ([image for image in images if image.path.parent == folder], repeats)
        for folder, repeats in plan.folders.items()
    }
    size = f"({plan.side_px}, {plan.side_px})"
    bucket = {"resolution": [plan.side_px, plan.side_px], "count": plan.shown(images)}
    values: dict[str, object] = {
        "ss_output_name": plan.output_name,
        "ss_training_comment": COMMENT,
        "ss_steps": step,
        "ss_epoch": epoch,
        "ss_num_epochs": plan.max_train_epochs,
        "ss_max_train_steps": plan.batches(images) * plan.max_train_epochs,
        "ss_num_batches_per_epoch": plan.batches(images),
        "ss_num_train_images": plan.shown(images),
        "ss_num_reg_images": 0,
        "ss_batch_size_per_device": plan.train_batch_size,
        "ss_total_batch_size": plan.train_batch_size,
        "ss_gradient_accumulation_steps": 1,
        "ss_resolution": size,
        "ss_enable_bucket": False,
        "ss_bucket_info": _json({"buckets": {"0": bucket}, "mean_img_ar_error": 0.0}),
        "ss_dataset_dirs": _json(
            {name: {"n_repeats": repeats, "img_count": len(found)} for name, (found, repeats) in folders.items()}
        ),
        "ss_reg_dataset_dirs": _json({}),
        "ss_tag_frequency": _json({name: tag_frequency(found) for name, (found, _) in folders.items()}),
        "ss_network_module": "lib.tiny_trainer",
        "ss_network_dim": plan.network_dim,
        "ss_network_alpha": float(plan.network_alpha),
        "ss_network_dropout": None,
        "ss_base_model_version": BASE_NAME,
        "ss_sd_model_name": BASE_NAME,
        "ss_learning_rate": plan.learning_rate,
        "ss_unet_lr": plan.learning_rate,
        "ss_text_encoder_lr": None,
        "ss_optimizer": "lib.tiny_trainer.network.Adam",
        "ss_lr_scheduler": "constant",
        "ss_loss_type": "l2",
        "ss_seed": plan.seed,
        "ss_mixed_precision": "no",
        "ss_cache_latents": True,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{BASE_NAME}/lora",
        "modelspec.title": plan.output_name,
        "modelspec.resolution": f"{plan.side_px}x{plan.side_px}",
    }
    return {key: str(value) for key, value in values.items()}


def _json(value: object) -> str:
    return json.dumps(value)
