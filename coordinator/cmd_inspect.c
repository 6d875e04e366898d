/* cmd_inspect.c: `yllama inspect`: what is in a model file. */
#include "command.h"
#include "model_facts.h"

/* The template alone, as it is: somebody wants to read or pipe it. */
static yl_status write_template(const model_facts *m, console *c, yl_error *err)
{
    if (m->jinja.n_bytes == 0) return yl_fail(err, YL_EUNSUPPORTED, "%s has no chat template", gguf_path(m->g));
    console_write(c, m->jinja.data, m->jinja.n_bytes);
    console_end_line(c);
    return console_check(c, err);
}

yl_status cmd_inspect(const options *o, console *c, yl_error *err)
{
    if (!o->model) return yl_fail(err, YL_EINVAL, "which model? yllama inspect model.gguf");
    model_facts m;
    yl_status status = model_facts_gather(&m, o->model, o->n_ctx, err);
    if (!status && o->show_template)
        status = write_template(&m, c, err);
    else if (!status && o->json)
        status = model_facts_write_json(&m, o->tensors, c, err);
    else if (!status)
        status = model_facts_write_text(&m, o->tensors, c, err);
    model_facts_clear(&m);
    return status;
}
