"""Products of parts of matrices, and Gaussian elimination in panels: what factorisations need.

Written like the routines of `vectors`, in LLVM code on vectors of 64 bytes with a fixed order of
operations, but for arrays with strides, so that a part of a matrix, or a transpose, is just a view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from vgcore._typing import Array, Integers
from vgcore.kernels.vectors import _MATMAT_TILES, _Code, _int, _largest, _routine

PANEL = 8  # rows eliminated together: one vector of float64 holds their multipliers of a row

# The reciprocal of a pivot between these is a normal number.
_SMALLEST, _GREATEST = 2.0**-1000, 2.0**1000


class _Part(NamedTuple):
    """An array as a routine sees it: where it starts, its shape, its strides in elements."""

    data: ir.Value
    shape: list[ir.Value]
    strides: list[ir.Value]


def _line(code: _Code, part: _Part, row: ir.Value) -> ir.Value:
    """Return the address of a row."""
    return code.at(part.data, code.builder.mul(row, part.strides[0]))


def _tile(
    code: _Code,
    inner: tuple[Callable[[ir.Value], ir.Value] | None, ir.Value],
    A: _Part,
    B: _Part,
    C: _Part,
    index: Callable[[ir.Value], ir.Value],
    start: Callable[[ir.Value, ir.Value, int], ir.Value],
    finish: Callable[[ir.Value, ir.Value, int], ir.Value],
) -> None:
    """Write C = finish(start + A @ B) in tiles that stay in registers; one fused sum an element.

    The sum of row tile i runs over index(k), for first(i) <= k < n with (first, n) = inner.
    """
    builder = code.builder
    first, n = inner
    m, width = C.shape[0], code.width(C.shape[1])
    row_sizes, column_sizes = _MATMAT_TILES[code.wide]
    column_done = code.variable(_int(0))
    for columns in column_sizes:
        with code.steps(column_done, width, columns) as column:
            row_done = code.variable(_int(0))
            for rows in row_sizes:
                with code.steps(row_done, m, rows) as row:
                    lines = [builder.add(row, _int(r)) for r in range(rows)]
                    A_rows = [_line(code, A, line) for line in lines]
                    C_rows = [code.vectors(_line(code, C, line)) for line in lines]
                    sums = [
                        [code.variable(start(C_line, column, c)) for c in range(columns)]
                        for C_line in C_rows
                    ]
                    begin = first(row) if first else _int(0)
                    with code.rolled(begin, n) as k:
                        place = index(k)
                        A_offset = builder.mul(place, A.strides[1])
                        B_line = code.vectors(_line(code, B, place))
                        values = [code.load(B_line, column, c) for c in range(columns)]
                        for A_line, totals in zip(A_rows, sums, strict=True):
                            factor = code.spread(builder.load(code.at(A_line, A_offset)))
                            for value, total in zip(values, totals, strict=True):
                                code.accumulate(total, factor, value)
                    for C_line, totals in zip(C_rows, sums, strict=True):
                        for c, total in enumerate(totals):
                            value = finish(builder.load(total), column, c)
                            code.store(value, C_line, column, c)


def _write_add_matmat(code: _Code, A: _Part, B: _Part, C: _Part) -> None:
    """Write C += A @ B."""
    _tile(code, (None, A.shape[1]), A, B, C, lambda k: k, code.load, lambda value, column, c: value)
    code.builder.ret_void()


def _write_subtract_panel(code: _Code, L: _Part, U: _Part, alive: _Part, C: _Part) -> None:
    """Write C -= L @ U, and zero in the columns that are not alive."""
    builder = code.builder
    whole = ir.VectorType(ir.IntType(64), code.lanes)
    masks = builder.bitcast(alive.data, whole.as_pointer())

    def finish(value: ir.Value, column: ir.Value, c: int) -> ir.Value:
        mask = builder.load(code.at(masks, column, c), align=code.align)
        return builder.bitcast(builder.and_(builder.bitcast(value, whole), mask), code.vector)

    _tile(code, (None, L.shape[1]), L, U, C, lambda k: k, code.load, finish)
    builder.ret_void()


def _write_carry(
    code: _Code, U: _Part, order: _Part, M: _Part, scale: _Part, triangular: ir.Value, out: _Part
) -> None:
    """Write out = U @ M diag(scale); if triangular, row i of U is zero in order[:i]."""
    builder = code.builder
    scales = code.vectors(scale.data)

    def index(k: ir.Value) -> ir.Value:
        return builder.load(code.at(order.data, k))

    def finish(value: ir.Value, column: ir.Value, c: int) -> ir.Value:
        return builder.fmul(value, code.load(scales, column, c))

    _tile(
        code,
        (lambda row: builder.select(triangular, row, _int(0)), order.shape[0]),
        U, M, out, index, lambda line, column, c: code.zero, finish,
    )  # fmt: skip
    builder.ret_void()


def _write_eliminate(
    code: _Code, F: _Part, L: _Part, diagonal: _Part, pivots: _Part, alive: _Part
) -> None:
    """Write the elimination of the rows of F, one after the other."""
    builder = code.builder
    m, width = F.shape[0], code.width(F.shape[1])
    lanes = ir.VectorType(ir.IntType(64), code.lanes)
    numbers = ir.Constant(lanes, list(range(code.lanes)))
    mask_kind = ir.IntType(code.lanes)

    with cgutils.for_range(builder, m) as outer:
        i = outer.index
        row = code.vectors(_line(code, F, i))
        top = _largest(code, row, width)
        spread_top = code.spread(top)
        place = code.variable(_int(0))
        with cgutils.for_range(builder, width) as inner:  # from the last vector to the first
            v = builder.sub(builder.sub(width, inner.index), _int(1))
            same = builder.fcmp_ordered("==", code.call("fabs", code.load(row, v)), spread_top)
            mask = builder.bitcast(same, mask_kind)
            lane = builder.zext(builder.cttz(mask, ir.Constant(ir.IntType(1), 0)), ir.IntType(64))
            found = builder.add(builder.mul(v, _int(code.lanes)), lane)
            hit = builder.icmp_unsigned("!=", mask, ir.Constant(mask_kind, 0))
            builder.store(builder.select(hit, found, builder.load(place)), place)
        column = builder.load(place)
        pivot = builder.load(code.at(_line(code, F, i), column))
        live = builder.fcmp_ordered(">", top, ir.Constant(code.scalar, 0.0))
        builder.store(
            builder.select(live, pivot, ir.Constant(code.scalar, 0.0)), code.at(diagonal.data, i)
        )
        builder.store(builder.select(live, column, _int(-1)), code.at(pivots.data, i))
        with builder.if_then(live, likely=True):
            builder.store(_int(0), code.at(alive.data, column))
            usual = builder.and_(
                builder.fcmp_ordered(">=", top, ir.Constant(code.scalar, _SMALLEST)),
                builder.fcmp_ordered("<=", top, ir.Constant(code.scalar, _GREATEST)),
            )
            # the division need not wait until the place, and so the sign, of the pivot is known
            inverse = builder.fdiv(ir.Constant(code.scalar, 1.0), top)
            negative = builder.fcmp_ordered("<", pivot, ir.Constant(code.scalar, 0.0))
            factor = code.spread(builder.select(negative, builder.fneg(inverse), inverse))
            divisor = code.spread(pivot)
            one = code.spread(ir.Constant(code.scalar, 1.0))
            target = builder.insert_element(
                ir.Constant(lanes, ir.Undefined), column, ir.Constant(ir.IntType(32), 0)
            )
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), code.lanes), [0] * code.lanes)
            target = builder.shuffle_vector(target, target, zeros)

            def write(scaled: Callable[[ir.Value], ir.Value]) -> None:
                here = code.variable(numbers)
                with cgutils.for_range(builder, width) as inner:
                    at_pivot = builder.icmp_signed("==", builder.load(here), target)
                    value = builder.select(at_pivot, one, scaled(code.load(row, inner.index)))
                    code.store(value, row, inner.index)
                    step = ir.Constant(lanes, [code.lanes] * code.lanes)
                    builder.store(builder.add(builder.load(here), step), here)

            with builder.if_else(usual, likely=True) as (then, otherwise):
                with then:
                    write(lambda value: builder.fmul(value, factor))
                with otherwise:
                    write(lambda value: builder.fdiv(value, divisor))
            done = code.variable(builder.add(i, _int(1)))
            for rows in (4, 2, 1):
                with code.steps(done, m, rows) as below:
                    targets, factors = [], []
                    for r in range(rows):
                        line = builder.add(below, _int(r))
                        address = _line(code, F, line)
                        multiplier = builder.fneg(builder.load(code.at(address, column)))
                        builder.store(multiplier, code.at(_line(code, L, line), i))
                        targets.append(code.vectors(address))
                        factors.append(code.spread(multiplier))
                    with cgutils.for_range(builder, width) as inner:
                        value = code.load(row, inner.index)
                        for line, factor in zip(targets, factors, strict=True):
                            total = code.load(line, inner.index)
                            total = code.call("fma", factor, value, total)
                            code.store(total, line, inner.index)
    builder.ret_void()


def _write_multipliers(code: _Code, F: _Part, U: _Part, pivots: _Part, L: _Part) -> None:
    """Write L = -F[:, pivots] @ inverse of U[:, pivots], which is unit upper triangular."""
    builder, size = code.builder, code.lanes
    places = []
    for j in range(size):
        place = builder.load(code.at(pivots.data, j))
        below = builder.icmp_signed("<", place, _int(0))
        places.append(builder.select(below, _int(0), place))
    inverse: list[ir.Value] = [None] * size  # the negative of its rows
    for k in reversed(range(size)):
        unit = [-float(j == k) for j in range(size)]
        total = ir.Constant(code.vector, unit)
        line = _line(code, U, _int(k))
        for j in range(size - 1, k, -1):
            factor = code.spread(builder.fneg(builder.load(code.at(line, places[j]))))
            total = code.call("fma", factor, inverse[j], total)
        inverse[k] = total
    with cgutils.for_range(builder, F.shape[0]) as row:
        line = _line(code, F, row.index)
        total = code.zero
        for j in range(size):
            factor = code.spread(builder.load(code.at(line, places[j])))
            total = code.call("fma", factor, inverse[j], total)
        code.store(total, code.vectors(_line(code, L, row.index)))
    builder.ret_void()


def _write_row_sums(
    code: _Code,
    A: ir.Value,
    m: ir.Value,
    n: ir.Value,
    x: ir.Value,
    _x_size: ir.Value,
    y: ir.Value,
    _y_size: ir.Value,
) -> None:
    """Write y[:m] = A @ x, where A is (m, n)."""
    builder = code.builder
    A, x = code.vectors(A), code.vectors(x)
    width = code.width(n)
    done = code.variable(_int(0))
    for rows in (4, 1):  # four chains hide the latency of an addition
        with code.steps(done, m, rows) as row:
            lines = [code.at(A, builder.mul(builder.add(row, _int(r)), width)) for r in range(rows)]
            sums = [code.variable(code.zero) for _ in lines]
            with cgutils.for_range(builder, width) as column:
                value = code.load(x, column.index)
                for line, total in zip(lines, sums, strict=True):
                    code.accumulate(total, code.load(line, column.index), value)
            for r, total in enumerate(sums):
                part = builder.load(total)
                half = code.lanes
                while half > 1:  # fold the vector in halves
                    half //= 2
                    turn = [(lane + half) % code.lanes for lane in range(code.lanes)]
                    kind = ir.VectorType(ir.IntType(32), code.lanes)
                    turned = builder.shuffle_vector(part, part, ir.Constant(kind, turn))
                    part = builder.fadd(part, turned)
                first = builder.extract_element(part, ir.Constant(ir.IntType(32), 0))
                builder.store(first, code.at(y, row, r))
    builder.ret_void()


def _parts(write: Callable[..., None], arrays: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
    """Return the signature and the code of an intrinsic that calls the routine `write` makes.

    Like `_routine`, but the arrays may have strides and be of integers too.
    """
    name = write.__name__.removeprefix("_write")
    element: Any = getattr(arrays[0], "dtype", None)
    for kind in arrays:
        fits = isinstance(kind, types.Array) and kind.dtype in (element, types.int64)
        fits |= kind == types.boolean
        if not fits or element not in (types.float32, types.float64):
            raise TypingError(
                f"{name}: found {', '.join(map(str, arrays))}, expected arrays, all float32 or "
                "float64 but for those of integers, and booleans"
            )

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        values = []
        for kind, argument in zip(signature.args, args, strict=True):
            if kind == types.boolean:
                values.append(argument)
                continue
            array = context.make_array(kind)(context, builder, argument)
            size = _int(kind.dtype.bitwidth // 8)
            values += [array.data, *cgutils.unpack_tuple(builder, array.shape, kind.ndim)]
            for step in cgutils.unpack_tuple(builder, array.strides, kind.ndim):
                values.append(builder.sdiv(step, size))
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [value.type for value in values]),
            f"vgcore{name}_{element}",
        )
        if function.is_declaration:
            function.linkage = "linkonce_odr"
            function.attributes.add("nounwind")
            wide = "+avx512f" in context.codegen().magic_tuple()[2]
            rest = iter(function.args)
            parts = [
                next(rest)
                if kind == types.boolean
                else _Part(next(rest), *([next(rest) for _ in range(kind.ndim)] for _ in range(2)))
                for kind in signature.args
            ]
            write(_Code(function, element.bitwidth, wide), *parts)
        builder.call(function, values)
        return context.get_dummy_value()

    return types.void(*arrays), generate


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _row_sums(A: Array, x: Array, y: Array) -> None:
        y[: len(A)] = A @ x

    def _add_matmat(A: Array, B: Array, C: Array) -> None:
        C += A @ B

    def _subtract_panel(L: Array, U: Array, alive: Integers, C: Array) -> None:
        C[:] = np.where(alive != 0, C + L @ U, 0.0)

    def _carry(
        U: Array, order: Integers, M: Array, scale: Array, triangular: bool, out: Array
    ) -> None:
        out[:] = U[:, order] @ M[order] * scale

    def _eliminate(F: Array, L: Array, diagonal: Array, pivots: Integers, alive: Integers) -> None:
        for i, row in enumerate(F):
            pivot = int(np.abs(row).argmax())
            diagonal[i], pivots[i] = row[pivot], pivot if row[pivot] != 0.0 else -1
            if row[pivot] == 0.0:
                continue
            alive[pivot] = 0
            row /= row[pivot]
            L[i + 1 :, i] = -F[i + 1 :, pivot]
            F[i + 1 :] += L[i + 1 :, i, None] * row
            F[i + 1 :, pivot] = 0.0

    def _multipliers(F: Array, U: Array, pivots: Integers, L: Array) -> None:
        dead = pivots < 0
        corner = U[:, pivots]
        corner[dead] = np.eye(len(U))[dead]
        L[:] = -np.linalg.solve(corner.T, F[:, pivots].T).T

else:

    @intrinsic
    def _row_sums(typingctx: Any, A: Any, x: Any, y: Any) -> Any:
        """Set y[:m] = A @ x for padded A (m, P) and x (P,)."""
        return _routine(_write_row_sums, (A, x, y), (2, 1, 1), returns=None)

    @intrinsic
    def _add_matmat(typingctx: Any, A: Any, B: Any, C: Any) -> Any:
        """Set C += A @ B for A (m, n), B (n, P), C (m, P) not A or B.

        A may have any strides; rows of B and C are contiguous, and P is whole vectors.
        """
        return _parts(_write_add_matmat, (A, B, C))

    @intrinsic
    def _subtract_panel(typingctx: Any, L: Any, U: Any, alive: Any, C: Any) -> Any:
        """Set C (m, P) to C + L @ U, and to zero in the columns where alive (P,) is 0, not -1."""
        return _parts(_write_subtract_panel, (L, U, alive, C))

    @intrinsic
    def _carry(
        typingctx: Any, U: Any, order: Any, M: Any, scale: Any, triangular: Any, out: Any
    ) -> Any:
        """Set out (m, P) to U @ M diag(scale), for M (n, P) and scale (P,).

        order (n,) has all n columns of U. If triangular, row i of U is zero in the first i of them.
        """
        return _parts(_write_carry, (U, order, M, scale, triangular, out))

    @intrinsic
    def _eliminate(typingctx: Any, F: Any, L: Any, diagonal: Any, pivots: Any, alive: Any) -> Any:
        """Replace the rows of F (m, P) by those of U, where F = L U; m <= PANEL.

        Row i has its pivot, a 1, in column pivots[i], and later rows have zeros there. It was the
        largest entry of the row, diagonal[i], before the row was divided by it. L gets minus the
        entries below the diagonal. The pivot of a row that is zero is -1; alive is set to
        0 at the others.
        """
        return _parts(_write_eliminate, (F, L, diagonal, pivots, alive))

    @intrinsic
    def _multipliers(typingctx: Any, F: Any, U: Any, pivots: Any, L: Any) -> Any:
        """Set L (m, PANEL) so that F + L @ U is zero where U (PANEL, P) has its pivots."""
        return _parts(_write_multipliers, (F, U, pivots, L))
