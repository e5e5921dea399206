"""C += A @ B on parts of matrices, and A x: what blocked factorisations need.

Written like the routines of `vectors`, in LLVM code on vectors of 64 bytes with a fixed order of
operations, but for arrays with strides, so that a part of a matrix, or a transpose, is just a view.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from vgcore._typing import Array
from vgcore.kernels.vectors import _MATMAT_TILES, _Code, _int, _routine


def _write_add_matmat(
    code: _Code,
    A: ir.Value,
    m: ir.Value,
    n: ir.Value,
    A_row: ir.Value,
    A_column: ir.Value,
    B: ir.Value,
    B_row: ir.Value,
    C: ir.Value,
    columns_of_C: ir.Value,
    C_row: ir.Value,
) -> None:
    """Write C += A @ B, where A is (m, n); A_row, A_column, B_row and C_row are strides."""
    builder = code.builder
    width = code.width(columns_of_C)
    row_sizes, column_sizes = _MATMAT_TILES[code.wide]
    column_done = code.variable(_int(0))
    for columns in column_sizes:
        with code.steps(column_done, width, columns) as column:
            row_done = code.variable(_int(0))
            for rows in row_sizes:
                with code.steps(row_done, m, rows) as row:
                    lines = [builder.add(row, _int(r)) for r in range(rows)]
                    A_rows = [code.at(A, builder.mul(line, A_row)) for line in lines]
                    C_rows = [code.vectors(code.at(C, builder.mul(line, C_row))) for line in lines]
                    sums = [
                        [code.variable(code.load(C_line, column, c)) for c in range(columns)]
                        for C_line in C_rows
                    ]
                    with cgutils.for_range(builder, n) as inner:
                        A_offset = builder.mul(inner.index, A_column)
                        B_line = code.vectors(code.at(B, builder.mul(inner.index, B_row)))
                        values = [code.load(B_line, column, c) for c in range(columns)]
                        for A_line, totals in zip(A_rows, sums, strict=True):
                            factor = code.spread(builder.load(code.at(A_line, A_offset)))
                            for value, total in zip(values, totals, strict=True):
                                code.accumulate(total, factor, value)
                    for C_line, totals in zip(C_rows, sums, strict=True):
                        for c, total in enumerate(totals):
                            code.store(builder.load(total), C_line, column, c)
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


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _row_sums(A: Array, x: Array, y: Array) -> None:
        y[: len(A)] = A @ x

    def _add_matmat(A: Array, B: Array, C: Array) -> None:
        C += A @ B

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
        element: Any = getattr(A, "dtype", None)
        for kind in (A, B, C):
            fits = isinstance(kind, types.Array) and kind.ndim == 2 and kind.dtype == element
            if not fits or element not in (types.float32, types.float64):
                raise TypingError(
                    f"_add_matmat: found {A}, {B}, {C}, expected matrices, all float32 or float64"
                )

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            size = _int(element.bitwidth // 8)
            data, shapes, strides = [], [], []
            for kind, argument in zip(signature.args, args, strict=True):
                array = context.make_array(kind)(context, builder, argument)
                data.append(array.data)
                shapes.append(cgutils.unpack_tuple(builder, array.shape, 2))
                steps = cgutils.unpack_tuple(builder, array.strides, 2)
                strides.append([builder.sdiv(step, size) for step in steps])
            values = [
                *(data[0], *shapes[0], *strides[0]),
                *(data[1], strides[1][0]),
                *(data[2], shapes[2][1], strides[2][0]),
            ]
            kinds = [value.type for value in values]
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), kinds),
                f"vgcore_add_matmat_{element}",
            )
            if function.is_declaration:
                function.linkage = "linkonce_odr"
                function.attributes.add("nounwind")
                wide = "+avx512f" in context.codegen().magic_tuple()[2]
                _write_add_matmat(_Code(function, element.bitwidth, wide), *function.args)
            builder.call(function, values)
            return context.get_dummy_value()

        return types.void(A, B, C), generate
