"""Depthwise convolution: output, gradient of the input and gradient of the kernel.

Volumes may have any strides; kernels are (C', KD, KH, KW), output c' reads input c' // R.
"""

import triton
import triton.language as tl

__all__ = ["forward", "input_grad", "weight_grad"]

SIZES = ["M", "D", "H", "W", "Do", "Ho", "Wo"]


@triton.jit(do_not_specialize=SIZES)
def forward(
    x_ptr,
    w_ptr,
    b_ptr,
    r_ptr,
    y_ptr,
    M,
    CO,
    D,
    H,
    W,
    Do,
    Ho,
    Wo,
    xb,
    xc,
    xd,
    xh,
    xw,
    yb,
    yc,
    yd,
    yh,
    yw,
    sd: tl.constexpr,
    sh: tl.constexpr,
    sw: tl.constexpr,
    pd: tl.constexpr,
    ph: tl.constexpr,
    pw: tl.constexpr,
    dd: tl.constexpr,
    dh: tl.constexpr,
    dw: tl.constexpr,
    KD: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    R: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_SUM: tl.constexpr,
    RELU: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """y = relu(conv(x) + bias + r); r, with the strides of y, and the ReLU are optional."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BC + tl.arange(0, BC)
    w0 = m % Wo
    h0 = (m // Wo) % Ho
    d0 = (m // (Wo * Ho)) % Do
    b = m // (Wo * Ho * Do)
    base = (b * xb)[:, None] + ((n // R) * xc)[None, :]
    known = (n < CO)[None, :]
    acc = tl.zeros((BM, BC), dtype=tl.float32)
    for i in range(KD):
        d = d0 * sd - pd + i * dd
        for j in tl.static_range(KH):
            h = h0 * sh - ph + j * dh
            plane = (m < M) & (d >= 0) & (d < D) & (h >= 0) & (h < H)
            for k in tl.static_range(KW):
                w = w0 * sw - pw + k * dw
                inside = plane & (w >= 0) & (w < W)
                x = tl.load(
                    x_ptr + base + (d * xd + h * xh + w * xw)[:, None],
                    mask=inside[:, None] & known,
                    other=0.0,
                )
                tap = (i * KH + j) * KW + k
                weight = tl.load(w_ptr + n * (KD * KH * KW) + tap, mask=n < CO, other=0.0)
                acc += x.to(tl.float32) * weight.to(tl.float32)[None, :]
    if HAS_BIAS:
        acc += tl.load(b_ptr + n, mask=n < CO, other=0.0).to(tl.float32)[None, :]
    place = (b * yb + d0 * yd + h0 * yh + w0 * yw)[:, None] + (n * yc)[None, :]
    stored = (m < M)[:, None] & known
    if HAS_SUM:
        acc += tl.load(r_ptr + place, mask=stored, other=0.0).to(tl.float32)
    if RELU:
        acc = tl.where(acc < 0, 0.0, acc)  # keeps NaN
    tl.store(y_ptr + place, acc.to(y_ptr.dtype.element_ty), mask=stored)


@triton.jit(do_not_specialize=SIZES)
def input_grad(
    g_ptr,
    w_ptr,
    x_ptr,
    M,
    C,
    D,
    H,
    W,
    Do,
    Ho,
    Wo,
    xb,
    xc,
    xd,
    xh,
    xw,
    gb,
    gc,
    gd,
    gh,
    gw,
    sd: tl.constexpr,
    sh: tl.constexpr,
    sw: tl.constexpr,
    pd: tl.constexpr,
    ph: tl.constexpr,
    pw: tl.constexpr,
    dd: tl.constexpr,
    dh: tl.constexpr,
    dw: tl.constexpr,
    KD: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """Gradient x of the input from g, that of the output."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    w0 = m % W
    h0 = (m // W) % H
    d0 = (m // (W * H)) % D
    b = m // (W * H * D)
    known = (c < C)[None, :]
    acc = tl.zeros((BM, BC), dtype=tl.float32)
    for r in range(R):
        n = c * R + r
        base = (b * gb)[:, None] + (n * gc)[None, :]
        for i in range(KD):
            d = (d0 + pd - i * dd) // sd
            in_d = (d >= 0) & (d < Do) & (d * sd == d0 + pd - i * dd)
            for j in tl.static_range(KH):
                h = (h0 + ph - j * dh) // sh
                plane = (m < M) & in_d & (h >= 0) & (h < Ho) & (h * sh == h0 + ph - j * dh)
                for k in tl.static_range(KW):
                    w = (w0 + pw - k * dw) // sw
                    inside = plane & (w >= 0) & (w < Wo) & (w * sw == w0 + pw - k * dw)
                    grad = tl.load(
                        g_ptr + base + (d * gd + h * gh + w * gw)[:, None],
                        mask=inside[:, None] & known,
                        other=0.0,
                    )
                    tap = (i * KH + j) * KW + k
                    weight = tl.load(w_ptr + n * (KD * KH * KW) + tap, mask=c < C, other=0.0)
                    acc += grad.to(tl.float32) * weight.to(tl.float32)[None, :]
    place = (b * xb + d0 * xd + h0 * xh + w0 * xw)[:, None] + (c * xc)[None, :]
    tl.store(x_ptr + place, acc.to(x_ptr.dtype.element_ty), mask=(m < M)[:, None] & known)


@triton.jit(do_not_specialize=[*SIZES, "SHARE"])
def weight_grad(
    g_ptr,
    x_ptr,
    w_ptr,
    M,
    CO,
    D,
    H,
    W,
    Do,
    Ho,
    Wo,
    xb,
    xc,
    xd,
    xh,
    xw,
    gb,
    gc,
    gd,
    gh,
    gw,
    SHARE,
    sd: tl.constexpr,
    sh: tl.constexpr,
    sw: tl.constexpr,
    pd: tl.constexpr,
    ph: tl.constexpr,
    pw: tl.constexpr,
    dd: tl.constexpr,
    dh: tl.constexpr,
    dw: tl.constexpr,
    KD: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    TAPS: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """Part of the kernel's gradient, (parts, KD, KH, KW, C'): over SHARE of the M voxels.

    A program sums the KW taps of a row of the kernel; TAPS is the power of two above.
    """
    i = tl.program_id(0) // KH
    j = tl.program_id(0) % KH
    n = tl.program_id(1) * BC + tl.arange(0, BC)
    part = tl.program_id(2)
    k = tl.arange(0, TAPS)
    acc = tl.zeros((TAPS, BC), dtype=tl.float32)
    for step in range(0, SHARE // BM):
        m = part * SHARE + step * BM + tl.arange(0, BM)
        wo = m % Wo
        ho = (m // Wo) % Ho
        do = (m // (Wo * Ho)) % Do
        b = m // (Wo * Ho * Do)
        d = do * sd - pd + i * dd
        h = ho * sh - ph + j * dh
        w = (wo * sw - pw)[None, :] + (k * dw)[:, None]
        rows = (m < M) & (d >= 0) & (d < D) & (h >= 0) & (h < H)
        inside = rows[None, :] & (w >= 0) & (w < W) & (k < KW)[:, None]
        voxel = (b * xb + d * xd + h * xh)[None, :] + w * xw
        x = tl.load(
            x_ptr + voxel[:, :, None] + ((n // R) * xc)[None, None, :],
            mask=inside[:, :, None] & (n < CO)[None, None, :],
            other=0.0,
        )
        grad = tl.load(
            g_ptr + (b * gb + do * gd + ho * gh + wo * gw)[:, None] + (n * gc)[None, :],
            mask=(m < M)[:, None] & (n < CO)[None, :],
            other=0.0,
        )
        acc += tl.sum(x.to(tl.float32) * grad.to(tl.float32)[None, :, :], axis=1)
    tap = tl.program_id(0) * KW + k
    place = ((part * KD * KH * KW + tap) * CO)[:, None] + n[None, :]
    tl.store(w_ptr + place, acc, mask=(k < KW)[:, None] & (n < CO)[None, :])
