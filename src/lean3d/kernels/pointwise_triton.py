"""y = relu(x * scale + shift + r) in one pass; INNER values of a channel lie one after another."""

import triton
import triton.language as tl

__all__ = ["forward"]


@triton.jit(do_not_specialize=["N"])
def forward(
    x_ptr,
    scale_ptr,
    shift_ptr,
    r_ptr,
    y_ptr,
    N,
    C,
    INNER,
    HAS_SCALE: tl.constexpr,
    HAS_SHIFT: tl.constexpr,
    HAS_SUM: tl.constexpr,
    RELU: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = (i // INNER) % C
    y = tl.load(x_ptr + i, mask=i < N, other=0.0).to(tl.float32)
    if HAS_SCALE:
        y *= tl.load(scale_ptr + c).to(tl.float32)
    if HAS_SHIFT:
        y += tl.load(shift_ptr + c).to(tl.float32)
    if HAS_SUM:
        y += tl.load(r_ptr + i, mask=i < N, other=0.0).to(tl.float32)
    if RELU:
        y = tl.where(y < 0, 0.0, y)  # keeps NaN
    tl.store(y_ptr + i, y.to(y_ptr.dtype.element_ty), mask=i < N)
