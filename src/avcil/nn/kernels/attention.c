/* The element-wise part of guided attention, between the two matrix products of a block: one pass per direction.

   C clips, T time slices, S spatial tokens of a slice, D width; arrays are contiguous. A thread processes one slice
   (S, D) at a time and sums over S in a fixed order, so the result does not depend on the number of threads.
   REAL and INTEGER are float and int, or double and long. */

#include <stdint.h>
#include <string.h>

/* The width of the registers: GCC splits comparisons of wider vectors into scalar ones. */
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))
#define INLINE static inline __attribute__((always_inline))

typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));
typedef INTEGER ivec __attribute__((vector_size(VECTOR_BYTES)));

/* Terms of Taylor series for full precision: |x| <= 1 for scores, |x| <= ln(2) / 2 after range reduction. */
enum { SCORE_TERMS = sizeof(REAL) == 4 ? 11 : 19, REDUCED_TERMS = sizeof(REAL) == 4 ? 7 : 14 };
enum { MANTISSA = sizeof(REAL) == 4 ? 23 : 52, EXPONENT_BIAS = sizeof(REAL) == 4 ? 127 : 1023 };

INLINE vec load(const REAL *from, int lanes)
{
    vec x = {0};
    memcpy(&x, from, lanes * sizeof(REAL));
    return x;
}

INLINE void store(REAL *to, vec x, int lanes) { memcpy(to, &x, lanes * sizeof(REAL)); }

INLINE vec least(vec x, vec y)
{
    ivec smaller = x < y;
    return (vec)(((ivec)x & smaller) | ((ivec)y & ~smaller));
}

/* (e^x - 1) / x = 1 + x/2! + x^2/3! + ... by Horner's rule; unrolled, so that the compiler knows the coefficients */
INLINE vec series(vec x, int terms)
{
    long double coefficient = 1;
#pragma GCC unroll 20
    for (int k = 2; k <= terms; k++)
        coefficient /= k;
    vec sum = (vec){0} + (REAL)coefficient;
#pragma GCC unroll 20
    for (int k = terms; k > 1; k--) {
        coefficient *= k;
        sum = (REAL)coefficient + x * sum;
    }
    return sum;
}

INLINE vec exp_score(vec x) { return 1 + x * series(x, SCORE_TERMS); }

/* x = n ln 2 + r; gives r and 2^n */
INLINE vec reduce(vec x, vec *power)
{
    const REAL round = sizeof(REAL) == 4 ? 12582912.0 : 6755399441055744.0; /* 1.5 * 2^MANTISSA: what is added to it is rounded */
    const REAL high = sizeof(REAL) == 4 ? 0.693359375 : 0x1.62e42fee00000p-1;
    const REAL low = sizeof(REAL) == 4 ? -2.12194440054690583e-4 : 0x1.a39ef35793c76p-33;
    vec n = (x * (REAL)1.44269504088896340736L + round) - round;
    *power = (vec)((__builtin_convertvector(n, ivec) + EXPONENT_BIAS) << MANTISSA);
    return (x - n * high) - n * low;
}

INLINE vec exp_any(vec x)
{
    vec power, lowest = (vec){0} + (sizeof(REAL) == 4 ? -87 : -708);
    vec r = reduce(-least(-x, -lowest), &power);
    return power + power * r * series(r, REDUCED_TERMS);
}

INLINE vec tanh_any(vec x)
{
    vec power, most = (vec){0} + (sizeof(REAL) == 4 ? 20 : 40); /* of 2 |x|; beyond it tanh rounds to 1 */
    vec r = reduce(-least(-least(2 * x, most), most), &power);
    vec less_one = (power - 1) + power * r * series(r, REDUCED_TERMS); /* e^2x - 1 */
    return less_one / (less_one + 2);
}

/* A thread goes down a column of vectors, D apart: too far for the processor to fetch the next lines by itself. */
enum { ROWS_AHEAD = 4 };

INLINE void fetch(const REAL *row, long width)
{
    __builtin_prefetch((const void *)((uintptr_t)row + ROWS_AHEAD * width * sizeof(REAL))); /* perhaps behind the end */
}

/* ---- forward: keys in place, sums of exponentials, tokens and keys seen, and the divergence from old maps ---- */

typedef struct { REAL *keys; const REAL *tokens, *old; } Row;
typedef struct { vec total, seen, summary, cross, odd; } Sums;

INLINE void forward_one(Sums *sums, Row row, vec bias, vec query, REAL even, int lanes)
{
    vec projected = load(row.keys, lanes) + bias;
    vec key = tanh_any(projected), score = key * query, power = exp_score(score);
    sums->odd += projected * 0; /* comparisons in tanh let a NaN pass for a number; this keeps it */
    store(row.keys, key, lanes);
    sums->total += power;
    sums->seen += power * load(row.tokens, lanes);
    sums->summary += power * key;
    if (row.old) {
        vec old = load(row.old, lanes);
        sums->cross += exp_any(old) * (old + even - score);
    }
}

INLINE void forward_columns(long spatial, long width, Row row, const REAL *bias, const REAL *query, REAL *total,
    REAL *seen, REAL *summary, REAL *cross, REAL even, int lanes)
{
    Sums sums = {{0}, {0}, {0}, {0}, {0}};
    vec shift = load(bias, lanes), guide = load(query, lanes);
    for (long s = 0; s < spatial; s++) {
        Row here = {row.keys + s * width, row.tokens + s * width, row.old ? row.old + s * width : 0};
        fetch(here.keys, width);
        fetch(here.tokens, width);
        if (here.old)
            fetch(here.old, width);
        forward_one(&sums, here, shift, guide, even, lanes);
    }
    sums.total += sums.odd;
    store(total, sums.total, lanes);
    store(seen, sums.seen / sums.total, lanes);
    store(summary, sums.summary / sums.total, lanes);
    if (cross)
        store(cross, sums.cross, lanes);
}

/* keys (C, T, S, D): V U^T on entry, tanh(V U^T + bias) on return; tokens (C, T, S, D); query (C, D); old: log A_old
   (n, T, S, D) of the clips from first_old on. Returns total, seen, summary (C, T, D), and cross (n, T, D):
   sum_S A_old (log A_old + even - score); with even = log S its terms are small and little is rounded off. */
void attend_forward(long clips, long slices, long spatial, long width, REAL *keys, const REAL *tokens, const REAL *bias,
    const REAL *query, const REAL *old, long first_old, REAL even, REAL *total, REAL *seen, REAL *summary, REAL *cross)
{
#pragma omp parallel for schedule(static)
    for (long piece = 0; piece < clips * slices; piece++) {
        long clip = piece / slices, held = piece - first_old * slices;
        int watched = old && held >= 0;
        for (long d = 0; d < width; d += LANES) {
            long at = piece * spatial * width + d, sum = piece * width + d;
            Row row = {keys + at, tokens + at, watched ? old + held * spatial * width + d : 0};
            REAL *c = watched ? cross + held * width + d : 0;
            const REAL *q = query + clip * width + d;
            if (d + LANES <= width)
                forward_columns(spatial, width, row, bias + d, q, total + sum, seen + sum, summary + sum, c, even, LANES);
            else
                forward_columns(
                    spatial, width, row, bias + d, q, total + sum, seen + sum, summary + sum, c, even, (int)(width - d));
        }
    }
}

/* ---- backward: gradients of the projection's output, of the query and of the bias ---- */

typedef struct { vec query, share, seen, summary, shared, pull; } Pull;

INLINE vec backward_one(vec *query, const REAL *keys, const REAL *tokens, const REAL *old, Pull p, int lanes)
{
    vec key = load(keys, lanes);
    vec attention = exp_score(key * p.query) * p.share;
    vec score = attention * (load(tokens, lanes) * p.seen + key * p.summary - p.shared);
    if (old)
        score += p.pull * (attention - exp_any(load(old, lanes)));
    *query += score * key;
    return (score * p.query + attention * p.summary) * (1 - key * key);
}

typedef struct { const REAL *query, *total, *seen, *summary, *shared; } Given;

INLINE void backward_columns(long spatial, long width, const REAL *keys, const REAL *tokens, const REAL *old, REAL pull,
    Given given, REAL *grad, REAL *grad_query, REAL *grad_bias, int lanes)
{
    vec query_sum = {0}, bias_sum = {0};
    Pull p = {load(given.query, lanes), 1 / load(given.total, lanes), load(given.seen, lanes),
        load(given.summary, lanes), load(given.shared, lanes), (vec){0} + pull};
    for (long s = 0; s < spatial; s++) {
        long at = s * width;
        fetch(keys + at, width);
        fetch(tokens + at, width);
        if (old)
            fetch(old + at, width);
        vec g = backward_one(&query_sum, keys + at, tokens + at, old ? old + at : 0, p, lanes);
        store(grad + at, g, lanes);
        bias_sum += g;
    }
    store(grad_query, query_sum, lanes);
    store(grad_bias, bias_sum, lanes);
}

/* As above; total, grad_seen, grad_summary and shared (what the softmax over S subtracts) (C, T, D), pull (n,) the
   gradient of each clip's divergence. Returns grad (C, T, S, D) of V U^T, grad_query and grad_bias (C, T, D), to be
   summed up. */
void attend_backward(long clips, long slices, long spatial, long width, const REAL *keys, const REAL *tokens,
    const REAL *query, const REAL *total, const REAL *grad_seen, const REAL *grad_summary, const REAL *shared,
    const REAL *old, const REAL *pull, long first_old, REAL *grad, REAL *grad_query, REAL *grad_bias)
{
#pragma omp parallel for schedule(static)
    for (long piece = 0; piece < clips * slices; piece++) {
        long clip = piece / slices, held = piece - first_old * slices;
        int watched = old && held >= 0;
        REAL pulled = watched ? pull[clip - first_old] : 0;
        for (long d = 0; d < width; d += LANES) {
            long at = piece * spatial * width + d, sum = piece * width + d;
            const REAL *o = watched ? old + held * spatial * width + d : 0;
            Given given = {query + clip * width + d, total + sum, grad_seen + sum, grad_summary + sum, shared + sum};
            if (d + LANES <= width)
                backward_columns(spatial, width, keys + at, tokens + at, o, pulled, given, grad + at, grad_query + sum,
                    grad_bias + sum, LANES);
            else
                backward_columns(spatial, width, keys + at, tokens + at, o, pulled, given, grad + at, grad_query + sum,
                    grad_bias + sum, (int)(width - d));
        }
    }
}
