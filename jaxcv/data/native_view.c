/* What a view shows of a JPEG, decoded and scaled without a pixel more than is needed.

   Only the rows and columns that the filter sees leave libjpeg-turbo (jpeg_skip_scanlines,
   jpeg_crop_scanline), and as a rule each row is scaled across as it comes, and then all of them
   down. The filter is Pillow's bilinear one for 8 bits, in its whole numbers: weights of 22 bits, the
   triangle widened by the factor of shrinking, rounded to bytes between the two passes; so the bytes
   are those of Pillow. Weights are at least 0 and add up to 1 but for their rounding, so that no sum can
   leave [0, 255.5) or 32 bits. `jaxcv/data/native.py` builds, checks and calls this.  */

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#define BITS 22
#define MARGIN 32 /* columns on either side, so that no upsampling sees an edge of the window */

typedef int32_t ints4 __attribute__((vector_size(16)));

/* The filter along one axis: weight[i * taps + t] of input first[i] + t, t < count[i]. */
typedef struct {
    int taps, most;  /* room for weights, and the largest count */
    int low, high;   /* inputs [low, high) are seen */
    int *first, *count;
    int32_t *weight;
} axis;

typedef struct {
    struct jpeg_error_mgr manager;
    jmp_buf escape;
} errors;

/* All that is to be freed, wherever decoding ends. */
typedef struct {
    struct jpeg_decompress_struct jpeg;
    errors error;
    axis across, down;
    uint8_t *line, *rows;
    ints4 *wide;
    int32_t *sums;
} work;

static void escape(j_common_ptr jpeg) { longjmp(((errors *)jpeg->err)->escape, 1); }

/* A warning means damaged data: Pillow is to decide about such a file. */
static void message(j_common_ptr jpeg, int level) {
    if (level < 0) escape(jpeg);
}

static int make_axis(axis *a, int inputs, float start, float stop, int outputs) {
    double scale = (double)(stop - start) / outputs;
    double widened = scale < 1 ? 1 : scale;
    a->taps = (int)ceil(widened) * 2 + 1;
    a->first = malloc(outputs * sizeof(int));
    a->count = malloc(outputs * sizeof(int));
    a->weight = calloc((size_t)outputs * a->taps, sizeof(int32_t));
    double *exact = malloc(a->taps * sizeof(double));
    if (!a->first || !a->count || !a->weight || !exact) {
        free(exact);
        return 0;
    }
    for (int i = 0; i < outputs; i++) {
        double center = start + (i + 0.5) * scale, total = 0;
        int low = (int)(center - widened + 0.5), high = (int)(center + widened + 0.5);
        if (low < 0) low = 0;
        if (high > inputs) high = inputs;
        for (int t = 0; t < high - low; t++) {
            double distance = fabs((t + low - center + 0.5) * (1.0 / widened));
            exact[t] = distance < 1 ? 1 - distance : 0;
            total += exact[t];
        }
        for (int t = 0; t < high - low; t++) {
            double share = total != 0 ? exact[t] / total : exact[t];
            a->weight[(size_t)i * a->taps + t] = (int32_t)(0.5 + share * (1 << BITS));
        }
        a->first[i] = low;
        a->count[i] = high - low;
        if (a->count[i] > a->most) a->most = a->count[i];
    }
    a->low = a->first[0];
    a->high = a->first[outputs - 1] + a->count[outputs - 1];
    free(exact);
    return 1;
}

/* One row of pixels of 4 integers to `outputs` pixels of 3 bytes. All take the same number of taps,
   the last with weights 0: a loop of unforeseen length would cost more than they do.  */
static inline __attribute__((always_inline)) void take_taps(const axis *a, const ints4 *in, int offset,
                                                            uint8_t *out, int outputs, int taps) {
    for (int i = 0; i < outputs; i++) {
        const ints4 *pixel = in + (a->first[i] - offset);
        const int32_t *weight = a->weight + (size_t)i * a->taps;
        ints4 sum = {1 << (BITS - 1), 1 << (BITS - 1), 1 << (BITS - 1), 0};
        for (int t = 0; t < taps; t++) sum += pixel[t] * weight[t];
        sum >>= BITS;
        for (int c = 0; c < 3; c++) out[3 * i + c] = sum[c];
    }
}

static void scale_across_colour(const axis *a, const ints4 *in, int offset, uint8_t *out, int outputs) {
    switch (a->most) {
    case 2: take_taps(a, in, offset, out, outputs, 2); break;
    case 3: take_taps(a, in, offset, out, outputs, 3); break;
    case 4: take_taps(a, in, offset, out, outputs, 4); break;
    case 5: take_taps(a, in, offset, out, outputs, 5); break;
    default: take_taps(a, in, offset, out, outputs, a->most);
    }
}

static void scale_across_grey(const axis *a, const uint8_t *in, int offset, uint8_t *out, int outputs) {
    for (int i = 0; i < outputs; i++) {
        const uint8_t *pixel = in + (a->first[i] - offset);
        const int32_t *weight = a->weight + (size_t)i * a->taps;
        int32_t sum = 1 << (BITS - 1);
        for (int t = 0; t < a->count[i]; t++) sum += pixel[t] * weight[t];
        out[i] = sum >> BITS;
    }
}

/* In a function of its own, with nothing that a compiler must fear to be one: it is vectorised. */
static void widen(const uint8_t *restrict in, int32_t *restrict out, size_t length) {
    for (size_t x = 0; x < length; x++) out[x] = in[x];
}

/* One row as libjpeg-turbo gives it to one row of the result's width. */
static void scale_across(work *w, const uint8_t *line, size_t columns, int offset, uint8_t *out, int outputs,
                         int channels) {
    if (channels == 3) {
        widen(line, (int32_t *)w->wide, 4 * columns);
        scale_across_colour(&w->across, w->wide, offset, out, outputs);
    } else
        scale_across_grey(&w->across, line, offset, out, outputs);
}

/* Output row i out of rows of which the first is a->low. */
static void scale_down(const axis *a, int i, const uint8_t *restrict rows, size_t stride,
                       int32_t *restrict sums, uint8_t *restrict out, size_t length) {
    for (size_t x = 0; x < length; x++) sums[x] = 1 << (BITS - 1);
    for (int t = 0; t < a->count[i]; t++) {
        const uint8_t *row = rows + (a->first[i] + t - a->low) * stride;
        int32_t weight = a->weight[(size_t)i * a->taps + t];
        for (size_t x = 0; x < length; x++) sums[x] += row[x] * weight;
    }
    for (size_t x = 0; x < length; x++) out[x] = sums[x] >> BITS;
}

static void show(work *w, const uint8_t *data, size_t size, int reduced, int height, int width,
                 const float *box, int out_height, int out_width, int channels, uint8_t *out,
                 size_t out_stride, int down_first) {
    struct jpeg_decompress_struct *jpeg = &w->jpeg;
    jpeg_mem_src(jpeg, (unsigned char *)data, size);
    jpeg_read_header(jpeg, TRUE);
    jpeg->scale_num = 1;
    jpeg->scale_denom = reduced;
    jpeg->out_color_space = channels == 3 ? JCS_EXT_RGBX : JCS_GRAYSCALE;
    jpeg_start_decompress(jpeg);
    if ((int)jpeg->output_width != width || (int)jpeg->output_height != height) escape((j_common_ptr)jpeg);
    if (!make_axis(&w->across, width, box[0], box[2], out_width) ||
        !make_axis(&w->down, height, box[1], box[3], out_height))
        escape((j_common_ptr)jpeg);

    int low = w->across.low > MARGIN ? w->across.low - MARGIN : 0;
    int high = w->across.high + MARGIN < width ? w->across.high + MARGIN : width;
    JDIMENSION offset = low, columns = high - low;
    if (low > 0 || high < width) jpeg_crop_scanline(jpeg, &offset, &columns);
    int seen = w->down.high - w->down.low;
    size_t decoded = (size_t)columns * (channels == 3 ? 4 : 1), scaled = (size_t)out_width * channels;
    size_t padded = columns + w->across.most; /* weights of 0 reach past the end */
    /* To aligned rows libjpeg-turbo writes past the caches, and reading them back would wait for it. */
    size_t stride = down_first ? (decoded + 63) / 32 * 32 : scaled;
    w->rows = malloc(seen * stride + 1);
    w->line = malloc(decoded + 1);
    w->wide = aligned_alloc(sizeof(ints4), padded * sizeof(ints4));
    w->sums = malloc((decoded > scaled ? decoded : scaled) * sizeof(int32_t));
    if (!w->line || !w->wide || !w->rows || !w->sums) escape((j_common_ptr)jpeg);
    memset(w->wide, 0, padded * sizeof(ints4));
    if (w->down.low > 0) jpeg_skip_scanlines(jpeg, w->down.low);
    for (int y = 0; y < seen; y++) {
        uint8_t *row = w->rows + y * stride, *line = down_first ? row + 1 : w->line + 1;
        if (jpeg_read_scanlines(jpeg, &line, 1) != 1) escape((j_common_ptr)jpeg);
        if (!down_first) scale_across(w, line, columns, offset, row, out_width, channels);
    }
    for (int i = 0; i < out_height; i++) {
        uint8_t *row = out + i * out_stride;
        if (down_first) {
            scale_down(&w->down, i, w->rows + 1, stride, w->sums, w->line, decoded);
            scale_across(w, w->line, columns, offset, row, out_width, channels);
        } else
            scale_down(&w->down, i, w->rows, stride, w->sums, row, scaled);
    }
}

/* Writes uint8 [out_height, out_width, channels] to `out`, whose rows are out_stride bytes apart.

   `height` and `width` are those of the JPEG when it is divided by `reduced`, and `box` (left, top,
   right, bottom) lies in it. With `down_first` rows are scaled before columns. Returns 1, or 0 where anything at all is not as it should be.  */
int jaxcv_show(const uint8_t *data, size_t size, int reduced, int height, int width, const float *box,
               int out_height, int out_width, int channels, uint8_t *out, size_t out_stride,
               int down_first) {
    work *w = calloc(1, sizeof(work));
    if (!w) return 0;
    w->jpeg.err = jpeg_std_error(&w->error.manager);
    w->error.manager.error_exit = escape;
    w->error.manager.emit_message = message;
    volatile int done = 0;
    if (!setjmp(w->error.escape)) {
        jpeg_create_decompress(&w->jpeg);
        show(w, data, size, reduced, height, width, box, out_height, out_width, channels, out, out_stride,
             down_first);
        done = 1;
    }
    jpeg_destroy_decompress(&w->jpeg);
    free(w->across.first), free(w->across.count), free(w->across.weight);
    free(w->down.first), free(w->down.count), free(w->down.weight);
    free(w->line), free(w->wide), free(w->rows), free(w->sums);
    free(w);
    return done;
}
