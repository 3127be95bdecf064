"""What a new installation begins with: one sample dataset that the app draws itself, and three configurations."""

import io
import json
import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from filelock import FileLock
from PIL import Image, ImageDraw

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.files.json_file import write_json
from lib.errors import InvalidRequest, StoreError
from lib.jobs.training_settings import TrainingConfig, TrainingSettings

SAMPLE_NAME = "Sample shapes"
SAMPLE_SEED = 7
SAMPLE_COUNT = 16
SIDE_PX = 128
MARKER = ".first-start.json"

COLOURS = {
    "red": (214, 40, 40),
    "orange": (247, 127, 0),
    "yellow": (252, 203, 54),
    "green": (34, 139, 72),
    "teal": (23, 165, 160),
    "blue": (29, 78, 216),
    "purple": (126, 34, 176),
    "pink": (244, 114, 182),
    "white": (246, 246, 240),
    "black": (24, 24, 30),
}
Drawing = Callable[[ImageDraw.ImageDraw, tuple[int, int, int], random.Random], None]


def prepare(datasets: DatasetFolder, save_config: Callable[[TrainingConfig], TrainingConfig]) -> None:
    """Make the sample dataset and the configurations, once: what a person deleted does not come back.

    Raises:
        StoreError: The folder of the datasets cannot be written to.
    """
    try:
        _prepare(datasets, save_config)
    except OSError as error:
        raise StoreError(
            f"The folder of the datasets, {datasets.root}, cannot be prepared ({error.strerror or error}).",
            hint="Check that it belongs to the user who runs the dashboard, and the free disk space.",
        ) from error


def _prepare(datasets: DatasetFolder, save_config: Callable[[TrainingConfig], TrainingConfig]) -> None:
    marker = datasets.root / MARKER
    datasets.root.mkdir(parents=True, exist_ok=True)
    with FileLock(datasets.root / f"{MARKER}.lock"):
        done = _done(marker)
        steps: dict[str, Callable[[], None]] = {"dataset": partial(_make_dataset, datasets)}
        steps |= {f"config {config.name}": partial(_make_config, config, save_config) for config in CONFIGS}
        for name, make in steps.items():
            if name not in done:
                make()
                done.append(name)
                write_json(marker, {"done": done})


def _done(marker: Path) -> list[str]:
    try:
        return list(json.loads(marker.read_bytes())["done"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def _make_dataset(datasets: DatasetFolder) -> None:
    # A start that was killed in the middle left a part of it: the same bytes again change nothing.
    known = {dataset.name: dataset for dataset in datasets.list()}
    dataset = known.get(SAMPLE_NAME) or datasets.create(SAMPLE_NAME)
    for number, (image, caption) in enumerate(sample_images(SAMPLE_SEED), start=1):
        content = io.BytesIO()
        image.save(content, format="PNG")
        content.seek(0)
        datasets.import_file(dataset.id, f"sample-{number:02d}.png", content)
        datasets.import_file(dataset.id, f"sample-{number:02d}.txt", io.BytesIO(caption.encode()))


def _make_config(config: TrainingConfig, save_config: Callable[[TrainingConfig], TrainingConfig]) -> None:
    try:
        save_config(config)
    except InvalidRequest as error:
        if "name" not in error.fields:  # the name is taken: a start that was killed got this far
            raise


def sample_images(seed: int, count: int = SAMPLE_COUNT) -> Sequence[tuple[Image.Image, str]]:
    """Pictures with their captions, the same for the same seed: every picture another shape and other colours."""
    chance = random.Random(seed)
    names = list(COLOURS)
    shapes = list(SHAPES.items())
    images = []
    for number in range(count):
        shape, draw_shape = shapes[number % len(shapes)]
        colour, background = chance.sample(names, 2)
        image = _draw(draw_shape, colour, background, chance)
        images.append((image, f"{colour} {shape}, {background} background"))
    return images


def _draw(draw_shape: Drawing, colour: str, background: str, chance: random.Random) -> Image.Image:
    scale = 4  # drawn large and reduced, for smooth edges
    image = Image.new("RGB", (SIDE_PX * scale, SIDE_PX * scale), COLOURS[background])
    draw_shape(ImageDraw.Draw(image), COLOURS[colour], chance)
    return image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)


SIDE = SIDE_PX * 4
Colour = tuple[int, int, int]


def _disc(draw: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    draw.ellipse(_box(chance), fill=colour)


def _square(draw: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    draw.rectangle(_box(chance), fill=colour)


def _ring(draw: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    draw.ellipse(_box(chance), outline=colour, width=SIDE // 10)


def _triangle(draw: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    left, top, right, bottom = _box(chance)
    draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=colour)


def _cross(draw: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    left, top, right, bottom = _box(chance)
    third_x, third_y = (right - left) / 3, (bottom - top) / 3
    draw.rectangle((left + third_x, top, right - third_x, bottom), fill=colour)
    draw.rectangle((left, top + third_y, right, bottom - third_y), fill=colour)


def _stripes(draw: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    width = SIDE // chance.choice((4, 6, 8))
    for left in range(0, SIDE, width * 2):
        draw.rectangle((left, 0, left + width - 1, SIDE), fill=colour)


def _checks(draw: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    side = SIDE // chance.choice((2, 4))
    for left in range(0, SIDE, side):
        for top in range(0, SIDE, side):
            if (left + top) // side % 2:
                draw.rectangle((left, top, left + side - 1, top + side - 1), fill=colour)


def _sunset(draw: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    start = draw.im.getpixel((0, 0))
    for top in range(SIDE):
        part = top / SIDE
        mixed = tuple(round(a + (b - a) * part) for a, b in zip(start, colour, strict=True))
        draw.line((0, top, SIDE, top), fill=(mixed[0], mixed[1], mixed[2]))
    draw.ellipse((SIDE * 0.35, SIDE * 0.3, SIDE * 0.65, SIDE * 0.6), fill=colour)


def _waves(draw: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    phase = chance.uniform(0, math.tau)
    for middle in range(SIDE // 8, SIDE, SIDE // 4):
        line = [(x, middle + SIDE / 16 * math.sin(x / SIDE * 3 * math.tau + phase)) for x in range(0, SIDE, 8)]
        draw.line(line, fill=colour, width=SIDE // 12, joint="curve")


def _box(chance: random.Random) -> tuple[float, float, float, float]:
    """A box around the middle, not quite centred."""
    x, y = (SIDE * chance.uniform(0.42, 0.58) for _ in range(2))
    radius = SIDE * chance.uniform(0.28, 0.38)
    return (x - radius, y - radius, x + radius, y + radius)


SHAPES: dict[str, Drawing] = {
    "circle": _disc,
    "stripes": _stripes,
    "triangle": _triangle,
    "gradient": _sunset,
    "square": _square,
    "checks": _checks,
    "ring": _ring,
    "waves": _waves,
    "cross": _cross,
}

CONFIGS = (
    TrainingConfig(
        id="",
        name="Quick check (CPU)",
        description=(
            "Runs on any machine in about a minute and needs nothing else. It checks the whole way from dataset "
            "to download; its result is not a LoRA for an image model."
        ),
        settings=TrainingSettings(
            trainer="tiny",
            epochs=10,
            learning_rate=2e-3,
            batch_size=2,
            resolution=128,
            network_dim=16,
            network_alpha=16,
            repeats=24,
            sample_prompts=("blue circle, yellow background", "red triangle, white background"),
        ),
        is_default=True,
    ),
    TrainingConfig(
        id="",
        name="Stable Diffusion 1.5",
        description=(
            "A LoRA for Stable Diffusion 1.5 with kohya's sd-scripts. Needs a GPU with 8 GB, a checkout of "
            "sd-scripts (setting SD_SCRIPTS_DIR) and the base model: its name, downloaded at first, or its path."
        ),
        settings=TrainingSettings(
            trainer="sd-scripts",
            base_model="stable-diffusion-v1-5/stable-diffusion-v1-5",
            epochs=10,
            learning_rate=1e-4,
            batch_size=2,
            resolution=512,
            network_dim=16,
            network_alpha=8,
            repeats=10,
            sample_prompts=("a photo, best quality",),
            extra={"architecture": "sd15", "mixed_precision": "fp16"},
        ),
    ),
    TrainingConfig(
        id="",
        name="SDXL",
        description=(
            "A LoRA for Stable Diffusion XL with kohya's sd-scripts. Needs a GPU with 12 GB, a checkout of "
            "sd-scripts (setting SD_SCRIPTS_DIR) and the base model: its name, downloaded at first, or its path."
        ),
        settings=TrainingSettings(
            trainer="sd-scripts",
            base_model="stabilityai/stable-diffusion-xl-base-1.0",
            epochs=10,
            learning_rate=1e-4,
            batch_size=1,
            resolution=1024,
            network_dim=16,
            network_alpha=8,
            repeats=10,
            sample_prompts=("a photo, best quality",),
            extra={"architecture": "sdxl", "mixed_precision": "bf16"},
        ),
    ),
)
