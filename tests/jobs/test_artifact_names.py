"""What the name of a trained file tells."""

import pytest

from lib.jobs.artifact_names import describe_file, family_of
from lib.jobs.job import ArtifactKind


@pytest.mark.parametrize(
    ("name", "kind", "epoch", "step", "prompt"),
    [
        ("aria.safetensors", ArtifactKind.LORA, None, None, None),
        ("aria-000012.safetensors", ArtifactKind.CHECKPOINT, 12, None, None),
        ("aria-step00000400.safetensors", ArtifactKind.CHECKPOINT, None, 400, None),
        ("sample/aria_e000003_01_20261123150700_42.png", ArtifactKind.SAMPLE, 3, None, 1),
        ("sample/aria_000400_00_20261123150700.png", ArtifactKind.SAMPLE, None, 400, 0),
        ("preview.WEBP", ArtifactKind.SAMPLE, None, None, None),
        ("aria-000001-state/optimizer.bin", ArtifactKind.STATE, 1, None, None),
        ("aria-step00000400-state/model.safetensors", ArtifactKind.STATE, None, 400, None),
        ("aria-state/train_state.json", ArtifactKind.STATE, None, None, None),
        ("checkpoint-500/optimizer.bin", ArtifactKind.STATE, None, 500, None),
        ("checkpoint-500/random_states_0.pkl", ArtifactKind.STATE, None, 500, None),
        ("checkpoint-500/pytorch_lora_weights.safetensors", ArtifactKind.CHECKPOINT, None, 500, None),
        ("checkpoint-best/pytorch_lora_weights.safetensors", ArtifactKind.CHECKPOINT, None, None, None),
        ("aria_000000250.safetensors", ArtifactKind.CHECKPOINT, None, 250, None),
        ("samples/1732374420123__000000250_2.jpg", ArtifactKind.SAMPLE, None, 250, 2),
        ("save/a2026-11-23-save-400-3-12.safetensors", ArtifactKind.CHECKPOINT, 3, 400, None),
        ("backup/2026-11-23_15-07-00-backup-400-3-12/optimizer/optimizer.pt", ArtifactKind.STATE, 3, 400, None),
        ("samples/0 - a cat/2026-training-sample-400-3-12.jpg", ArtifactKind.SAMPLE, 3, 400, None),
        ("validation_images/step_400_cat_1_1024x1024.png", ArtifactKind.SAMPLE, None, 400, 1),
        ("sample/aria_e000002_01_20261123150700_42.mp4", ArtifactKind.SAMPLE, 2, None, 1),
        ("20261123_15-07-00/epoch3/adapter_model.safetensors", ArtifactKind.CHECKPOINT, 3, None, None),
        ("20261123_15-07-00/step400/adapter_model.safetensors", ArtifactKind.CHECKPOINT, None, 400, None),
        ("20261123_15-07-00/global_step400/mp_rank_00_model_states.pt", ArtifactKind.STATE, None, 400, None),
        ("scheduler.pt", ArtifactKind.STATE, None, None, None),
        ("checkpoint-500/sampler_1.bin", ArtifactKind.STATE, None, 500, None),
        ("training_args.bin", ArtifactKind.STATE, None, None, None),
        ("sampler girl.safetensors", ArtifactKind.LORA, None, None, None),
        ("optimizer.safetensors", ArtifactKind.LORA, None, None, None),
        ("scaler-000002.safetensors", ArtifactKind.CHECKPOINT, 2, None, None),
        ("scheduler-step00000400.pt", ArtifactKind.CHECKPOINT, None, 400, None),
        ("random_states of mind.pt", ArtifactKind.LORA, None, None, None),
        ("pytorch_lora_weights.bin", ArtifactKind.LORA, None, None, None),
        ("logs/20261123/events.out.tfevents.1", ArtifactKind.LOG, None, None, None),
        ("train.log", ArtifactKind.LOG, None, None, None),
        ("README.md", ArtifactKind.OTHER, None, None, None),
    ],
)
def test_what_a_name_tells(
    name: str, kind: ArtifactKind, epoch: int | None, step: int | None, prompt: int | None
) -> None:
    facts = describe_file(name)
    assert (facts.kind, facts.epoch, facts.step, facts.prompt_index) == (kind, epoch, step, prompt)


@pytest.mark.parametrize(
    "path",
    [
        "aria.safetensors",
        "aria-000012.safetensors",
        "aria-step00000400.safetensors",
        "aria_000000250.safetensors",
        "aria-state/model.safetensors",
        "aria-000001-state/optimizer.bin",
        "sample/aria_e000003_01_20261123150700_42.png",
        "sample/aria_000400_00_20261123150700.png",
    ],
)
def test_the_files_of_a_run_have_its_name(path: str) -> None:
    assert family_of(path) == "aria"
    assert family_of(path.replace("aria", "aria-2")) == "aria-2"
