/* byte_size.c: digits and a letter. */
#include "byte_size.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool byte_size_parse(const char *text, uint64_t *out)
{
    static const char UNITS[] = "KMGT";
    if (!isdigit((unsigned char)*text)) return false;
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(UNITS, toupper((unsigned char)*end)) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - UNITS + 1) : 0;
    const char *rest = unit ? end + 1 : end;
    bool is_end = !*rest || (unit && (strcasecmp(rest, "B") == 0 || strcasecmp(rest, "iB") == 0));
    if (errno || !is_end || n > (UINT64_MAX >> 1) >> shift) return false;
    *out = n << shift;
    return true;
}
