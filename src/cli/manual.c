/* The manual page of a subcommand: see manual.h. */
#include "cli/manual.h"

#include <stdio.h>
#include <string.h>

/* `len` bytes of text that mean themselves. */
static void print_bytes(const char *text, size_t len)
{
    if (len > 0 && (text[0] == '.' || text[0] == '\''))
        fputs("\\&", stdout);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\\')
            fputs("\\e", stdout);
        else if (text[i] == '-')
            fputs("\\-", stdout);
        else
            putchar(text[i]);
    }
}

/* Lines are filled; an empty line ends a paragraph; lines that begin with four spaces are shown as they stand. */
void manual_print_text(const char *text)
{
    bool is_shown = false;
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        bool is_example = len > 4 && strncmp(text, "    ", 4) == 0;
        if (is_example != is_shown)
            puts(is_example ? ".PP\n.RS 4\n.nf" : ".fi\n.RE");
        is_shown = is_example;
        if (len == 0)
            puts(".PP");
        else {
            print_bytes(is_example ? text + 4 : text, is_example ? len - 4 : len);
            putchar('\n');
        }
        text += len + (text[len] != '\0');
    }
    if (is_shown)
        puts(".fi\n.RE");
}

static void print_option(const struct cli_option *option)
{
    puts(".TP");
    if (option->letter != 0)
        printf("\\fB\\-%c\\fR, ", option->letter);
    printf("\\fB\\-\\-");
    print_bytes(option->name, strlen(option->name));
    printf("\\fR");
    if (option->argument != NULL)
        printf(" \\fI%s\\fR", option->argument);
    putchar('\n');
    manual_print_text(option->text);
}

static void print_options(const struct cli_usage *usage)
{
    static const struct cli_option help = { "help", 'h', NULL, "Print a summary of these options.", CLI_FLAG(NULL) };
    for (const struct cli_option *option = usage->options; option != NULL && option->name != NULL; option++)
        print_option(option);
    print_option(&help);
}

static void print_synopsis(const struct cli_usage *usage)
{
    printf("\\fB%s", cli_before(usage));
    print_bytes(usage->name, strlen(usage->name));
    printf("\\fR ");
    print_bytes(usage->words, strlen(usage->words));
    putchar('\n');
}

void manual_print_head(const char *page, const char *text)
{
    printf(".\\\" Made from the table that makes the help: thurn help --manual\n.TH %s 1 \"\" \"Thurn %s\" \"Thurn\"\n.SH NAME\n", page, THURN_VERSION);
    print_bytes(page, strlen(page));
    printf(" \\- ");
    print_bytes(text, strlen(text));
    putchar('\n');
}

void manual_print_foot(void)
{
    puts(".SH SEE ALSO\n.BR thurn (1),\n.BR thurn.yaml (5)");
}

void manual_print(const struct cli_usage *usage)
{
    bool is_verb = strchr(usage->name, ' ') != NULL;
    if (is_verb)
        printf(".SS %s\n", usage->name);
    else
        puts(".SH SYNOPSIS");
    print_synopsis(usage);
    puts(is_verb ? ".PP" : ".SH DESCRIPTION");
    manual_print_text(usage->text);
    if (!is_verb)
        puts(".SH OPTIONS");
    print_options(usage);
    if (usage->notes == NULL)
        return;
    puts(is_verb ? ".PP" : ".SH NOTES");
    manual_print_text(usage->notes);
}
