/* conversation.h: messages in turn, and the model's answers to them.
 *
 * A conversation is its messages. For each answer they are written down by the chat template, as if for the first time; what the
 * workers' KV cache holds of the same tokens stays, and only the rest is fed. So an answer is what a fresh program would give for
 * the same messages, and taking back an answer or the oldest turns needs no special care.
 *
 * When the context is full the oldest turns are dropped; the system message stays. */
#ifndef YL_CONVERSATION_H
#define YL_CONVERSATION_H

#include "answer_stream.h"
#include "chat_template.h"
#include "generate.h"
#include "session.h"
#include "speed_report.h"

typedef struct conversation {
    session *s;
    chat_template template;
    sampler *sampler;
    drafter *drafter;
    chat_message *messages; /* [n], their texts are ours */
    size_t n;
    token_list fed;     /* what the KV cache holds, from position 0 */
    token_list answer;  /* of the answer under way */
    uint64_t n_sampled; /* in all answers: no two of them use the same random numbers */

    answer_stream stream;
    speed_report *report;   /* told of the first token; NULL: nobody wants to know */
    generate_result result; /* of the last answer */
    size_t n_fed;           /* tokens that the last answer had to feed before its first token */
    yl_error token_error;   /* of a callback, which can only say "stop" */
} conversation;

/* system NULL: none. Sampler and drafter (NULL: no drafts) are borrowed. Release with conversation_clear. */
yl_status conversation_init(conversation *c, session *s, chat_template t, sampler *smpl, drafter *d, const char *system,
                            yl_error *err);
void conversation_clear(conversation *c);

/* Adds a message of the user. Requires that it is the user's turn: at the beginning, and after an answer. */
yl_status conversation_say(conversation *c, const char *text, yl_error *err);

/* Answers the user's message: streams the answer, and adds it to the messages. YL_ECANCELED: it was interrupted; as far as it went
 * it is kept (nothing at all: the user's message is taken back). YL_ELIMIT: the message does not fit the context, and is taken
 * back. */
yl_status conversation_answer(conversation *c, yl_error *err);

/* Takes the last answer back, so that conversation_answer gives another one. False: there is none. */
bool conversation_take_back_answer(conversation *c);
/* Forgets everything but the system message. */
void conversation_restart(conversation *c);

#endif
