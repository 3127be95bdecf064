import json
from typing import Any

import pytest

from lib.embedded.trainers.sd_scripts_settings import PARAMETERS
from lib.errors import InvalidRequest
from lib.jobs.preset_file import is_preset, parse_preset
from lib.jobs.training_settings import set_names, setting_problems

# The keys and kinds of values that kohya_ss writes, not one of its presets.
KOHYA_SS: dict[str, Any] = {
    "LoRA_type": "LyCORIS/LoKr",
    "pretrained_model_name_or_path": "owner/model",
    "sdxl": True,
    "epoch": 12,
    "learning_rate": 1.0,
    "unet_lr": 0.5,
    "text_encoder_lr": 0,
    "lr_scheduler": "cosine",
    "lr_scheduler_num_cycles": "3",
    "lr_warmup": 10,
    "optimizer": "prodigy",
    "optimizer_args": "decouple=True weight_decay=0.01",
    "max_resolution": "1024,768",
    "train_batch_size": 2,
    "network_dim": 100000,
    "network_alpha": 0.5,
    "conv_dim": 8,
    "factor": -1,
    "mixed_precision": "bf16",
    "cache_latents": True,
    "cache_latents_to_disk": True,
    "gradient_checkpointing": False,
    "min_snr_gamma": 5,
    "noise_offset": 0,
    "enable_bucket": True,
    "bucket_no_upscale": True,
    "keep_tokens": "2",
    "max_token_length": "225",
    "prior_loss_weight": 1.0,
    "additional_parameters": "--zero_terminal_snr",
    "wandb_api_key": "S3CRET",
    "output_dir": "/home/ann/out",
    "xformers": "xformers",
    "vae": "",
}


def read(told: dict[str, Any], name: str = "fox.json") -> Any:
    return parse_preset(json.dumps(told).encode(), name, PARAMETERS)


def test_a_preset_of_kohya_ss() -> None:
    config = read(KOHYA_SS)
    settings = config.settings
    assert (config.name, settings.trainer, settings.base_model) == ("fox", "sd-scripts", "owner/model")
    assert {name: getattr(settings, name) for name in set_names(settings)} == {
        "architecture": "sdxl",
        "resolution_height": 768,
        "mixed_precision": "bf16",
        "gradient_checkpointing": False,
        "cache_latents": "disk",
        "optimizer": "Prodigy",
        "optimizer_args": ("decouple=True", "weight_decay=0.01"),
        "lr_scheduler": "cosine",
        "lr_warmup": 0.1,
        "unet_lr": 0.5,
        "train_only": "U-Net",
        "network_module": "LoKr",
        "network_args": ("conv_dim=8", "factor=-1"),
        "min_snr_gamma": 5.0,
        "bucket_no_upscale": True,
        "keep_tokens": 2,
        "max_token_length": "225",
    }
    assert (settings.epochs, settings.learning_rate, settings.batch_size, settings.resolution) == (12, 1.0, 2, 1024)
    assert (settings.network_dim, settings.network_alpha) == (100_000, 0.5)
    assert config.description == (
        "Imported from a preset. Not taken over: additional_parameters, wandb_api_key. "
        "Secrets belong to LORA_TRAINER_ENV."
    )


def test_a_file_of_sd_scripts() -> None:
    text = """
    [model]
    pretrained_model_name_or_path = "owner/model"
    [training]
    max_train_steps = 1_600
    optimizer_type = "AdamW8bit"
    network_module = "lycoris.kohya"
    network_args = ["algo=loha", "conv_dim=4"]
    network_train_unet_only = true
    resolution = "768"
    save_every_n_steps = 200
    loss_type = "huber"
    """
    assert is_preset(text.encode())
    config = parse_preset(text.encode(), "C:\\train\\my config.toml", PARAMETERS)
    said = {name: getattr(config.settings, name) for name in set_names(config.settings)}
    assert said == {
        "max_steps": 1600,
        "optimizer": "AdamW8bit",
        "train_only": "U-Net",
        "network_module": "LoHa",
        "network_args": ("conv_dim=4",),
        "save_every_steps": 200,
    }
    assert (config.name, config.settings.resolution) == ("my config", 768)
    assert config.description == "Imported from a preset. Not taken over: loss_type."


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"unet_lr": 1e-4, "text_encoder_lr": 0}, {"unet_lr": 1e-4, "train_only": "U-Net"}),
        ({"unet_lr": "0", "text_encoder_lr": 5e-5}, {"text_encoder_lr": 5e-5, "train_only": "text encoder"}),
        ({"unet_lr": 1e-4, "text_encoder_lr": 5e-5}, {"unet_lr": 1e-4, "text_encoder_lr": 5e-5}),
        ({"unet_lr": 0, "text_encoder_lr": 0.0}, {}),
    ],
)
def test_kohya_ss_says_with_a_rate_of_zero_what_is_not_trained(rates: dict[str, Any], said: dict[str, Any]) -> None:
    settings = read({"LoRA_type": "Standard", "epoch": 2, **rates}).settings
    assert {name: getattr(settings, name) for name in set_names(settings)} == said


def test_a_zero_of_sd_scripts_is_a_value_where_it_means_something() -> None:
    text = "max_data_loader_n_workers = 0\nunet_lr = 0\ntext_encoder_lr = 0.0\nnoise_offset = 0\nmin_snr_gamma = 0"
    settings = parse_preset(text.encode(), "x.toml", PARAMETERS).settings
    assert {name: getattr(settings, name) for name in set_names(settings)} == {
        "loader_workers": 0, "unet_lr": 0, "text_encoder_lr": 0,
    }  # fmt: skip
    assert read({**KOHYA_SS, "max_data_loader_n_workers": "0"}).settings.loader_workers == 0


@pytest.mark.parametrize(
    ("told", "name", "value"),
    [
        ({"noise_offset_type": "Multires", "noise_offset": 0.05, "multires_noise_iterations": 8}, "noise_offset", None),
        ({"noise_offset_type": "Original", "multires_noise_iterations": 8}, "multires_iterations", None),
        ({"noise_offset_type": "Multires", "multires_noise_iterations": 8}, "multires_iterations", 8),
        ({"epoch": 10, "max_train_epochs": 4, "max_train_steps": 1_600}, "epochs", 4),
        ({"epoch": 10, "max_train_epochs": 4, "max_train_steps": 1_600}, "max_steps", None),
        ({"epoch": 10, "max_train_epochs": 9_999, "max_train_steps": 1_600}, "max_steps", 1_600),
        ({"max_train_epochs": "0", "max_train_steps": 1_600}, "max_steps", 1_600),
        ({"lr_warmup": "5"}, "lr_warmup", 0.05),
        ({"sdxl_cache_text_encoder_outputs": True}, "cache_text_encoder", "memory"),
        ({"sdxl": False, "sdxl_cache_text_encoder_outputs": True}, "cache_text_encoder", ""),
        (
            {"sdxl": False, "flux1_checkbox": True, "flux1_cache_text_encoder_outputs_to_disk": True},
            "cache_text_encoder",
            "disk",
        ),
        ({"sdxl": False, "sd3_checkbox": True, "max_token_length": "225"}, "max_token_length", ""),
        ({"lr_warmup": 5, "lr_warmup_steps": 200}, "lr_warmup", 200),
    ],
)
def test_of_fields_that_exclude_each_other_the_one_counts_that_the_program_takes(
    told: dict[str, Any], name: str, value: object
) -> None:
    assert getattr(read({**KOHYA_SS, **told}).settings, name) == value


def test_a_number_of_steps_to_keep_is_no_number_of_files() -> None:
    config = read({**KOHYA_SS, "save_last_n_steps": 1_000})
    assert config.settings.keep_last is None
    assert "save_last_n_steps" in config.description
    assert read({**KOHYA_SS, "save_last_n_epochs": 3}).settings.keep_last == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": "many", "network_dim": -4, "optimizer": "os.system", "lr_scheduler": ["x"], "mixed_precision": 7},
        {"epoch": float("nan"), "learning_rate": 10**400, "keep_tokens": True, "vae": ["a"], "max_resolution": "a,b,c"},
        {"lr_warmup": 10**400, "max_train_epochs": 10**400, "optimizer_args": "a=1 " * 50_000, "max_resolution": "1,"},
        {"optimizer_args": 'unclosed "', "network_args": 3, "base": None, "LoRA_type": "iA3", "caption_prefix": "a\0b"},
    ],
)
def test_what_does_not_fit_is_named_and_the_rest_is_taken(changes: dict[str, Any]) -> None:
    config = read({**KOHYA_SS, **changes})
    assert setting_problems(config.settings) == {}
    assert config.settings.batch_size == 2
    wrong = [
        key for key in changes if key in ("epoch", "network_dim", "optimizer", "LoRA_type", "learning_rate", "vae")
    ]
    assert all(key in config.description for key in wrong), config.description


def test_a_preset_of_two_thousand_keys_is_named_briefly() -> None:
    config = read({**KOHYA_SS, **{f"unknown_{number}": "x" for number in range(2_000)}})
    assert len(config.description) < 500
    assert "and more, 2002 in all" in config.description
    assert "S3CRET" not in repr(config)


@pytest.mark.parametrize(
    "content",
    [*(f"epoch = 3\n{key} = 0x{'f' * 5_000}".encode() for key in ("vae", "optimizer_type", "network_args", "unknown")),
     b"", b"{}", b"[1]", b"\xff\xfe", b"x = 1", b"{" * 5_000, b'{"a": {"b": 1}}', b"not toml"],
)  # fmt: skip
def test_what_is_no_preset_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_preset(content, "x.json", PARAMETERS)
    assert str(caught.value).endswith(".")


def test_an_export_of_ours_is_no_preset() -> None:
    assert not is_preset(b'name = "x"\n[settings]\nepochs = 3')
    assert not is_preset(b"\xff")


def test_prompts_are_lines_and_a_file_of_them_is_named() -> None:
    assert read({**KOHYA_SS, "sample_prompts": "a cat, red\na dog"}).settings.sample_prompts == ("a cat, red", "a dog")
    config = read({**KOHYA_SS, "sample_prompts": "/home/ann/prompts.txt", "max_grad_norm": 0.5, "train_norm": True})
    assert config.settings.sample_prompts == ()
    assert "sample_prompts" in config.description
    assert "max_grad_norm" in config.description
    assert "train_norm" in config.description


DATASETS = """
[general]
shuffle_caption = true
caption_extension = ".txt"

[[datasets]]
resolution = 768
batch_size = 4

  [[datasets.subsets]]
  image_dir = "/home/ann/img/10_fox"
  class_tokens = "sks fox"
  num_repeats = 10

  [[datasets.subsets]]
  is_reg = true
  image_dir = "C:\\\\data\\\\reg\\\\1_animal"
"""
HOW = (
    "Upload each as a dataset; the first step of a new job takes several, each with its repeats, its words and whether "
)


def test_folders_are_named_with_the_way_to_train_on_them_here() -> None:
    config = parse_preset(DATASETS.encode(), "fox.toml", PARAMETERS)
    settings = config.settings
    assert (settings.shuffle_caption, settings.resolution, settings.batch_size) == (True, 768, 4)
    assert config.description == (
        f"Imported from a preset. The folders were not taken over: 10_fox, 1_animal (regularisation). {HOW}"
        "it is for regularisation."
    )
    folders = {"train_data_dir": "/home/ann/img", "reg_data_dir": "/home/ann/reg/"}
    told = read({**KOHYA_SS, **folders}).description
    assert told.startswith("Imported from a preset. The folders were not taken over: img, reg (regularisation).")
    assert "Not taken over: additional_parameters" in told
    assert "/home/ann" not in told
    assert "folders" not in read({**KOHYA_SS, "train_data_dir": ""}).description


def test_a_file_of_folders_alone_says_how_to_train_on_them() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read({"datasets": [{"subsets": [{"image_dir": "/data/10_fox"}, 3, {"image_dir": 4}]}, "x"]})
    assert refused.value.hint.startswith("The folders were not taken over: 10_fox.")
    for nothing in ({"datasets": 3}, {"datasets": [{"subsets": 3}]}, {"datasets": []}):
        with pytest.raises(InvalidRequest) as refused:
            read(nothing)
        assert refused.value.hint.startswith("Import a preset")
