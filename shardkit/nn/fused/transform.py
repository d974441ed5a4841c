"""Discrete Fourier transforms that one GPU thread computes in its registers, in Triton.

A tuple of tensors is a sequence: element n of all the sequences that the program works on is tensor n, of which each
thread holds its own elements. So a transform is arithmetic between tensors; nothing is exchanged between threads, and
after compilation nothing is left of the tuples, the recursion and the twiddle factors' angles.

Lengths 2^a · 3^b · 5^c are what the factors below are for; another prime p costs p² operations.

Source: Cooley and Tukey (1965), decimation in time; of a real sequence half the spectrum is kept, and each pair of an
output and its mirror image shares its products.
"""

import math

import triton
import triton.language as tl

# Triton unrolls `tl.static_range`, decides each `if` on constants when it compiles, and takes tuples apart.


@triton.constexpr_function
def _cos(turns, length):
    return math.cos(2.0 * math.pi * (turns % length) / length)


@triton.constexpr_function
def _sin(turns, length):
    return math.sin(2.0 * math.pi * (turns % length) / length)


@triton.constexpr_function
def _factor(length):
    return next(prime for prime in range(3, length + 1) if length % prime == 0)


@triton.jit
def real_dft(x, LENGTH: tl.constexpr):
    """Return real and imaginary parts of the first LENGTH // 2 + 1 outputs.

    The imaginary parts that are zero by symmetry (of output 0 and, of an even length, the last) are zeros.
    """
    if LENGTH == 1:
        return x, (tl.zeros_like(x[0]),)
    elif LENGTH % 2 == 0:
        return _by_twos(x, LENGTH)
    else:
        return _by_odd(x, LENGTH, _factor(LENGTH))


@triton.jit
def _by_twos(x, LENGTH: tl.constexpr):
    """X[k] = E[k] + w^k O[k]; E and O are the transforms of the even and the odd samples."""
    HALF: tl.constexpr = LENGTH // 2
    even_re, even_im = real_dft(x[0::2], HALF)
    odd_re, odd_im = real_dft(x[1::2], HALF)
    re = (even_re[0] + odd_re[0],)
    im = (even_im[0],)
    for k in tl.static_range(1, HALF):
        if 4 * k == LENGTH:  # both are real, and the twiddle factor is -i
            re = re + (even_re[k],)
            im = im + (-odd_re[k],)
        elif 2 * k <= HALF:
            c = _cos(k, LENGTH)
            s = _sin(k, LENGTH)
            re = re + (even_re[k] + (c * odd_re[k] + s * odd_im[k]),)
            im = im + (even_im[k] + (c * odd_im[k] - s * odd_re[k]),)
        else:  # the mirror image of output HALF - k
            c = _cos(HALF - k, LENGTH)
            s = _sin(HALF - k, LENGTH)
            re = re + (even_re[HALF - k] - (c * odd_re[HALF - k] + s * odd_im[HALF - k]),)
            im = im + ((c * odd_im[HALF - k] - s * odd_re[HALF - k]) - even_im[HALF - k],)
    return re + (even_re[0] - odd_re[0],), im + (even_im[0],)


@triton.jit
def _by_odd(x, LENGTH: tl.constexpr, PRIME: tl.constexpr):
    """X[q + t · rest] = transform over j, at t, of w^(jq) Y_j[q]; Y_j is that of every PRIME-th sample from j on."""
    REST: tl.constexpr = LENGTH // PRIME
    KEPT: tl.constexpr = REST // 2 + 1
    inner_re = ()
    inner_im = ()
    for j in tl.static_range(PRIME):
        part_re, part_im = real_dft(x[j::PRIME], REST)
        inner_re = inner_re + part_re
        inner_im = inner_im + part_im
    outer_re = ()  # output q + t · REST is element q · PRIME + t
    outer_im = ()
    for q in tl.static_range(KEPT):
        turned_re = (inner_re[q],)
        turned_im = (inner_im[q],)
        for j in tl.static_range(1, PRIME):
            if q == 0:
                turned_re = turned_re + (inner_re[j * KEPT],)
                turned_im = turned_im + (inner_im[j * KEPT],)
            else:
                c = _cos(j * q, LENGTH)
                s = _sin(j * q, LENGTH)
                turned_re = turned_re + (c * inner_re[j * KEPT + q] + s * inner_im[j * KEPT + q],)
                turned_im = turned_im + (c * inner_im[j * KEPT + q] - s * inner_re[j * KEPT + q],)
        part_re, part_im = _prime_dft(turned_re, turned_im, PRIME, q == 0)
        outer_re = outer_re + part_re
        outer_im = outer_im + part_im
    re = ()
    im = ()
    for k in tl.static_range(LENGTH // 2 + 1):
        if k % REST < KEPT:
            re = re + (outer_re[k % REST * PRIME + k // REST],)
            im = im + (outer_im[k % REST * PRIME + k // REST],)
        else:  # the mirror image of output LENGTH - k
            re = re + (outer_re[(LENGTH - k) % REST * PRIME + (LENGTH - k) // REST],)
            im = im + (-outer_im[(LENGTH - k) % REST * PRIME + (LENGTH - k) // REST],)
    return re, im


@triton.jit
def _prime_dft(re, im, LENGTH: tl.constexpr, REAL: tl.constexpr):
    """Return the transform of an odd length, outputs t and -t from the same sums; if REAL, ``im`` is not looked at."""
    sum_re = re[0]
    sum_im = im[0]
    for j in tl.static_range(1, LENGTH):
        sum_re = sum_re + re[j]
        if not REAL:
            sum_im = sum_im + im[j]
    first_re = (sum_re,)
    first_im = (sum_im,)
    last_re = ()
    last_im = ()
    for t in tl.static_range(1, LENGTH // 2 + 1):
        even_re = re[0]  # over j, of the parts that turn by cosines
        even_im = im[0]
        odd_re = _sin(t, LENGTH) * (re[1] - re[LENGTH - 1])  # and by sines
        odd_im = im[0]
        if not REAL:
            odd_im = _sin(t, LENGTH) * (im[1] - im[LENGTH - 1])
        for j in tl.static_range(1, LENGTH // 2 + 1):
            c = _cos(j * t, LENGTH)
            s = _sin(j * t, LENGTH)
            even_re = even_re + c * (re[j] + re[LENGTH - j])
            if not REAL:
                even_im = even_im + c * (im[j] + im[LENGTH - j])
            if j > 1:
                odd_re = odd_re + s * (re[j] - re[LENGTH - j])
                if not REAL:
                    odd_im = odd_im + s * (im[j] - im[LENGTH - j])
        if REAL:
            first_re = first_re + (even_re,)
            first_im = first_im + (-odd_re,)
            last_re = (even_re,) + last_re
            last_im = (odd_re,) + last_im
        else:
            first_re = first_re + (even_re + odd_im,)
            first_im = first_im + (even_im - odd_re,)
            last_re = (even_re - odd_im,) + last_re
            last_im = (even_im + odd_re,) + last_im
    return first_re + last_re, first_im + last_im
