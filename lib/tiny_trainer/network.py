"""The patch denoiser: a frozen base, and low-rank changes to it that are trained with hand-written gradients.

A picture is cut into patches. For each noisy patch the network guesses the clean one, from the patch itself, its
place, the noise level, a coarse view of the whole noisy picture, and the caption. Every layer's weight is
``base + alpha / rank * up @ down``; the base never changes (https://arxiv.org/abs/2106.09685, section 4.1).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BASE_SEED = 20_240_229  # the base is the same for all trainings, as a base model is
BASE_NAME = "tiny-patch-denoiser-v1"
WIDTH = 512
BLOCKS = 2
GELU_SLOPE = np.float32(1.702)


@dataclass
class LoraLayer:
    """A frozen linear layer and its trained change; keeps what the backward pass needs."""

    base: Array
    down: Array
    up: Array
    scale: np.float32
    inputs: Array = field(init=False, repr=False)
    weight: Array = field(init=False, repr=False)
    down_gradient: Array = field(init=False, repr=False)
    up_gradient: Array = field(init=False, repr=False)

    def forward(self, inputs: Array) -> Array:
        """``inputs @ weight.T`` for inputs of shape (tokens, features)."""
        self.inputs = inputs
        change: Array = np.multiply(self.up, self.scale, dtype=np.float32) @ self.down
        self.weight = self.base + change
        outputs: Array = inputs @ self.weight.T
        return outputs

    def backward(self, gradient: Array) -> Array:
        """Keep the gradients of up and down; return the one of the inputs."""
        gradient_of_change = np.multiply(gradient, self.scale, dtype=np.float32)
        self.up_gradient = gradient_of_change.T @ (self.inputs @ self.down.T)
        self.down_gradient = (gradient_of_change @ self.up).T @ self.inputs
        inputs_gradient: Array = gradient @ self.weight
        return inputs_gradient


class PatchDenoiser:
    """Four layers: into the width, two residual blocks, out to the pixels of a patch."""

    def __init__(self, features: int, patch_values: int, *, rank: int, alpha: float, seed: int) -> None:
        base = np.random.default_rng(BASE_SEED)
        chance = np.random.default_rng([seed, 1])
        sizes = {"patch_in": (WIDTH, features, 1.0)}
        sizes |= {f"blocks_{number}_ff": (WIDTH, WIDTH, 1.0) for number in range(BLOCKS)}
        sizes["patch_out"] = (patch_values, WIDTH, 0.1)
        self.layers = {
            name: _layer(base, chance, outputs, inputs, gain=gain, rank=rank, scale=alpha / rank)
            for name, (outputs, inputs, gain) in sizes.items()
        }
        self._slopes: list[Array] = []

    def forward(self, inputs: Array) -> Array:
        """The clean patches as the network guesses them, (tokens, patch values)."""
        self._slopes = []
        hidden = self.layers["patch_in"].forward(inputs)
        for number in range(BLOCKS):
            hidden = hidden + self.layers[f"blocks_{number}_ff"].forward(self._activate(hidden))
        return self.layers["patch_out"].forward(self._activate(hidden))

    def backward(self, gradient: Array) -> None:
        """Leave the gradients of all adapters in their layers."""
        gradient = self.layers["patch_out"].backward(gradient) * self._slopes[BLOCKS]
        for number in reversed(range(BLOCKS)):
            through = self.layers[f"blocks_{number}_ff"].backward(gradient)
            gradient = gradient + through * self._slopes[number]
        self.layers["patch_in"].backward(gradient)

    def parameters(self) -> Iterator[tuple[Array, Array]]:
        """(values, gradient) of every adapter matrix; the values may be changed in place."""
        for layer in self.layers.values():
            yield layer.down, layer.down_gradient
            yield layer.up, layer.up_gradient

    def tensors(self, alpha: float) -> Mapping[str, Array]:
        """The adapters under the names kohya's trainers give them."""
        named: dict[str, Array] = {}
        for name, layer in self.layers.items():
            named[f"lora_unet_{name}.alpha"] = np.array(alpha, np.float32)
            named[f"lora_unet_{name}.lora_down.weight"] = layer.down
            named[f"lora_unet_{name}.lora_up.weight"] = layer.up
        return named

    def _activate(self, values: Array) -> Array:
        """GELU as ``x * sigmoid(1.702 x)`` (https://arxiv.org/abs/1606.08415, section 2); keeps its slope."""
        gate = np.float32(1) / (np.float32(1) + np.exp(-GELU_SLOPE * values))
        self._slopes.append(gate * (np.float32(1) + GELU_SLOPE * values * (np.float32(1) - gate)))
        activated: Array = values * gate
        return activated


def _layer(
    base: np.random.Generator,
    chance: np.random.Generator,
    outputs: int,
    inputs: int,
    *,
    gain: float,
    rank: int,
    scale: float,
) -> LoraLayer:
    # kohya's networks.lora: kaiming_uniform(a=sqrt(5)) for down, which is +-1/sqrt(inputs), and zeros for up.
    bound = 1 / np.sqrt(inputs)
    return LoraLayer(
        base=(base.standard_normal((outputs, inputs), np.float32) * np.float32(gain * bound)),
        down=chance.uniform(-bound, bound, (rank, inputs)).astype(np.float32),
        up=np.zeros((outputs, rank), np.float32),
        scale=np.float32(scale),
    )


class Adam:
    """Adam with bias correction (https://arxiv.org/abs/1412.6980, algorithm 1)."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.step_count = 0
        self.moments: list[tuple[Array, Array]] = []

    def step(self, network: PatchDenoiser) -> None:
        """Change every adapter by its gradient."""
        self.step_count += 1
        rate = self.learning_rate * np.sqrt(1 - 0.999**self.step_count) / (1 - 0.9**self.step_count)
        for number, (values, gradient) in enumerate(network.parameters()):
            if number == len(self.moments):
                self.moments.append((np.zeros_like(values), np.zeros_like(values)))
            first, second = self.moments[number]
            first += np.float32(0.1) * (gradient - first)
            second += np.float32(0.001) * (gradient * gradient - second)
            values -= np.float32(rate) * first / (np.sqrt(second) + np.float32(1e-8))
