/* fuzz_frames.c: any bytes are either refused with a sentence, or a frame that survives being encoded and decoded again.
 *
 * The input is copied to a block of exactly its size, so that the address sanitizer sees the first byte read beyond it. What we
 * take for a frame msgpack-c takes for one whole MessagePack object. The corpus holds the examples of proto/FRAMES.md. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "msgpack_reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Every view lies within the bytes it came from. */
static uint64_t touch(frame_bin b)
{
    uint64_t sum = b.n_bytes;
    for (size_t i = 0; i < b.n_bytes; i++) sum += b.data[i];
    return sum;
}

static uint64_t touch_all(const frame *f)
{
    uint64_t sum = 0;
    switch (f->kind) {
    case FRAME_HELLO: return touch(f->hello.name) + touch(f->hello.model_id) + touch(f->hello.version);
    case FRAME_ASSIGN:
        for (uint32_t i = 0; i < f->assign.n_tensors; i++) sum += f->assign.tensors[i].n_rows * f->assign.tensors[i].n_cols;
        return sum;
    case FRAME_FORWARD:
        for (uint32_t i = 0; i < f->forward.n_segments; i++) sum += f->forward.segments[i].n_rows;
        assert(sum == f->forward.n_rows);
        for (uint32_t i = 0; i < f->forward.n_wants; i++) {
            assert(f->forward.wants[i].row < f->forward.n_rows);
            sum += touch(f->forward.wants[i].listed);
        }
        for (uint32_t i = 0; i < f->forward.n_faults; i++) assert(f->forward.faults[i].row < f->forward.n_rows);
        return sum + touch(f->forward.payload);
    case FRAME_RESULT:
        for (uint32_t i = 0; i < f->result.n_answers; i++)
            sum += touch(f->result.answers[i].data) + touch(f->result.answers[i].listed);
        return sum;
    default: return 0;
    }
}

/* What was decoded, encoded: a frame, and the same bytes after another round. */
static void check_round_trip(const frame *f, frame_scratch *scratch)
{
    frame_bytes once = {0}, twice = {0};
    frame again;
    assert(frame_encode(&once, f, NULL) == YL_OK);
    assert(frame_decode(&again, scratch, once.data, once.n, NULL) == YL_OK);
    assert(again.kind == f->kind && again.epoch == f->epoch);
    assert(frame_encode(&twice, &again, NULL) == YL_OK);
    assert(twice.n == once.n && !memcmp(twice.data, once.data, once.n));
    frame_bytes_clear(&once);
    frame_bytes_clear(&twice);
}

static void check_with_reference(const uint8_t *bytes, size_t n_bytes)
{
    static msgpack_item items[MSGPACK_REFERENCE_MAX_BYTES];
    size_t n_read;
    if (n_bytes > MSGPACK_REFERENCE_MAX_BYTES) return;
    assert(msgpack_reference_items(items, bytes, n_bytes, &n_read) > 0);
    assert(n_read == n_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static frame_scratch *scratch, *scratch_again;
    if (!scratch) assert(!frame_scratch_new(&scratch, NULL) && !frame_scratch_new(&scratch_again, NULL));
    uint8_t *bytes = malloc(n_bytes ? n_bytes : 1);
    assert(bytes);
    memcpy(bytes, data, n_bytes);
    frame f;
    yl_error err = {0};
    yl_status status = frame_decode(&f, scratch, bytes, n_bytes, &err);
    if (status == YL_OK) {
        touch_all(&f);
        check_round_trip(&f, scratch_again);
        check_with_reference(bytes, n_bytes);
    } else {
        assert(status == YL_EFORMAT || status == YL_EUNSUPPORTED);
        assert(err.status == status && err.msg[0]);
    }
    free(bytes);
    return 0;
}
