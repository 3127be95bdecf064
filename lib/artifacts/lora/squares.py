"""Squares of Frobenius norms of products that are never built: Gram forms.

‖BA‖² = Σ(BᵀB ∘ AAᵀ); a tucker core is folded between two Grams; LoKr ‖w1 ⊗ w2‖ = ‖w1‖·‖w2‖; LoHa is the product of
the factors' row- and column-wise products, or its rows a few at a time where that is cheaper.

Sums are 64-bit. Factors that are not small are summed in short 32-bit stretches first (relative error of a Gram below
2e-7); where a product cancels so much that this could show, it is computed again in 64 bits alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lib.artifacts.lora import arrays
from lib.artifacts.lora.arrays import Numbers, Raw
from lib.artifacts.lora.header import Tensor
from lib.artifacts.lora.keys import DOWN, MID, UP
from lib.artifacts.lora.modules import Kind, numel

STRETCH_VALUES = 1 << 16
_MOST_CANCELLED = 256  # ‖A‖²‖B‖² / ‖BA‖²; about the rank for factors that point anywhere
_LARGEST_GRAM, _LARGEST_ROW, _MOST_MULTIPLICATIONS = 2048, 1 << 24, 1 << 36
Matrix = NDArray[np.float64]


class TooLarge(Exception):
    """A shape that no trainer writes would need far more memory or time than the module has bytes."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A tensor's stored values as a matrix, first dimension by all others; converted a stretch at a time.

    ``is_wide`` converts to 64 bits first. Small ones always are: it costs nothing.
    """

    values: Raw
    tensor: Tensor
    is_wide: bool = False

    def __post_init__(self) -> None:
        if self.values.size <= STRETCH_VALUES:
            object.__setattr__(self, "is_wide", True)

    def widened(self) -> "Factor":
        """The same in 64 bits."""
        return replace(self, is_wide=True)

    @property
    def rows(self) -> int:
        return self.tensor.shape[0] if self.tensor.shape else 1

    @property
    def columns(self) -> int:
        return numel(self.tensor) // self.rows

    def dense(self) -> Matrix:
        """All of it in 64 bits."""
        return self._numbers(self._matrix()).astype(np.float64)

    def gram_of_rows(self) -> Matrix:
        """A Aᵀ."""
        matrix, total = self._matrix(), self._empty_gram(self.rows)
        step = max(64, STRETCH_VALUES // self.rows)
        for start in range(0, self.columns, step):
            part = self._numbers(matrix[:, start : start + step])
            total += part @ part.T
        return total

    def gram_of_columns(self) -> Matrix:
        """AᵀA."""
        matrix, total = self._matrix(), self._empty_gram(self.columns)
        step = max(64, STRETCH_VALUES // self.columns)
        for start in range(0, self.rows, step):
            part = self._numbers(matrix[start : start + step])
            total += part.T @ part
        return total

    def square(self) -> float:
        """Sum of squares."""
        total = 0.0
        for start in range(0, self.values.size, STRETCH_VALUES):
            part = self._numbers(self.values[start : start + STRETCH_VALUES]).astype(np.float64)
            total += float(part @ part)
        return total

    def _matrix(self) -> Raw:
        return self.values.reshape(self.rows, self.columns)

    def _numbers(self, part: Raw) -> Numbers:
        found = arrays.numbers(part, self.tensor.dtype)
        return found.astype(np.float64) if self.is_wide else found

    def _empty_gram(self, size: int) -> Matrix:
        if size > _LARGEST_GRAM and size * size > 2 * self.values.size:
            raise TooLarge
        return np.zeros((size, size))


def square_of(kind: Kind, factors: Mapping[str, Factor], stop: Callable[[], None]) -> float:
    """‖ΔW‖² of a module without its scale; NaN or infinite if its weights are.

    Args:
        kind: LoRA, LoHa, LoKr or full.
        factors: Tensors by part; their shapes fit.
        stop: Called often during long work; may raise.

    Raises:
        TooLarge: It cannot be done within reason.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if kind is Kind.LORA:
            down, up = factors[DOWN], factors[UP]
            if core := factors.get(MID):
                return _core_square(core, up.gram_of_columns(), down.gram_of_rows())
            return _product_square(up, down, stop)
        if kind is Kind.LOKR:
            return _kronecker_half(factors, 1, stop) * _kronecker_half(factors, 2, stop)
        if kind is Kind.LOHA:
            return _hadamard_square(factors, stop)
        return factors["diff"].square()


def _product_square(up: Factor, down: Factor, stop: Callable[[], None]) -> float:
    """‖up @ down‖². With a rank above a side the product is no larger than a factor, so its rows are cheaper."""
    if down.rows <= min(up.rows, down.columns):
        outer, inner = up.gram_of_columns(), down.gram_of_rows()
        square = float(np.sum(outer * inner))
        is_lossy = square * _MOST_CANCELLED < float(np.trace(outer)) * float(np.trace(inner))
        if is_lossy and not (up.is_wide and down.is_wide):
            return _product_square(up.widened(), down.widened(), stop)
        return square
    first, second = up.dense(), down.dense()
    return _square_by_rows(lambda rows: first[rows] @ second, up.rows, down.columns, down.rows, stop)


def _core_square(core: Factor, first: Matrix, second: Matrix) -> float:
    """‖core ×₁ a ×₂ b‖² from the Grams of a and b."""
    dense = core.dense().reshape(len(first), len(second), -1)
    folded = np.tensordot(second, np.tensordot(first, dense, 1), axes=(1, 1))
    return float(np.sum(folded.transpose(1, 0, 2) * dense))


def _kronecker_half(factors: Mapping[str, Factor], place: int, stop: Callable[[], None]) -> float:
    if full := factors.get(f"lokr_w{place}"):
        return full.square()
    first, second = factors[f"lokr_w{place}_a"], factors[f"lokr_w{place}_b"]
    if core := factors.get(f"lokr_t{place}"):
        return _core_square(core, first.gram_of_rows(), second.gram_of_rows())
    return _product_square(first, second, stop)


def _hadamard_square(factors: Mapping[str, Factor], stop: Callable[[], None]) -> float:
    a1, b1, a2, b2 = (factors[f"hada_{name}"].dense() for name in ("w1_a", "w1_b", "w2_a", "w2_b"))
    cores = factors.get("hada_t1"), factors.get("hada_t2")
    if cores[0] is None and cores[1] is None:
        rows, columns, ranks = len(a1), b1.shape[1], a1.shape[1] * a2.shape[1]
        if a2.shape[0] != rows or b2.shape[1] != columns:
            raise ValueError("the halves differ in shape")
        gram_cost, rows_cost = (rows + columns) * ranks**2, rows * columns * (len(b1) + len(b2))
        if ranks <= _LARGEST_GRAM and gram_cost <= min(rows_cost, _MOST_MULTIPLICATIONS):
            return float(np.sum(_gram_of_rows_products(a1, a2) * _gram_of_rows_products(b1.T, b2.T)))
    first, first_columns, first_rows = _half(a1, b1, cores[0])
    second, second_columns, second_rows = _half(a2, b2, cores[1])
    if (first_rows, first_columns) != (second_rows, second_columns):
        raise ValueError("the halves differ in shape")
    depth = len(b1) + len(b2)
    return _square_by_rows(lambda rows: first(rows) * second(rows), first_rows, first_columns, depth, stop)


def _gram_of_rows_products(first: Matrix, second: Matrix) -> Matrix:
    """PᵀP, where a row of P holds all products of a value of ``first``'s row and one of ``second``'s."""
    size = first.shape[1] * second.shape[1]
    total = np.zeros((size, size))
    step = max(64, STRETCH_VALUES // size)
    for start in range(0, len(first), step):
        rows = slice(start, start + step)
        products = (first[rows, :, None] * second[rows, None, :]).reshape(-1, size)
        total += products.T @ products
    return total


def _half(a: Matrix, b: Matrix, core: Factor | None) -> tuple[Callable[[slice], Matrix], int, int]:
    """Some rows of one half of LoHa, and the counts of its columns and rows.

    With a core, LyCORIS ``rebuild_tucker``: einsum("i j k l, i p, j r -> p r k l", t, a, b).
    """
    if core is None:
        return (lambda rows: a[rows] @ b), b.shape[1], len(a)
    dense = core.dense().reshape(len(a), len(b), -1)

    def rows_of(rows: slice) -> Matrix:
        left = np.tensordot(a[:, rows], dense, axes=(0, 0))
        found: Matrix = np.tensordot(left, b, axes=(1, 0)).reshape(left.shape[0], -1)
        return found

    return rows_of, b.shape[1] * dense.shape[2], a.shape[1]


def _square_by_rows(
    rows_of: Callable[[slice], Matrix], rows: int, columns: int, depth: int, stop: Callable[[], None]
) -> float:
    if columns > _LARGEST_ROW or rows * columns * depth > _MOST_MULTIPLICATIONS:
        raise TooLarge
    total = 0.0
    step = max(1, 8 * STRETCH_VALUES // columns)
    for start in range(0, rows, step):
        stop()
        part = rows_of(slice(start, start + step)).reshape(-1)
        total += float(part @ part)
    return total
