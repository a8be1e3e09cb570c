/* Options of a subcommand: see options.h. */
#include "cli/options.h"

#include "cli/commands.h"
#include "cli/manual.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { OPTIONS_MAX = 48, LONG_VALUE = 1000, HELP_COLUMN = 28, LINE_WIDTH = 100 };

const char *cli_before(const struct cli_usage *usage)
{
    static const char *const own_names[] = { "sendmail", "mailq", "newaliases" };
    for (size_t i = 0; i < sizeof own_names / sizeof own_names[0]; i++)
        if (strcmp(usage->name, own_names[i]) == 0)
            return "";
    return "thurn ";
}

static size_t count_options(const struct cli_option *options)
{
    size_t count = 0;
    while (options != NULL && options[count].name != NULL)
        count++;
    return count;
}

/* ---- help ----------------------------------------------------------------------------------------------------------- */

/* Words of text from a column on; line ends in the text are kept. */
static void print_wrapped(const char *text, int indent, int column)
{
    while (*text != '\0') {
        size_t len = strcspn(text, " \n");
        if (column > indent && column + 1 + (int)len > LINE_WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        bool is_first = column == indent;
        printf("%s%.*s", is_first ? "" : " ", (int)len, text);
        column += (int)len + (is_first ? 0 : 1);
        text += len;
        if (*text == '\n') {
            printf("\n%*s", indent, "");
            column = indent;
        }
        text += *text != '\0';
    }
    putchar('\n');
}

static void print_option(const struct cli_option *option)
{
    char head[80];
    char letter[8] = "    ";
    if (option->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    int len = snprintf(head, sizeof head, "  %s--%s%s%s", letter, option->name, option->argument != NULL ? " " : "",
                       option->argument != NULL ? option->argument : "");
    if (len + 1 < HELP_COLUMN)
        printf("%-*s", HELP_COLUMN, head);
    else
        printf("%s\n%*s", head, HELP_COLUMN, "");
    print_wrapped(option->text, HELP_COLUMN, HELP_COLUMN);
}

void cli_print_help(const struct cli_usage *usage)
{
    static const struct cli_option help = { "help", 'h', NULL, "this help", CLI_FLAG(NULL) };
    printf("Usage: %s%s%s%s\n\n", cli_before(usage), usage->name, usage->words[0] != '\0' ? " " : "", usage->words);
    print_wrapped(usage->text, 0, 0);
    printf("\nOptions:\n");
    for (size_t i = 0; i < count_options(usage->options); i++)
        print_option(&usage->options[i]);
    print_option(&help);
    if (usage->notes != NULL)
        printf("\n%s%s", usage->notes, usage->notes[strlen(usage->notes) - 1] == '\n' ? "" : "\n");
}

static int say_wrong(const struct cli_usage *usage, const char *text)
{
    fprintf(stderr, "%s%s: %s\nTry \"%s%s --help\".\n", cli_before(usage), usage->name, text, cli_before(usage), usage->name);
    return EXIT_USAGE;
}

int cli_wrong(const struct cli_usage *usage, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return say_wrong(usage, text);
}

/* ---- parsing -------------------------------------------------------------------------------------------------------- */

/* The table as getopt_long wants it; option i has the value LONG_VALUE + i, by its long name or its letter. */
static void make_tables(const struct cli_usage *usage, size_t count, struct option *longs, char *letters)
{
    size_t at = 0;
    letters[at++] = ':';                    /* what is missing an argument is told from what is unknown */
    for (size_t i = 0; i < count; i++) {
        const struct cli_option *option = &usage->options[i];
        longs[i] = (struct option){ option->name, option->argument != NULL ? required_argument : no_argument, NULL,
                                    LONG_VALUE + (int)i };
        if (option->letter != 0) {
            letters[at++] = option->letter;
            if (option->argument != NULL)
                letters[at++] = ':';
        }
    }
    longs[count] = (struct option){ "help", no_argument, NULL, 'h' };
    letters[at++] = 'h';
    letters[at] = '\0';
}

static const struct cli_option *find_option(const struct cli_usage *usage, size_t count, int got)
{
    for (size_t i = 0; i < count; i++)
        if (got == LONG_VALUE + (int)i || (got < LONG_VALUE && got == usage->options[i].letter))
            return &usage->options[i];
    return NULL;
}

static bool take_option(const struct cli_option *option, const char *value)
{
    if (option->flag != NULL)
        *option->flag = true;
    if (option->value != NULL)
        *option->value = value;
    return option->each == NULL || option->each(option->arg, value);
}

static int refuse_option(const struct cli_usage *usage, int got, char **argv)
{
    const char *word = argv[optind - 1];
    if (got == ':')
        cli_wrong(usage, "%s wants a value", word);
    else if (optopt != 0 && optopt < LONG_VALUE)
        cli_wrong(usage, "there is no option -%c", optopt);
    else if (optopt != 0)
        cli_wrong(usage, "%s takes no value", word);
    else
        cli_wrong(usage, "there is no option %s", word);
    return CLI_WRONG;
}

int cli_parse(const struct cli_usage *usage, int argc, char **argv)
{
    struct option longs[OPTIONS_MAX + 2] = { { NULL, 0, NULL, 0 } };
    char letters[2 * OPTIONS_MAX + 4];
    size_t count = count_options(usage->options);
    if (count > OPTIONS_MAX)
        return CLI_WRONG;
    if (argc == 2 && strcmp(argv[1], MANUAL_WORD) == 0) {
        manual_print(usage);
        return CLI_DONE;
    }
    make_tables(usage, count, longs, letters);
    opterr = 0;
    optind = 0;                             /* GNU: start anew */
    for (;;) {
        int got = getopt_long(argc, argv, letters, longs, NULL);
        if (got == -1)
            return optind;
        const struct cli_option *option = find_option(usage, count, got);
        if (option == NULL && got == 'h') {
            cli_print_help(usage);
            return CLI_DONE;
        }
        if (option == NULL)
            return refuse_option(usage, got, argv);
        if (!take_option(option, optarg))
            return CLI_WRONG;
    }
}

int cli_parse_status(int parsed) { return parsed == CLI_DONE ? 0 : EXIT_USAGE; }

/* ---- groups --------------------------------------------------------------------------------------------------------- */

static void print_group(const struct cli_usage *usage, const struct cli_verb *verbs, size_t count)
{
    printf("Usage: thurn %s %s\n\n", usage->name, usage->words);
    print_wrapped(usage->text, 0, 0);
    putchar('\n');
    for (size_t i = 0; i < count; i++)
        printf("  %-12s %s\n", verbs[i].name, verbs[i].text);
    printf("\n\"thurn %s %s --help\" says more about each.\n", usage->name, verbs[0].name);
    if (usage->notes != NULL)
        printf("\n%s", usage->notes);
}

/* Of a group, every verb is a subsection. */
static int print_group_manual(const struct cli_usage *usage, const struct cli_verb *verbs, size_t count)
{
    char word[] = MANUAL_WORD;
    printf(".SH SYNOPSIS\n");
    for (size_t i = 0; i < count; i++)
        printf("\\fBthurn %s %s\\fR ...\n%s", usage->name, verbs[i].name, i + 1 < count ? ".br\n" : "");
    printf(".SH DESCRIPTION\n");
    manual_print_text(usage->text);
    printf(".SH COMMANDS\n");
    for (size_t i = 0; i < count; i++) {
        char name[32];
        char *words[] = { name, word, NULL };
        snprintf(name, sizeof name, "%s", verbs[i].name);
        verbs[i].run(2, words);
    }
    if (usage->notes != NULL) {
        printf(".SH NOTES\n");
        manual_print_text(usage->notes);
    }
    return 0;
}

int cli_group(const struct cli_usage *usage, const struct cli_verb *verbs, size_t count, int argc, char **argv)
{
    if (argc < 2) {
        print_group(usage, verbs, count);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_group(usage, verbs, count);
        return 0;
    }
    if (strcmp(argv[1], MANUAL_WORD) == 0)
        return print_group_manual(usage, verbs, count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    return cli_wrong(usage, "there is no \"%s %s\"", usage->name, argv[1]);
}
