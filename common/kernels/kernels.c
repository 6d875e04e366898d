/* kernels.c: the list of tables, best first. */
#include "kernels.h"

#include <string.h>

#include "scalar.h"

static const kernels *const tables[] = {&kernels_scalar};

const kernels *kernels_best(void)
{
    return tables[0];
}

const kernels *kernels_named(const char *isa)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        if (strcmp(tables[i]->isa, isa) == 0) return tables[i];
    }
    return NULL;
}
