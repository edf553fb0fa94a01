"""Axial-coronal-sagittal convolution as one implicit matrix product for each direction.

Tensors are dense with the channels last: volumes (B, D, H, W, C), kernels (C', I, J, C). A view is
a number: axial 0 reads the taps (i, j) along H and W, coronal 1 along D and W, sagittal 2 along D
and H. A tile of outputs belongs to one view.
"""

import triton
import triton.language as tl

__all__ = ["forward", "input_grad", "weight_grad"]


@triton.jit
def _tap(view, i, j, dd, dh, dw):
    """Return the offsets along D, H and W of tap (i, j) of a view."""
    d = tl.where(view == 0, 0, i) * dd
    h = tl.where(view == 0, i, tl.where(view == 1, 0, j)) * dh
    w = tl.where(view == 2, 0, j) * dw
    return d, h, w


@triton.jit
def _of_view(view, axial, coronal, sagittal):
    return tl.where(view == 0, axial, tl.where(view == 1, coronal, sagittal))


@triton.jit
def _rows(tile, A, S, CO, BN: tl.constexpr):
    """Return the view, first output and end of the outputs of a tile; A, S end two views."""
    first = (A + BN - 1) // BN
    second = first + (S - A + BN - 1) // BN
    view = tl.where(tile < first, 0, tl.where(tile < second, 1, 2))
    start = tl.where(view == 0, 0, tl.where(view == 1, A, S))
    before = tl.where(view == 0, 0, tl.where(view == 1, first, second))
    end = tl.where(view == 0, A, tl.where(view == 1, S, CO))
    return view, start + (tile - before) * BN, end


# sizes along D, H, W that end in `o` are those of the output; p0d is the padding of view 0 along D
LOOSE = ["M", "D", "H", "W", "Do", "Ho", "Wo", "A", "S", "sd", "sh", "sw", "dd", "dh", "dw"]
LOOSE += [f"p{view}{axis}" for view in range(3) for axis in "dhw"]


@triton.jit(do_not_specialize=LOOSE)
def forward(
    x_ptr,
    w_ptr,
    b_ptr,
    r_ptr,
    y_ptr,
    M,
    C,
    CO,
    D,
    H,
    W,
    Do,
    Ho,
    Wo,
    A,
    S,
    sd,
    sh,
    sw,
    dd,
    dh,
    dw,
    p0d,
    p0h,
    p0w,
    p1d,
    p1h,
    p1w,
    p2d,
    p2h,
    p2w,
    KI: tl.constexpr,
    KJ: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_SUM: tl.constexpr,
    RELU: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """y = relu(conv(x) + bias + r); r and the ReLU are optional."""
    view, n0, n_end = _rows(tl.program_id(1), A, S, CO, BN)
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = n0 + tl.arange(0, BN)
    k = tl.arange(0, BK)
    wo = m % Wo
    ho = (m // Wo) % Ho
    do = (m // (Wo * Ho)) % Do
    b = m // (Wo * Ho * Do)
    d0 = do * sd - _of_view(view, p0d, p1d, p2d)
    h0 = ho * sh - _of_view(view, p0h, p1h, p2h)
    w0 = wo * sw - _of_view(view, p0w, p1w, p2w)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    blocks = (C + BK - 1) // BK
    for step in range(0, KI * KJ * blocks):
        tap = step // blocks
        c = (step % blocks) * BK + k
        od, oh, ow = _tap(view, tap // KJ, tap % KJ, dd, dh, dw)
        d = d0 + od
        h = h0 + oh
        w = w0 + ow
        inside = (m < M) & (d >= 0) & (d < D) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        voxel = ((b * D + d) * H + h) * W + w
        x = tl.load(
            x_ptr + voxel[:, None] * C + c[None, :],
            mask=inside[:, None] & (c < C)[None, :],
            other=0.0,
        )
        weight = tl.load(
            w_ptr + (n * (KI * KJ) + tap)[None, :] * C + c[:, None],
            mask=(n < n_end)[None, :] & (c < C)[:, None],
            other=0.0,
        )
        acc = tl.dot(x, weight, acc, input_precision=PRECISION)
    if HAS_BIAS:
        acc += tl.load(b_ptr + n, mask=n < n_end, other=0.0).to(tl.float32)[None, :]
    place = m[:, None] * CO + n[None, :]
    stored = (m < M)[:, None] & (n < n_end)[None, :]
    if HAS_SUM:
        acc += tl.load(r_ptr + place, mask=stored, other=0.0).to(tl.float32)
    if RELU:
        acc = tl.where(acc < 0, 0.0, acc)  # keeps NaN
    tl.store(y_ptr + place, acc.to(y_ptr.dtype.element_ty), mask=stored)


@triton.jit
def _source(position, size, stride, STRIDED: tl.constexpr):
    """Return the output that a tap of the kernel took from a position, and whether there is one."""
    if STRIDED:
        output = position // stride
        return output, (position >= 0) & (output < size) & (output * stride == position)
    return position, (position >= 0) & (position < size)


@triton.jit(do_not_specialize=LOOSE)
def input_grad(
    g_ptr,
    w_ptr,
    x_ptr,
    M,
    C,
    CO,
    D,
    H,
    W,
    Do,
    Ho,
    Wo,
    A,
    S,
    sd,
    sh,
    sw,
    dd,
    dh,
    dw,
    p0d,
    p0h,
    p0w,
    p1d,
    p1h,
    p1w,
    p2d,
    p2h,
    p2w,
    KI: tl.constexpr,
    KJ: tl.constexpr,
    STRIDED: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """Gradient x (B, D, H, W, C) from that of the output, g (B, Do, Ho, Wo, C')."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    c = tl.program_id(1) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    w0 = m % W
    h0 = (m // W) % H
    d0 = (m // (W * H)) % D
    b = m // (W * H * D)
    first = (A + BK - 1) // BK
    second = first + (S - A + BK - 1) // BK
    blocks = second + (CO - S + BK - 1) // BK
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for step in range(0, KI * KJ * blocks):
        tap = step // blocks
        view, n0, n_end = _rows(step % blocks, A, S, CO, BK)
        n = n0 + k
        od, oh, ow = _tap(view, tap // KJ, tap % KJ, dd, dh, dw)
        d, in_d = _source(d0 + _of_view(view, p0d, p1d, p2d) - od, Do, sd, STRIDED)
        h, in_h = _source(h0 + _of_view(view, p0h, p1h, p2h) - oh, Ho, sh, STRIDED)
        w, in_w = _source(w0 + _of_view(view, p0w, p1w, p2w) - ow, Wo, sw, STRIDED)
        inside = (m < M) & in_d & in_h & in_w
        voxel = ((b * Do + d) * Ho + h) * Wo + w
        grad = tl.load(
            g_ptr + voxel[:, None] * CO + n[None, :],
            mask=inside[:, None] & (n < n_end)[None, :],
            other=0.0,
        )
        weight = tl.load(
            w_ptr + (n * (KI * KJ) + tap)[:, None] * C + c[None, :],
            mask=(n < n_end)[:, None] & (c < C)[None, :],
            other=0.0,
        )
        acc = tl.dot(grad, weight, acc, input_precision=PRECISION)
    tl.store(
        x_ptr + m[:, None] * C + c[None, :],
        acc.to(x_ptr.dtype.element_ty),
        mask=(m < M)[:, None] & (c < C)[None, :],
    )


@triton.jit(do_not_specialize=[*LOOSE, "SHARE"])
def weight_grad(
    g_ptr,
    x_ptr,
    w_ptr,
    M,
    C,
    CO,
    D,
    H,
    W,
    Do,
    Ho,
    Wo,
    A,
    S,
    sd,
    sh,
    sw,
    dd,
    dh,
    dw,
    p0d,
    p0h,
    p0w,
    p1d,
    p1h,
    p1w,
    p2d,
    p2h,
    p2w,
    SHARE,
    KI: tl.constexpr,
    KJ: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """Part of the kernel's gradient, (parts, C', I, J, C): over SHARE of the M outputs' voxels."""
    tap = tl.program_id(0) % (KI * KJ)
    view, n0, n_end = _rows(tl.program_id(0) // (KI * KJ), A, S, CO, BM)
    n = n0 + tl.arange(0, BM)
    c = tl.program_id(1) * BN + tl.arange(0, BN)
    part = tl.program_id(2)
    od, oh, ow = _tap(view, tap // KJ, tap % KJ, dd, dh, dw)
    od -= _of_view(view, p0d, p1d, p2d)
    oh -= _of_view(view, p0h, p1h, p2h)
    ow -= _of_view(view, p0w, p1w, p2w)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for step in range(0, SHARE // BK):
        m = part * SHARE + step * BK + tl.arange(0, BK)
        w = (m % Wo) * sw + ow
        h = ((m // Wo) % Ho) * sh + oh
        d = ((m // (Wo * Ho)) % Do) * sd + od
        b = m // (Wo * Ho * Do)
        inside = (m < M) & (d >= 0) & (d < D) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        voxel = ((b * D + d) * H + h) * W + w
        grad = tl.load(
            g_ptr + m[:, None] * CO + n[None, :],
            mask=(m < M)[:, None] & (n < n_end)[None, :],
            other=0.0,
        )
        x = tl.load(
            x_ptr + voxel[:, None] * C + c[None, :],
            mask=inside[:, None] & (c < C)[None, :],
            other=0.0,
        )
        acc = tl.dot(tl.trans(grad), x, acc, input_precision=PRECISION)
    place = ((part * CO + n) * (KI * KJ) + tap)[:, None] * C + c[None, :]
    tl.store(w_ptr + place, acc, mask=(n < n_end)[:, None] & (c < C)[None, :])
