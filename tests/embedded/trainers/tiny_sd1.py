"""Writes a tiny Stable Diffusion 1.5 of random weights in diffusers' layout: ``python tiny_sd1.py FOLDER``."""

import json
import string
import sys
from pathlib import Path


def main() -> None:
    """Models that are about as small as the code takes, with a vocabulary of letters."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    folder = Path(sys.argv[1])
    words = folder / "words"
    words.mkdir(parents=True)
    letters = string.ascii_lowercase + string.digits + ".,-'!?"
    known = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (words / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(known)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    names = {"bos_token": known[-2], "eos_token": known[-1], "unk_token": known[-1], "pad_token": known[-1]}
    made = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **names}
    (words / "tokenizer_config.json").write_text(json.dumps(made))
    text = CLIPTextConfig(
        vocab_size=len(known), bos_token_id=len(known) - 2, eos_token_id=len(known) - 1, pad_token_id=len(known) - 1,
        hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=3, max_position_embeddings=77,
    )  # fmt: skip
    down, up = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64, 64, 64), layers_per_block=1, sample_size=16, in_channels=4, out_channels=4,
        down_block_types=(down, down, down, "DownBlock2D"), up_block_types=("UpBlock2D", up, up, up),
        attention_head_dim=8, cross_attention_dim=32,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=[32] * 4, latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=CLIPTokenizer.from_pretrained(str(words)), unet=unet,
        scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "model")


if __name__ == "__main__":
    main()
