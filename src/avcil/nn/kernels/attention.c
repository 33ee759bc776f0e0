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

/* ---- forward: keys in place, sums of exponentials, tokens and keys attended, and the divergence from old maps ---- */

typedef struct { REAL *keys; const REAL *tokens, *old; } Row;
typedef struct { vec total, attended, summary, cross, nan_check; } Sums;

INLINE void forward_one(Sums *sums, Row row, vec bias, vec query, REAL log_tokens, int lanes)
{
    vec projected = load(row.keys, lanes) + bias;
    vec key = tanh_any(projected), score = key * query, power = exp_score(score);
    sums->nan_check += projected * 0; /* comparisons in tanh let a NaN pass for a number; this keeps it */
    store(row.keys, key, lanes);
    sums->total += power;
    sums->attended += power * load(row.tokens, lanes);
    sums->summary += power * key;
    if (row.old) {
        vec old = load(row.old, lanes);
        sums->cross += exp_any(old) * (old + log_tokens - score);
    }
}

INLINE void forward_columns(long spatial, long width, Row row, const REAL *bias, const REAL *query, REAL *total,
    REAL *attended, REAL *summary, REAL *cross, REAL log_tokens, int lanes)
{
    Sums sums = {{0}, {0}, {0}, {0}, {0}};
    vec bias_row = load(bias, lanes), query_row = load(query, lanes);
    for (long s = 0; s < spatial; s++) {
        Row row_here = {row.keys + s * width, row.tokens + s * width, row.old ? row.old + s * width : 0};
        fetch(row_here.keys, width);
        fetch(row_here.tokens, width);
        if (row_here.old)
            fetch(row_here.old, width);
        forward_one(&sums, row_here, bias_row, query_row, log_tokens, lanes);
    }
    sums.total += sums.nan_check;
    store(total, sums.total, lanes);
    store(attended, sums.attended / sums.total, lanes);
    store(summary, sums.summary / sums.total, lanes);
    if (cross)
        store(cross, sums.cross, lanes);
}

/* keys (C, T, S, D): V U^T on entry, tanh(V U^T + bias) on return; tokens (C, T, S, D); query (C, D); old: log A_old
   (n, T, S, D) of the clips from first_old on. Returns total, attended, summary (C, T, D), and cross (n, T, D):
   sum_S A_old (log A_old + log_tokens - score); its terms are small with log_tokens = log S,
   so that little is rounded off. */
void attend_forward(long clips, long slices, long spatial, long width, REAL *keys, const REAL *tokens, const REAL *bias,
    const REAL *query, const REAL *old, long first_old, REAL log_tokens, REAL *total, REAL *attended, REAL *summary,
    REAL *cross)
{
#pragma omp parallel for schedule(static)
    for (long slice_index = 0; slice_index < clips * slices; slice_index++) {
        long clip = slice_index / slices, old_index = slice_index - first_old * slices;
        int has_old = old && old_index >= 0;
        for (long d = 0; d < width; d += LANES) {
            long at = slice_index * spatial * width + d, sum = slice_index * width + d;
            Row row = {keys + at, tokens + at, has_old ? old + old_index * spatial * width + d : 0};
            REAL *c = has_old ? cross + old_index * width + d : 0;
            const REAL *q = query + clip * width + d;
            if (d + LANES <= width)
                forward_columns(
                    spatial, width, row, bias + d, q, total + sum, attended + sum, summary + sum, c, log_tokens, LANES);
            else
                forward_columns(
                    spatial, width, row, bias + d, q, total + sum, attended + sum, summary + sum, c, log_tokens,
                    (int)(width - d));
        }
    }
}

/* ---- backward: gradients of the projection's output, of the query and of the bias ---- */

typedef struct { vec query, inverse_total, attended, summary, shared, grad_divergence; } Gradients;

INLINE vec backward_one(vec *query, const REAL *keys, const REAL *tokens, const REAL *old, Gradients p, int lanes)
{
    vec key = load(keys, lanes);
    vec attention = exp_score(key * p.query) * p.inverse_total;
    vec score = attention * (load(tokens, lanes) * p.attended + key * p.summary - p.shared);
    if (old)
        score += p.grad_divergence * (attention - exp_any(load(old, lanes)));
    *query += score * key;
    return (score * p.query + attention * p.summary) * (1 - key * key);
}

typedef struct { const REAL *query, *total, *attended, *summary, *shared; } Inputs;

INLINE void backward_columns(long spatial, long width, const REAL *keys, const REAL *tokens, const REAL *old,
    REAL grad_divergence, Inputs inputs, REAL *grad, REAL *grad_query, REAL *grad_bias, int lanes)
{
    vec query_sum = {0}, bias_sum = {0};
    Gradients p = {load(inputs.query, lanes), 1 / load(inputs.total, lanes), load(inputs.attended, lanes),
        load(inputs.summary, lanes), load(inputs.shared, lanes), (vec){0} + grad_divergence};
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

/* As above; total, grad_attended, grad_summary and shared (what the softmax over S subtracts) (C, T, D),
   grad_divergence (n,) the gradient of each clip's divergence. Returns grad (C, T, S, D) of V U^T, grad_query and
   grad_bias (C, T, D), to be summed up. */
void attend_backward(long clips, long slices, long spatial, long width, const REAL *keys, const REAL *tokens,
    const REAL *query, const REAL *total, const REAL *grad_attended, const REAL *grad_summary, const REAL *shared,
    const REAL *old, const REAL *grad_divergence, long first_old, REAL *grad, REAL *grad_query, REAL *grad_bias)
{
#pragma omp parallel for schedule(static)
    for (long slice_index = 0; slice_index < clips * slices; slice_index++) {
        long clip = slice_index / slices, old_index = slice_index - first_old * slices;
        int has_old = old && old_index >= 0;
        REAL clip_grad_divergence = has_old ? grad_divergence[clip - first_old] : 0;
        for (long d = 0; d < width; d += LANES) {
            long at = slice_index * spatial * width + d, sum = slice_index * width + d;
            const REAL *o = has_old ? old + old_index * spatial * width + d : 0;
            Inputs inputs = {
                query + clip * width + d, total + sum, grad_attended + sum, grad_summary + sum, shared + sum};
            if (d + LANES <= width)
                backward_columns(
                    spatial, width, keys + at, tokens + at, o, clip_grad_divergence, inputs, grad + at, grad_query + sum,
                    grad_bias + sum, LANES);
            else
                backward_columns(
                    spatial, width, keys + at, tokens + at, o, clip_grad_divergence, inputs, grad + at, grad_query + sum,
                    grad_bias + sum, (int)(width - d));
        }
    }
}
