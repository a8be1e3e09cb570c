/* The text of HTML mail, for previews and for searching: what a reader would see as words, nothing of the markup.
 *
 * It is no parser of HTML: tags, comments, and what stands in <head>, <style>, <script> and <title> go, blocks and line breaks become spaces,
 * character references (numeric ones, and the names that mail uses) become characters. Cost is linear; never fails on bad HTML. */
#ifndef THURN_MAIL_HTML_H
#define THURN_MAIL_HTML_H

#include "base/buf.h"

/* UTF-8 in and out; runs of white space are one space. False when out is full (what fits is there). */
bool html_text(struct slice html, struct buf *out);

#endif
