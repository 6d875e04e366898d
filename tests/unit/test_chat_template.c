/* Conversations as the models' makers write them. The expected strings are what the chat templates in Meta-Llama-3-8B-Instruct,
 * Llama-2-7b-chat-hf and Qwen2-7B-Instruct give for the same messages (rendered by a Jinja interpreter), without the BOS in front.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chat_template.h"

static const chat_message conversation[] = {{CHAT_SYSTEM, " Be brief.\n"},
                                            {CHAT_USER, "  Hi "},
                                            {CHAT_ASSISTANT, " Hello!\n"},
                                            {CHAT_USER, "Fourth of July jokes? "}};
enum { N_CONVERSATION = sizeof conversation / sizeof *conversation };

static void check(chat_template t, const chat_message *messages, size_t n, const char *expected)
{
    char *text;
    size_t n_bytes;
    yl_error err = {0};
    if (chat_template_render(t, messages, n, &text, &n_bytes, &err)) fail_msg("%s", err.msg);
    assert_string_equal(text, expected);
    assert_int_equal(n_bytes, strlen(expected));
    free(text);
}

static void llama3(void **state)
{
    (void)state;
    check(CHAT_TEMPLATE_LLAMA3, conversation, N_CONVERSATION,
          "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
          "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
          "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
          "<|start_header_id|>user<|end_header_id|>\n\nFourth of July jokes?<|eot_id|>"
          "<|start_header_id|>assistant<|end_header_id|>\n\n");
    check(CHAT_TEMPLATE_LLAMA3, conversation + 1, 2,
          "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
          "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>");
}

static void llama2(void **state)
{
    (void)state;
    check(CHAT_TEMPLATE_LLAMA2, conversation, N_CONVERSATION,
          "[INST] <<SYS>>\n Be brief.\n\n<</SYS>>\n\n  Hi [/INST] Hello! </s><s>[INST] Fourth of July jokes? [/INST]");
    check(CHAT_TEMPLATE_LLAMA2, conversation + 1, 3, "[INST] Hi [/INST] Hello! </s><s>[INST] Fourth of July jokes? [/INST]");
}

static void chatml(void **state)
{
    (void)state;
    check(
        CHAT_TEMPLATE_CHATML, conversation, N_CONVERSATION,
        "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  Hi <|im_end|>\n"
        "<|im_start|>assistant\n Hello!\n<|im_end|>\n<|im_start|>user\nFourth of July jokes? <|im_end|>\n<|im_start|>assistant\n");
}

/* The whole conversation is the text of its beginning, continued: what is in a KV cache stays good. */
static void a_longer_conversation_begins_like_a_shorter_one(void **state)
{
    (void)state;
    for (chat_template t = CHAT_TEMPLATE_UNKNOWN + 1; t < CHAT_TEMPLATE_END; t++) {
        char *shorter, *longer;
        size_t n_shorter, n_longer;
        assert_int_equal(chat_template_render(t, conversation, 2, &shorter, &n_shorter, NULL), YL_OK);
        assert_int_equal(chat_template_render(t, conversation, N_CONVERSATION, &longer, &n_longer, NULL), YL_OK);
        assert_true(n_longer > n_shorter);
        assert_memory_equal(shorter, longer, n_shorter);
        free(shorter);
        free(longer);
    }
}

static void messages_out_of_turn_are_refused(void **state)
{
    (void)state;
    static const chat_message wrong[] = {{CHAT_USER, "a"}, {CHAT_USER, "b"}, {CHAT_SYSTEM, "c"}};
    char *text;
    size_t n_bytes;
    yl_error err;
    assert_int_equal(chat_template_render(CHAT_TEMPLATE_LLAMA3, wrong, 2, &text, &n_bytes, &err), YL_EINVAL);
    assert_null(text);
    assert_non_null(strstr(err.msg, "message 2"));
    assert_int_equal(chat_template_render(CHAT_TEMPLATE_LLAMA3, wrong + 1, 2, &text, &n_bytes, &err), YL_EINVAL);
}

static chat_template recognise(const char *jinja)
{
    return chat_template_recognise(jinja, strlen(jinja));
}

static void templates_are_recognised_by_their_marks(void **state)
{
    (void)state;
    assert_int_equal(recognise(
                         "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] "
                         "| trim + '<|eot_id|>' }}{% endfor %}"),
                     CHAT_TEMPLATE_LLAMA3);
    assert_int_equal(recognise(
                         "{{ '<<SYS>>\\n' + s + '\\n<</SYS>>\\n\\n' }}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"),
                     CHAT_TEMPLATE_LLAMA2);
    assert_int_equal(recognise("{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"),
                     CHAT_TEMPLATE_CHATML);
    assert_int_equal(recognise("{{ bos_token + '[INST] ' + message['content'] + ' [/INST]' }}"),
                     CHAT_TEMPLATE_UNKNOWN);                                                                    /* Mistral */
    assert_int_equal(recognise("<|im_start|>user<|im_sep|>x<|im_end|>"), CHAT_TEMPLATE_UNKNOWN);                /* Phi-4 */
    assert_int_equal(recognise("{{ '<|user|>\\n' + message['content'] + eos_token }}"), CHAT_TEMPLATE_UNKNOWN); /* Zephyr */
    assert_int_equal(recognise(""), CHAT_TEMPLATE_UNKNOWN);
    assert_int_equal(chat_template_recognise(NULL, 0), CHAT_TEMPLATE_UNKNOWN);
}

static void names_lead_back_to_templates(void **state)
{
    (void)state;
    for (chat_template t = CHAT_TEMPLATE_UNKNOWN + 1; t < CHAT_TEMPLATE_END; t++)
        assert_int_equal(chat_template_named(chat_template_name(t)), t);
    assert_int_equal(chat_template_named("vicuna"), CHAT_TEMPLATE_UNKNOWN);
    assert_int_equal(chat_template_named("unknown"), CHAT_TEMPLATE_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama3),
        cmocka_unit_test(llama2),
        cmocka_unit_test(chatml),
        cmocka_unit_test(a_longer_conversation_begins_like_a_shorter_one),
        cmocka_unit_test(messages_out_of_turn_are_refused),
        cmocka_unit_test(templates_are_recognised_by_their_marks),
        cmocka_unit_test(names_lead_back_to_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
