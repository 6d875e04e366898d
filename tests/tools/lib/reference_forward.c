/* reference_forward.c: all positions go through a layer together, as [n, ...] arrays of double. */
#include "reference_forward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *new_array(size_t n)
{
    double *x = calloc(n, sizeof *x);
    if (!x) abort();
    return x;
}

/* What is left of x when it is rounded to 8 bits in blocks of `block`; 0: all of it. */
static double *rounded(const double *x, size_t n, uint32_t block)
{
    double *y = new_array(n);
    memcpy(y, x, n * sizeof *y);
    for (size_t b = 0; block && b < n; b += block) {
        double max = 0;
        for (size_t i = b; i < b + block; i++) max = fmax(max, fabs(x[i]));
        for (size_t i = b; i < b + block && max > 0; i++) y[i] = rint(x[i] * 127 / max) * max / 127;
    }
    return y;
}

/* y = x w^T + bias. x: [n, n_cols]; result: [n, n_rows]. */
static double *multiply(const toy_model *m, tensor_role role, tensor_role bias_role, uint32_t layer, const double *x, uint32_t n)
{
    const toy_tensor *t = toy_model_find(m, role, layer), *bias = NULL;
    if (bias_role != TENSOR_ROLE_END) bias = toy_model_find(m, bias_role, layer);
    float *w = toy_tensor_f32(t), *b = bias ? toy_tensor_f32(bias) : NULL;
    double *y = new_array(n * t->n_rows);
    for (uint32_t i = 0; i < n; i++) {
        double *xi = rounded(x + i * t->n_cols, t->n_cols, quant_traits_of(t->type)->act_block);
        for (size_t r = 0; r < t->n_rows; r++) {
            double sum = 0;
            for (size_t c = 0; c < t->n_cols; c++) sum += (double)w[r * t->n_cols + c] * xi[c];
            y[i * t->n_rows + r] = sum + (b ? (double)b[r] : 0);
        }
        free(xi);
    }
    free(w);
    free(b);
    return y;
}

static double *rmsnorm(const toy_model *m, tensor_role role, uint32_t layer, const double *x, uint32_t n)
{
    size_t n_embd = m->hp.n_embd;
    float *w = toy_tensor_f32(toy_model_find(m, role, layer));
    double *y = new_array(n * n_embd);
    for (uint32_t i = 0; i < n; i++) {
        double squares = 0;
        for (size_t j = 0; j < n_embd; j++) squares += x[i * n_embd + j] * x[i * n_embd + j];
        double r = 1 / sqrt(squares / (double)n_embd + (double)m->hp.rms_eps);
        for (size_t j = 0; j < n_embd; j++) y[i * n_embd + j] = x[i * n_embd + j] * r * (double)w[j];
    }
    free(w);
    return y;
}

/* Turns each pair of neighbours of each head as one complex number. x: [n, n_head, n_embd_head] */
static void rope(const toy_model *m, double *x, uint32_t n, uint32_t n_head)
{
    const hparams *hp = &m->hp;
    const toy_tensor *factors = toy_model_find(m, TENSOR_ROPE_FREQS, 0);
    float *f = factors ? toy_tensor_f32(factors) : NULL;
    for (uint32_t pos = 0; pos < n; pos++) {
        for (uint32_t h = 0; h < n_head; h++) {
            double *head = x + ((size_t)pos * n_head + h) * hp->n_embd_head;
            for (uint32_t p = 0; p < hp->n_rot / 2; p++) {
                double angle = pos / hp->rope_factor * pow(hp->rope_freq_base, -2.0 * p / hp->n_rot) / (f ? (double)f[p] : 1);
                double re = head[2 * p], im = head[2 * p + 1];
                head[2 * p] = re * cos(angle) - im * sin(angle);
                head[2 * p + 1] = re * sin(angle) + im * cos(angle);
            }
        }
    }
    free(f);
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* One query against the keys and values of positions [0, pos]; k, v: heads of this query, `stride` apart. */
static void attend(double *out, const double *q, const double *k, const double *v, size_t stride, uint32_t pos, size_t n_embd_head)
{
    double *p = new_array(pos + 1), sum = 0, max = -INFINITY;
    for (uint32_t j = 0; j <= pos; j++) {
        p[j] = dot(q, k + j * stride, n_embd_head) / sqrt((double)n_embd_head);
        max = fmax(max, p[j]);
    }
    for (uint32_t j = 0; j <= pos; j++) sum += p[j] = exp(p[j] - max);
    for (uint32_t j = 0; j <= pos; j++) {
        for (size_t d = 0; d < n_embd_head; d++) out[d] += p[j] / sum * v[j * stride + d];
    }
    free(p);
}

static double *attention(const toy_model *m, const double *q, const double *k, const double *v, uint32_t n)
{
    const hparams *hp = &m->hp;
    size_t n_q = (size_t)hp->n_head * hp->n_embd_head, n_kv = (size_t)hp->n_head_kv * hp->n_embd_head;
    double *out = new_array(n * n_q);
    for (uint32_t pos = 0; pos < n; pos++) {
        for (uint32_t h = 0; h < hp->n_head; h++) {
            size_t at = pos * n_q + (size_t)h * hp->n_embd_head;
            size_t kv_at = (size_t)(h / (hp->n_head / hp->n_head_kv)) * hp->n_embd_head;
            attend(out + at, q + at, k + kv_at, v + kv_at, n_kv, pos, hp->n_embd_head);
        }
    }
    return out;
}

static void add(double *x, double *y, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] += y[i];
    free(y);
}

static void attention_block(const toy_model *m, uint32_t layer, double *x, uint32_t n)
{
    double *h = rmsnorm(m, TENSOR_ATTN_NORM, layer, x, n);
    double *q = multiply(m, TENSOR_ATTN_Q, TENSOR_ATTN_Q_BIAS, layer, h, n);
    double *k = multiply(m, TENSOR_ATTN_K, TENSOR_ATTN_K_BIAS, layer, h, n);
    double *v = multiply(m, TENSOR_ATTN_V, TENSOR_ATTN_V_BIAS, layer, h, n);
    rope(m, q, n, m->hp.n_head);
    rope(m, k, n, m->hp.n_head_kv);
    double *attn = attention(m, q, k, v, n);
    add(x, multiply(m, TENSOR_ATTN_OUTPUT, TENSOR_ATTN_OUTPUT_BIAS, layer, attn, n), (size_t)n * m->hp.n_embd);
    free(h);
    free(q);
    free(k);
    free(v);
    free(attn);
}

static void feed_forward_block(const toy_model *m, uint32_t layer, double *x, uint32_t n)
{
    double *h = rmsnorm(m, TENSOR_FFN_NORM, layer, x, n);
    double *gate = multiply(m, TENSOR_FFN_GATE, TENSOR_FFN_GATE_BIAS, layer, h, n);
    double *up = multiply(m, TENSOR_FFN_UP, TENSOR_FFN_UP_BIAS, layer, h, n);
    for (size_t i = 0; i < (size_t)n * m->hp.n_ff; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    add(x, multiply(m, TENSOR_FFN_DOWN, TENSOR_FFN_DOWN_BIAS, layer, gate, n), (size_t)n * m->hp.n_embd);
    free(h);
    free(gate);
    free(up);
}

double *reference_forward(const toy_model *m, const int32_t *tokens, uint32_t n)
{
    size_t n_embd = m->hp.n_embd;
    float *embd = toy_tensor_f32(toy_model_find(m, TENSOR_TOKEN_EMBD, 0));
    double *x = new_array(n * n_embd);
    for (uint32_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n_embd; j++) x[i * n_embd + j] = (double)embd[(size_t)tokens[i] * n_embd + j];
    }
    for (uint32_t layer = 0; layer < m->hp.n_layer; layer++) {
        attention_block(m, layer, x, n);
        feed_forward_block(m, layer, x, n);
    }
    double *h = rmsnorm(m, TENSOR_OUTPUT_NORM, 0, x, n);
    double *logits = multiply(m, m->hp.tied_embeddings ? TENSOR_TOKEN_EMBD : TENSOR_OUTPUT, TENSOR_ROLE_END, 0, h, n);
    free(embd);
    free(x);
    free(h);
    return logits;
}
