"""What the name of a trained file tells."""

import pytest

from lib.jobs.artifact_names import describe_file
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
        ("aria-000001-state/optimizer.bin", ArtifactKind.STATE, None, None, None),
        ("checkpoint-500/optimizer.bin", ArtifactKind.STATE, None, None, None),
        ("scheduler.pt", ArtifactKind.STATE, None, None, None),
        ("checkpoint-500/sampler_1.bin", ArtifactKind.STATE, None, None, None),
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
