"""Vector and matrix routines on padded arrays, with an order of operations no processor changes.

Every array here is *padded*: it is C-contiguous, and its last axis has a whole number of vectors of
64 bytes (16 float32 or 8 float64), zero beyond the part in use. So no routine has a remainder loop.
It should start on a 64-byte boundary: a load that straddles two cache lines takes twice as long.

The routines are LLVM code on vectors of 64 bytes, whatever the processor offers. For AVX2 the
compiler splits each operation in halves and gets the same bits as for AVX-512: the partial sums and
the tree that adds them are written here, not chosen by the compiler. Each routine has a plain twin
that says what it computes, and takes its place when Numba's compiler is switched off.

The routines see bare pointers: nothing checks lengths or overlap, not even Numba's boundscheck.
Keeping what their docstrings ask is the caller's part.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from vgcore._typing import Array
from vgcore.kernels.jit import helper, kernel

BYTES = 64  # the length of a vector, and the alignment of every row

# A vector is rescaled where its square norm leaves these bounds: far from where its squares or its
# product with a matrix of any sane size would leave the range of numbers.
_BOUNDS = {4: (2.0**-100, 2.0**80), 8: (2.0**-400, 2.0**400)}  # by the bytes of an entry

# Columns (in vectors) of the blocks of the vector-matrix products, widest first: four or more
# chains of fused multiply-adds hide their latency. Blocks of eight spill on AVX2, and take 1.4
# times as long. An element is one sum, in the order of the rows, whatever the block.
_BLOCKS = {True: (8, 4, 2, 1), False: (4, 2, 1)}

# Rows and columns (in vectors) of the tiles of `_matmat`, with and without AVX-512. An element is
# one sum whatever the tile. On AVX2 the large tile spills and takes three times as long.
_MATMAT_TILES = {True: ((8, 4, 2, 1), (2, 1)), False: ((6, 4, 2, 1), (1,))}

# `_multiply_rows` takes four rows that share a matrix at a time. That pays for matrices of three
# vectors and more. A row alone takes up to eight in one loop; a width known to the compiler saves
# half the time at 16 units, a tenth at 64 in float64.
_ROWS, FEW, _WIDTHS = 4, 4, (1, 2, 3, 4, 8)

# A wide matrix is stored in panels of its columns, one after another: a product then loads it from
# one end to the other, which takes 0.6 of the time at 256 units in float64 (Zen 5). They are of
# nearly the same size, at most so many vectors: what a row takes at a time, or four rows do.
_LONG, _SHORT = 8, 4

_CHAINS = 4  # partial results of the largest modulus, whose order does not matter


def padded(n: int, dtype: npt.DTypeLike) -> int:
    """Return `n` rounded up to a whole number of vectors of `dtype`."""
    lanes = BYTES // np.dtype(dtype).itemsize
    return -(-n // lanes) * lanes


def panel_size(n: int, dtype: npt.DTypeLike, K: int) -> int:
    """Return the most vectors in a row of a panel of matrices that K rows share."""
    return (
        _SHORT if K >= _ROWS and padded(n, dtype) * np.dtype(dtype).itemsize > 2 * BYTES else _LONG
    )


def aligned_zeros(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return zeros that start on a 64-byte boundary; NumPy by itself promises 16 bytes."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = np.zeros(size + BYTES, np.uint8)
    first = -buffer.ctypes.data % BYTES
    return buffer[first : first + size].view(dtype).reshape(shape)


class _Code:
    """The body of one routine under construction: LLVM code on vectors of 64 bytes."""

    def __init__(self, function: ir.Function, bits: int, wide: bool) -> None:
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.scalar = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.lanes = 8 * BYTES // bits
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.wide = wide
        self.align = bits // 8  # promising 64 gains nothing, and a stray array would be a crash
        self.zero = self.spread(ir.Constant(self.scalar, 0.0))

    def variable(self, value: ir.Value) -> ir.AllocaInstr:
        """Return a variable that holds `value`; LLVM keeps it in a register."""
        slot = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, slot)
        return slot

    def spread(self, scalar: ir.Value) -> ir.Value:
        """Return a vector with `scalar` in each lane."""
        word = ir.IntType(32)
        kind = ir.VectorType(scalar.type, self.lanes)
        one = self.builder.insert_element(
            ir.Constant(kind, ir.Undefined), scalar, ir.Constant(word, 0)
        )
        return self.shuffle(one, [0] * self.lanes)

    def shuffle(self, vector: ir.Value, lanes: Sequence[int]) -> ir.Value:
        """Return a vector of these lanes of `vector`."""
        word = ir.IntType(32)
        mask = ir.Constant(ir.VectorType(word, len(lanes)), [ir.Constant(word, i) for i in lanes])
        return self.builder.shuffle_vector(vector, vector, mask)

    def at(self, pointer: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """Return `pointer` moved by the sum of `offsets`, counted in what it points to."""
        for offset in offsets:
            if isinstance(offset, int):
                offset = _int(offset)
            pointer = self.builder.gep(pointer, [offset], inbounds=True)
        return pointer

    def load(self, pointer: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """Return the vector at `pointer` moved by `offsets`."""
        return self.builder.load(self.at(pointer, *offsets), align=self.align)

    def store(self, value: ir.Value, pointer: ir.Value, *offsets: ir.Value | int) -> None:
        """Store a vector at `pointer` moved by `offsets`."""
        self.builder.store(value, self.at(pointer, *offsets), align=self.align)

    def vectors(self, pointer: ir.Value) -> ir.Value:
        """Return `pointer` as a pointer to vectors."""
        return self.builder.bitcast(pointer, self.vector.as_pointer())

    def width(self, *shape: ir.Value) -> ir.Value:
        """Return how many vectors an array of `shape` holds."""
        size = functools.reduce(self.builder.mul, shape)
        return self.builder.udiv(size, _int(self.lanes))

    def call(self, name: str, *vectors: ir.Value) -> ir.Value:
        """Return an LLVM intrinsic of vectors; a plain external function is all it needs to be."""
        kind = ir.FunctionType(self.vector, [self.vector] * len(vectors))
        bits = 8 * BYTES // self.lanes
        function = cgutils.get_or_insert_function(
            self.builder.module, kind, f"llvm.{name}.v{self.lanes}f{bits}"
        )
        return self.builder.call(function, vectors)

    def accumulate(self, total: ir.AllocaInstr, a: ir.Value, b: ir.Value) -> None:
        """Add a * b to the variable `total`, rounding once."""
        self.builder.store(self.call("fma", a, b, self.builder.load(total)), total)

    def fold(self, vector: ir.Value, join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """Join the lanes of a vector in the order of `_tree`, halves at a time."""
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            halves = []
            for first in (0, lanes):
                halves.append(self.shuffle(vector, range(first, first + lanes)))
            vector = join(*halves)
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def folds(self, vectors: list[ir.Value]) -> ir.Value:
        """Return the sums of as many vectors as a vector has lanes, each the bits of its `fold`."""
        word, near = ir.IntType(32), 16 // self.align  # a shuffle within 16 bytes is cheapest
        kind = ir.VectorType(word, self.lanes)
        sizes = [self.lanes >> k for k in range(1, self.lanes.bit_length())]
        places = [[i] * self.lanes for i in range(self.lanes)]
        for size in sizes:
            first, _ = _fold_masks(self.lanes, size, near)
            pairs = zip(places[::2], places[1::2], strict=True)
            places = [[(a + b)[lane] for lane in first] for a, b in pairs]
        some = [vectors[places[0].index(i)] for i in range(self.lanes)]
        for size in sizes:
            masks = [
                ir.Constant(kind, [ir.Constant(word, lane) for lane in mask])
                for mask in _fold_masks(self.lanes, size, near)
            ]
            some = [
                self.builder.fadd(*(self.builder.shuffle_vector(a, b, mask) for mask in masks))
                for a, b in zip(some[::2], some[1::2], strict=True)
            ]
        return some[0]

    def turn(self, vectors: list[ir.Value]) -> None:
        """Turn squares of as many entries as there are vectors, a power of two, in their place.

        By exchanging lanes of pairs of them; as many as one has lanes are one square.
        """
        word, L = ir.IntType(32), self.lanes
        kind = ir.VectorType(word, L)
        for s in (1 << bit for bit in range(len(vectors).bit_length() - 1)):
            masks = [
                ir.Constant(kind, [ir.Constant(word, lane) for lane in mask])
                for mask in (
                    [lane if not lane & s else L + lane - s for lane in range(L)],
                    [lane + s if not lane & s else L + lane for lane in range(L)],
                )
            ]
            for i in range(len(vectors)):
                if not i & s:
                    pair = vectors[i], vectors[i + s]
                    for place, mask in zip((i, i + s), masks, strict=True):
                        vectors[place] = self.builder.shuffle_vector(*pair, mask)

    def opaque(self, value: ir.Value) -> ir.Value:
        """Return an integer of which LLVM cannot tell where it comes from.

        Where it sees how, it computes an address from the one before, and loads then wait.
        """
        kind = ir.FunctionType(value.type, [value.type])
        return self.builder.asm(kind, "", "=r,0", [value], side_effect=False)

    @contextmanager
    def steps(self, done: ir.AllocaInstr, total: ir.Value, size: int) -> Iterator[ir.Value]:
        """Repeat the body at each multiple of `size` from the variable `done` while `size` fits."""
        first, stop = self.builder.load(done), self.builder.sub(total, _int(size - 1))
        with cgutils.for_range_slice(self.builder, first, stop, _int(size)) as (index, _):
            yield index
            self.builder.store(self.builder.add(index, _int(size)), done)

    @contextmanager
    def rolled(self, first: ir.Value, stop: ir.Value) -> Iterator[ir.Value]:
        """Repeat the body for first <= index < stop, and never unroll it.

        A tile fills the registers: where LLVM unrolls its loop, they spill, and it takes twice as
        long. Along short rows the code around an unrolled loop costs more than it saves.
        """
        with cgutils.for_range_slice(self.builder, first, stop, _int(1)) as (index, _):
            yield index
            last = self.builder.block
        module = self.builder.module
        rule = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
        loop = module.add_metadata([rule, _int(len(module.metadata))])  # no two are alike
        loop.operands = (loop, rule)
        last.terminator.set_metadata("llvm.loop", loop)


def _fold_masks(lanes: int, size: int, near: int) -> list[list[int]]:
    """Return which lanes of two vectors to add to halve their groups of 2 `size` lanes.

    Groups of the first vector come first: all, or where they are short those of each `near` lanes.
    """
    span = lanes if size >= near else near
    return [
        [
            vector * lanes + base + group + half + i
            for base in range(0, lanes, span)
            for vector in (0, 1)
            for group in range(0, span, 2 * size)
            for i in range(size)
        ]
        for half in (0, size)
    ]


@contextmanager
def _counted(builder: ir.IRBuilder, stop: ir.Value) -> Iterator[ir.Value]:
    """Repeat the body for 0 <= index < stop; LLVM may unroll it."""
    with cgutils.for_range(builder, stop) as loop:
        yield loop.index


def _int(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(64), value)


def _tree(parts: list[ir.Value], join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Join a power of two of values in a balanced tree: the first half with the second, and on."""
    while (half := len(parts) // 2) > 0:
        parts = [join(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
    return parts[0]


def _write_vecmat(
    code: _Code,
    x: ir.Value,
    _x_size: ir.Value,
    M: ir.Value,
    n: ir.Value,
    P: ir.Value,
    start: ir.Value,
    _start_size: ir.Value,
    y: ir.Value,
    _y_size: ir.Value,
) -> None:
    """Write y = start + x[:n] @ M, where M is (n, P)."""
    builder = code.builder
    M, start, y = code.vectors(M), code.vectors(start), code.vectors(y)
    width, done = code.width(P), code.variable(_int(0))
    for columns in _BLOCKS[code.wide]:
        with code.steps(done, width, columns) as column:
            sums = [code.variable(code.load(start, column, c)) for c in range(columns)]
            with cgutils.for_range(builder, n) as row:
                factor = code.spread(builder.load(code.at(x, row.index)))
                for c, total in enumerate(sums):
                    entry = code.load(M, builder.mul(row.index, width), column, c)
                    code.accumulate(total, factor, entry)
            for c, total in enumerate(sums):
                code.store(builder.load(total), y, column, c)
    builder.ret_void()


def _write_multiply_rows(
    code: _Code,
    X: ir.Value,
    _X_size: ir.Value,
    M: ir.Value,
    D: ir.Value,
    n: ir.Value,
    P: ir.Value,
    most: ir.Value,
    reverse: ir.Value,
    start: ir.Value,
    _start_size: ir.Value,
    Y: ir.Value,
    _Y_size: ir.Value,
    squares: ir.Value,
    R: ir.Value,
) -> None:
    """Write Y[r] = start[r] + X[r, :n] @ M[r // K] for R = D K rows, and the square norms of X.

    Returns 1 where one is out of range.
    """
    builder = code.builder
    M, start, Y = (code.vectors(array) for array in (M, start, Y))
    K = builder.udiv(R, D)
    last = builder.sub(n, _int(1))
    outside = code.variable(_int(0))

    def tile(
        panel: ir.Value,
        stride: ir.Value,
        begin: ir.Value | int,
        size: int,
        width: ir.Value,
        rows: list[ir.Value],
        column: ir.Value,
        first: ir.Value,
        step: ir.Value,
    ) -> None:
        """Write `size` vectors of some rows, from `column` on: those from `begin` on in a panel."""
        sources = [code.at(X, builder.mul(row, P)) for row in rows]
        vectors: list[ir.Value] = [_int(c) for c in range(size)]
        if size > 2 and not isinstance(step, ir.Constant):
            # vectors in the order of the rows, so that all of the panel is loaded one way
            turned = builder.select(
                builder.icmp_signed("<", step, _int(0)), _int(size - 1), _int(0)
            )
            vectors = [code.opaque(builder.add(turned, builder.mul(step, c))) for c in vectors]
        offsets = [
            [builder.add(builder.add(builder.mul(row, width), column), c) for c in vectors]
            for row in rows
        ]
        sums = [[code.variable(code.zero) for _ in line] for line in offsets]
        for line, totals in zip(offsets, sums, strict=True):
            for offset, total in zip(line, totals, strict=True):
                builder.store(code.load(start, offset), total)
        # one or two vectors gain from an unrolled loop, wider tiles lose 3 % and compile longer
        loop = code.rolled(_int(0), n) if len(rows) * size > 2 else _counted(builder, n)
        with loop as count:
            index = builder.add(first, builder.mul(count, step))
            element = code.at(panel, builder.mul(index, stride), begin)
            values = [code.load(element, c) for c in vectors]
            for source, totals in zip(sources, sums, strict=True):
                factor = code.spread(builder.load(code.at(source, index)))
                for value, total in zip(values, totals, strict=True):
                    code.accumulate(total, factor, value)
        for line, totals in zip(offsets, sums, strict=True):
            for offset, total in zip(line, totals, strict=True):
                code.store(builder.load(total), Y, offset)

    def measure(row: ir.Value, width: ir.Value) -> None:
        square = _square(code, code.at(code.vectors(X), builder.mul(row, width)), width)
        builder.store(square, code.at(squares, row))
        low, high = (ir.Constant(code.scalar, bound) for bound in _BOUNDS[code.align])
        above = builder.fcmp_ordered(">=", square, low)
        inside = builder.and_(above, builder.fcmp_ordered("<=", square, high))
        out = builder.zext(builder.not_(inside), ir.IntType(64))
        builder.store(builder.or_(builder.load(outside), out), outside)

    width = code.width(P)
    few = builder.icmp_signed("<=", width, _int(FEW))
    back = builder.select(few, _int(0), reverse)
    order = builder.mul(back, last), builder.sub(_int(1), builder.mul(_int(2), back))
    row_done, column_done = code.variable(_int(0)), code.variable(_int(0))

    @contextmanager
    def matrices() -> Iterator[tuple[ir.Value, ir.Value]]:
        """Loop over the matrices, each with the row after the last that it is for."""
        with cgutils.for_range(builder, D) as draw:
            matrix = code.at(M, builder.mul(draw.index, builder.mul(n, width)))
            yield matrix, builder.mul(builder.add(draw.index, _int(1)), K)

    def panels(matrix: ir.Value, most: int, rows: list[ir.Value]) -> None:
        """Write some rows, panel after panel of at most so many vectors."""
        count = builder.udiv(builder.add(width, _int(most - 1)), _int(most))
        least, longer = builder.udiv(width, count), builder.urem(width, count)
        with cgutils.for_range(builder, count) as loop:
            turned = builder.sub(builder.sub(count, _int(1)), loop.index)
            index = builder.select(builder.icmp_signed("==", back, _int(1)), turned, loop.index)
            more = builder.icmp_signed("<", index, longer)
            size = builder.add(least, builder.zext(more, ir.IntType(64)))
            column = builder.add(builder.mul(index, least), builder.select(more, index, longer))
            part = code.at(matrix, builder.mul(column, n))
            if code.wide:  # the whole panel at once
                for known in range(most // 2, most + 1):
                    with builder.if_then(builder.icmp_signed("==", size, _int(known))):
                        tile(part, _int(known), 0, known, width, rows, column, *order)
            else:
                builder.store(_int(0), column_done)
                for some in _BLOCKS[False] if len(rows) == 1 else (1,):
                    with code.steps(column_done, size, some) as begin:
                        place = builder.add(column, begin)
                        tile(part, size, begin, some, width, rows, place, *order)

    with builder.if_then(builder.icmp_signed("==", most, _int(_SHORT))):
        with matrices() as (matrix, stop):
            for count in (_ROWS, 1):
                with code.steps(row_done, stop, count) as row:
                    rows = [builder.add(row, _int(r)) for r in range(count)]
                    panels(matrix, _SHORT, rows)
                    for line in rows:
                        measure(line, width)
        builder.ret(builder.load(outside))
    for size in _WIDTHS:
        known = order if size > FEW else (_int(0), _int(1))
        with builder.if_then(builder.icmp_signed("==", width, _int(size))):
            with matrices() as (matrix, stop), code.steps(row_done, stop, 1) as row:
                tile(matrix, _int(size), 0, size, _int(size), [row], _int(0), *known)
                measure(row, _int(size))
            builder.ret(builder.load(outside))
    with matrices() as (matrix, stop), code.steps(row_done, stop, 1) as row:
        panels(matrix, _LONG, [row])
        measure(row, width)
    builder.ret(builder.load(outside))


def _write_matmat(
    code: _Code,
    A: ir.Value,
    m: ir.Value,
    stride: ir.Value,
    B: ir.Value,
    n: ir.Value,
    P: ir.Value,
    C: ir.Value,
    _C_rows: ir.Value,
    _C_columns: ir.Value,
) -> None:
    """Write C = A[:, :n] @ B, where A is (m, stride) and B is (n, P)."""
    builder = code.builder
    B, C = code.vectors(B), code.vectors(C)
    width = code.width(P)
    row_sizes, column_sizes = _MATMAT_TILES[code.wide]
    column_done = code.variable(_int(0))
    for columns in column_sizes:
        with code.steps(column_done, width, columns) as column:
            row_done = code.variable(_int(0))
            for rows in row_sizes:
                with code.steps(row_done, m, rows) as row:
                    lines = [builder.add(row, _int(r)) for r in range(rows)]
                    A_rows = [code.at(A, builder.mul(line, stride)) for line in lines]
                    sums = [[code.variable(code.zero) for _ in range(columns)] for _ in lines]
                    with cgutils.for_range(builder, n) as inner:
                        B_row = code.at(B, builder.mul(inner.index, width), column)
                        values = [code.load(B_row, c) for c in range(columns)]
                        for A_row, totals in zip(A_rows, sums, strict=True):
                            factor = code.spread(builder.load(code.at(A_row, inner.index)))
                            for value, total in zip(values, totals, strict=True):
                                code.accumulate(total, factor, value)
                    for line, totals in zip(lines, sums, strict=True):
                        for c, total in enumerate(totals):
                            code.store(builder.load(total), C, builder.mul(line, width), column, c)
    builder.ret_void()


def _write_turn(
    code: _Code,
    W: ir.Value,
    _W_rows: ir.Value,
    m: ir.Value,
    first: ir.Value,
    begin: ir.Value,
    count: ir.Value,
    out: ir.Value,
    _out_rows: ir.Value,
    out_size: ir.Value,
    line: ir.Value,
    step: ir.Value,
    place: ir.Value,
) -> None:
    """Write out[line + i step, place + lane] = W[first + lane, begin + i] for i < count."""
    builder = code.builder
    word = ir.IntType(32)
    sources = [
        code.at(W, builder.mul(builder.add(first, _int(lane)), m), begin)
        for lane in range(code.lanes)
    ]
    target, done = code.at(out, builder.mul(line, out_size), place), code.variable(_int(0))
    stride = builder.mul(step, out_size)

    def put(vector: ir.Value, i: ir.Value) -> None:
        code.store(vector, code.vectors(code.at(target, builder.mul(i, stride))))

    # whole squares are turned in registers, by halves, quarters and so on: a quarter of the time
    with code.steps(done, count, code.lanes) as i:
        square = [code.load(code.vectors(code.at(source, i))) for source in sources]
        code.turn(square)
        for lane, vector in enumerate(square):
            put(vector, builder.add(i, _int(lane)))
    with code.rolled(builder.load(done), count) as i:
        vector = ir.Constant(code.vector, ir.Undefined)
        for lane, source in enumerate(sources):
            entry = builder.load(code.at(source, i))
            vector = builder.insert_element(vector, entry, ir.Constant(word, lane))
        put(vector, i)
    builder.ret_void()


def _largest(code: _Code, x: ir.Value, width: ir.Value) -> ir.Value:
    """Return the largest modulus in the vectors x[:width]."""
    builder, done = code.builder, code.variable(_int(0))

    def larger(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.select(builder.fcmp_ordered(">", b, a), b, a)

    tops = [code.variable(code.zero) for _ in range(_CHAINS)]
    for size in (_CHAINS, 1):
        with code.steps(done, width, size) as index:
            for i, top in enumerate(tops[:size]):
                value = code.call("fabs", code.load(x, index, i))
                builder.store(larger(builder.load(top), value), top)
    return code.fold(_tree([builder.load(top) for top in tops], larger), larger)


def _write_max_abs(code: _Code, x: ir.Value, *shape: ir.Value) -> None:
    """Write the largest modulus in x."""
    code.builder.ret(_largest(code, code.vectors(x), code.width(*shape)))


def _square(code: _Code, x: ir.Value, width: ir.Value) -> ir.Value:
    """Return the sum of the squares of the vectors x[:width]."""
    total = code.variable(code.zero)
    code.builder.store(code.zero, total)
    with cgutils.for_range(code.builder, width) as column:
        value = code.load(x, column.index)
        code.accumulate(total, value, value)
    return code.fold(code.builder.load(total), code.builder.fadd)


def _write_sum_squares(code: _Code, x: ir.Value, *shape: ir.Value) -> None:
    """Write the sum of the squares of x."""
    code.builder.ret(_square(code, code.vectors(x), code.width(*shape)))


def _write_scale(code: _Code, x: ir.Value, *shape_and_factor: ir.Value) -> None:
    """Write x *= factor, for an x that need not be padded."""
    builder, (*shape, factor) = code.builder, shape_and_factor
    builder.function.attributes.add("noinline")  # it is seldom called, and from many places
    size = functools.reduce(builder.mul, shape)
    width, vectors, factors = code.width(size), code.vectors(x), code.spread(factor)
    with code.rolled(_int(0), width) as i:
        code.store(builder.fmul(code.load(vectors, i), factors), vectors, i)
    with code.rolled(builder.mul(width, _int(code.lanes)), size) as i:
        place = code.at(x, i)
        builder.store(builder.fmul(builder.load(place), factor), place)
    builder.ret_void()


def _write_fetch(code: _Code, x: ir.Value, *shape: ir.Value) -> None:
    """Write requests for the lines of x."""
    builder, word = code.builder, ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [code.vector.as_pointer(), word, word, word])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    x = code.vectors(x)
    with code.rolled(_int(0), code.width(*shape)) as i:
        builder.call(fetch, [code.at(x, i), *(ir.Constant(word, k) for k in (0, 3, 1))])
    builder.ret_void()


def _routine(
    write: Callable[..., None], arrays: tuple[Any, ...], ndims: tuple[int, ...], returns: Any
) -> tuple[Any, Callable[..., ir.Value]]:
    """Return the signature and the code of an intrinsic that calls the routine `write` makes.

    The routine gets the address and the shape of each array, and numbers as they are. It is a
    function of its own, once in a module, so that a kernel that calls it often stays small; LLVM
    puts it inline where that pays.
    """
    name = write.__name__.removeprefix("_write")
    element: Any = getattr(arrays[0], "dtype", None)
    for kind, ndim in zip(arrays, ndims, strict=True):
        if ndim == 0 and (isinstance(kind, types.Integer) or kind == element):
            continue
        fits = isinstance(kind, types.Array) and kind.layout == "C" and kind.ndim == ndim
        if not fits or kind.dtype != element or element not in (types.float32, types.float64):
            raise TypingError(
                f"{name}: found {', '.join(map(str, arrays))}, expected C-contiguous arrays of "
                f"{ndims} axes, all float32 or all float64"
            )

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        values = []
        for kind, argument in zip(signature.args, args, strict=True):
            if isinstance(kind, types.Integer):
                values.append(context.cast(builder, argument, kind, types.int64))
                continue
            if kind == element:
                values.append(argument)
                continue
            array = context.make_array(kind)(context, builder, argument)
            values += [array.data, *cgutils.unpack_tuple(builder, array.shape, kind.ndim)]
        returned = context.get_value_type(returns) if returns else ir.VoidType()
        routine = ir.FunctionType(returned, [value.type for value in values])
        symbol = f"vgcore{name}_{element}_{'_'.join(map(str, ndims))}"
        function = cgutils.get_or_insert_function(builder.module, routine, symbol)
        if function.is_declaration:
            function.linkage = "linkonce_odr"
            function.attributes.add("nounwind")
            wide = "+avx512f" in context.codegen().magic_tuple()[2]
            write(_Code(function, element.bitwidth, wide), *function.args)
        value = builder.call(function, values)
        return value if returns else context.get_dummy_value()

    result: Any = returns or types.void
    return result(*arrays), generate


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _from_panels(M: Array, most: int) -> Array:
        """Matrices (D, n, P) in rows."""
        count, size, more = _panels(M[0], most)
        sizes = size + BYTES // M.itemsize * (np.arange(count) < more)
        parts = np.split(M.reshape(len(M), -1), np.cumsum(M.shape[1] * sizes)[:-1], axis=1)
        rows = [part.reshape(*M.shape[:2], -1) for part in parts]
        return np.concatenate(rows, axis=2)

    def _vecmat(x: Array, M: Array, start: Array, y: Array) -> None:
        y[:] = start + x[: M.shape[0]] @ M

    def _multiply_rows(
        X: Array, M: Array, most: int, reverse: int, start: Array, Y: Array, squares: Array
    ) -> int:
        D, n, P = M.shape
        M = _from_panels(M, most)
        Y[:] = start + (X.reshape(D, -1, P)[:, :, :n] @ M).ravel()
        squares[:] = (X * X).reshape(squares.size, P).sum(axis=1)
        low, high = _BOUNDS[X.itemsize]
        return int(not ((low <= squares) & (squares <= high)).all())

    def _matmat(A: Array, B: Array, C: Array) -> None:
        C[:] = A[:, : B.shape[0]] @ B

    def _turn(
        W: Array, first: int, begin: int, count: int, out: Array, line: int, step: int, place: int
    ) -> None:
        lanes = BYTES // out.itemsize
        lines = slice(line, line + count * step, step)
        out[lines, place : place + lanes] = W[first : first + lanes, begin : begin + count].T

    def _scale(x: Array, factor: Any) -> None:
        x *= factor

    def _fetch(x: Array) -> None:
        pass

    def _max_abs(x: Array) -> Any:
        return np.abs(x).max()

    def _sum_squares(x: Array) -> Any:
        return (x * x).sum()

else:

    @intrinsic
    def _vecmat(typingctx: Any, x: Any, M: Any, start: Any, y: Any) -> Any:
        """Set y = start + x[:n] @ M for padded M (n, P); y may be `start`, but not x or M."""
        return _routine(_write_vecmat, (x, M, start, y), (1, 2, 1, 1), returns=None)

    @intrinsic
    def _multiply_rows(
        typingctx: Any, X: Any, M: Any, most: Any, reverse: Any, start: Any, Y: Any, squares: Any
    ) -> Any:
        """Set Y[r] = start[r] + X[r, :n] @ M[r // K] and squares[r] to the square norm of X[r].

        X, start and Y hold R = D K rows of P, one after another in 1-D, M is a padded (D, n, P) in
        panels of at most so many vectors, 8 or 4 (`panel_size`): K rows share a matrix. Y may be
        `start`, but not X. Where `reverse` is 1 the rows of a matrix wider than four vectors are
        taken from the last to the first. Returns 1 where a square is not in range.
        """
        arrays = (X, M, most, reverse, start, Y, squares)
        return _routine(_write_multiply_rows, arrays, (1, 3, 0, 0, 1, 1, 1), returns=types.int64)

    @intrinsic
    def _matmat(typingctx: Any, A: Any, B: Any, C: Any) -> Any:
        """Set C = A[:, :n] @ B for A (m, n or more), padded B (n, P), C (m, P) not A or B."""
        return _routine(_write_matmat, (A, B, C), (2, 2, 2), returns=None)

    @intrinsic
    def _turn(
        typingctx: Any,
        W: Any,
        first: Any,
        begin: Any,
        count: Any,
        out: Any,
        line: Any,
        step: Any,
        place: Any,
    ) -> Any:
        """Set out[line + i step, place + lane] = W[first + lane, begin + i] for i < count.

        These are as many rows of W, 2-D, as a vector has lanes.
        """
        arrays = (W, first, begin, count, out, line, step, place)
        return _routine(_write_turn, arrays, (2, 0, 0, 0, 2, 0, 0, 0), returns=None)

    @intrinsic
    def _scale(typingctx: Any, x: Any, factor: Any) -> Any:
        """Multiply a C-contiguous array by a number of its dtype, in place.

        A loop would be compiled at every place where it is called from, each time unrolled.
        """
        return _routine(_write_scale, (x, factor), (getattr(x, "ndim", 0), 0), returns=None)

    @intrinsic
    def _fetch(typingctx: Any, x: Any) -> Any:
        """Ask for an array that is needed soon: it comes to the first cache meanwhile."""
        return _routine(_write_fetch, (x,), (getattr(x, "ndim", 0),), returns=None)

    @intrinsic
    def _max_abs(typingctx: Any, x: Any) -> Any:
        """Return the largest modulus in a padded array; NaN is passed over."""
        return _routine(
            _write_max_abs, (x,), (getattr(x, "ndim", 0),), returns=getattr(x, "dtype", None)
        )

    @intrinsic
    def _sum_squares(typingctx: Any, x: Any) -> Any:
        """Return the sum of the squares of a padded array, in its own dtype."""
        return _routine(
            _write_sum_squares, (x,), (getattr(x, "ndim", 0),), returns=getattr(x, "dtype", None)
        )


@helper(forceinline=True)
def _panels(M: Array, most: int) -> tuple[int, int, int]:
    """Return the number of panels of a padded (n, P), the columns of the last, how many have more.

    They have at most so many vectors in a row, the first ones one more than the others.
    """
    lanes = BYTES // M.itemsize
    width = M.shape[1] // lanes
    count = -(-width // most)
    return count, width // count * lanes, width % count


_LOW_32, _HIGH_32 = _BOUNDS[4]
_LOW_64, _HIGH_64 = _BOUNDS[8]


@helper(forceinline=True)
def _in_range(square: float, x: Array) -> bool:
    """Whether a vector with this square norm may stay as it is, in the dtype of x."""
    if x.itemsize == 4:
        return bool(_LOW_32 <= square <= _HIGH_32)
    return bool(_LOW_64 <= square <= _HIGH_64)


@kernel()
def _exponent(value: float) -> int:
    """Return the e with 2**e <= |value| < 2**(e + 1); -1077 for 0, 1024 for inf."""
    shift = 0 if abs(value) >= 2.0**-1022 else 54
    bits = np.float64(value * 2.0**shift).view(np.int64)
    return int((bits >> 52) & 0x7FF) - 1023 - shift


@kernel()
def _scale_exact(x: Array, exponent: int) -> None:
    """Multiply the C-contiguous `x` by 2**exponent: exact, or rounded once where it underflows."""
    # A power of two beyond the range of one float takes several factors, the outermost ones last:
    # whatever the first factor rounds is subnormal, and the next makes it 0, so none rounds twice.
    step = -np.finfo(x.dtype).minexp
    size = min(abs(exponent), 3 * step)
    for part in range(1 + size // step):
        power = step if part > 0 else size % step
        bits = (1023 + (power if exponent > 0 else -power)) << 52
        _scale(x, x.dtype.type(np.int64(bits).view(np.float64)))


@helper()
def _normalise(x: Array) -> int:
    """Scale x in place to a largest entry in [1, 2); return e with old x = 2**e new x."""
    exponent = _exponent(_max_abs(x))
    _scale_exact(x, -exponent)
    return exponent
