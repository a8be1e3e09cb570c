/* The text of HTML mail. */
#include "mail/html.h"

#include "check.h"

#include <stdlib.h>

static const struct {
    const char *sentence, *html, *text;
} pages[] = {
    { "no markup", "plain  words\r\n here", "plain words here" },
    { "blocks part words", "<p>one</p><div>two<br>three</div>", "one two three" },
    { "what is within a line does not", "w<b>or</b>d <A HREF=\"x>y\">li</a>nk", "word link" },
    { "what is not shown", "<html><head><title>t</title><style>p{}</style></head><body>b<script>if (a<b) x</script>c<!-- no <b> --></body>", "b c" },
    { "character references", "&lt;a&gt; &amp; &quot;&#66;&#x43;&uuml;&euro;&hellip;&nbsp;x", "<a> & \"BC\xc3\xbc\xe2\x82\xac\xe2\x80\xa6 x" },
    { "references without an end", "a&ltb &amp b", "a&ltb & b" },
    { "what is none", "&nonsense; &#; &#x; &#0; &#xd800; &#99999999;", "&nonsense; &#; &#x; &#0; &#xd800; &#99999999;" },
    { "a sign that is no tag", "1 < 2 <3 > 0", "1 < 2 <3 > 0" },
    { "a tag that does not end", "text <a href='x", "text" },
    { "a comment that does not end", "text <!-- more", "text" },
    { "a style that does not end", "text <style> more", "text" },
    { "a declaration", "<!DOCTYPE html><?xml ?>text", "text" },
    { "bytes that are not UTF-8", "a\xff" "b", "a\xef\xbf\xbd" "b" },
    { "nothing", "", "" },
};

int main(void)
{
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        struct buf out;
        CASE(pages[i].sentence);
        buf_init(&out, 1000);
        CHECK(html_text(slice_from_str(pages[i].html), &out));
        CHECK_SLICE(buf_slice(&out), slice_from_str(pages[i].text));
        buf_free(&out);
    }
    CASE("a buffer that is too small");
    struct buf small;
    buf_init(&small, 4);
    CHECK(!html_text(SLICE("hello"), &small));
    buf_free(&small);
    return check_done();
}
