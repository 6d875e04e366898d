/* fuzz_endpoint.c: any text is either refused with a sentence, or an address that survives being written and read again; and so
 * is each address of a list. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"

enum { MAX_ADDRESSES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void assert_same(const endpoint *a, const endpoint *b)
{
    assert(a->is_tcp == b->is_tcp && a->port == b->port && !strcmp(a->host, b->host));
}

static void write_and_read(const endpoint *e)
{
    char text[ENDPOINT_BYTES];
    endpoint again;
    endpoint_format(text, e);
    assert(endpoint_parse(&again, text, 0, NULL) == YL_OK);
    assert_same(e, &again);
    assert(!(endpoint_is_local(e) && endpoint_is_wildcard(e)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    endpoint e, list[MAX_ADDRESSES];
    size_t n = 0, n_counted = 0;
    yl_error err = {0};
    char *text = malloc(n_bytes + 1);
    assert(text);
    memcpy(text, data, n_bytes);
    text[n_bytes] = 0;
    yl_status status = endpoint_parse(&e, text, ENDPOINT_CONTROL_PORT, &err);
    assert(status == err.status && (status == YL_OK || status == YL_EINVAL));
    if (!status) write_and_read(&e);
    if (status) assert(err.msg[0]);

    status = endpoint_parse_list(list, MAX_ADDRESSES, &n, text, ENDPOINT_CONTROL_PORT, NULL);
    assert(endpoint_parse_list(NULL, MAX_ADDRESSES, &n_counted, text, ENDPOINT_CONTROL_PORT, NULL) == status && n == n_counted);
    assert(n <= MAX_ADDRESSES && (status || n > 0));
    for (size_t i = 0; i < n; i++) {
        assert(list[i].is_tcp && list[i].port && !endpoint_is_wildcard(&list[i]));
        write_and_read(&list[i]);
    }
    free(text);
    return 0;
}
