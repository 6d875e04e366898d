/* fuzz_beacon.c: any datagram is either refused with a sentence, or a beacon that encodes to the same bytes. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "beacon.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    beacon b;
    yl_error err = {0};
    uint8_t again[BEACON_BYTES];
    uint8_t *exact = malloc(n_bytes ? n_bytes : 1); /* the address sanitizer sees the first byte beyond it */
    assert(exact);
    memcpy(exact, data, n_bytes);
    yl_status status = beacon_decode(&b, exact, n_bytes, &err);
    if (status) {
        assert(status == YL_EFORMAT && err.msg[0]);
    } else {
        endpoint e = {.is_tcp = true};
        assert(n_bytes == BEACON_BYTES && b.port && (!b.host[0] || !endpoint_set_host(&e, b.host, NULL)));
        assert(!beacon_encode(again, &b, NULL) && !memcmp(again, exact, BEACON_BYTES));
    }
    free(exact);
    return 0;
}
