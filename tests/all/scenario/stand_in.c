/* A library with the entry points of the Brightmail client library, for the scenarios in tests/scenarios/bmi.
 *
 * Its configuration file has lines that say what it does:
 *   log FILE                      each call is a line there
 *   verdict ADDRESS WHERE RULES   WHERE is default, nowhere, or a text with _ for blanks; RULES are numbers with commas, or -
 *   broken ADDRESS                a verdict that is an error
 *   fail CALL LOCATION TYPE       that call fails
 *   crash CALL, hang CALL         that call does
 *   lie                           the text of a verdict has a line feed in it
 *   needs-xml                     it does not begin without libxml2_single
 * The text of a verdict is its line in hexadecimal digits.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES 64

struct error { int fatal, location, type; };
struct verdict { char line[512]; char address[256]; struct error *error; };
struct message { int next; };
struct optin { char text[512]; };

static char *lines[LINES];
static int count;
static const char *log_file;

static const char *argument(const char *word, const char *first, int at)
{
    size_t length = strlen(word);
    for (int i = at; i < count; i++)
        if (!strncmp(lines[i], word, length) && lines[i][length] == ' ' &&
            (!first || !strncmp(lines[i] + length + 1, first, strlen(first))))
            return lines[i] + length + 1;
    return NULL;
}

static int has(const char *line)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(lines[i], line)) return 1;
    return 0;
}

static void note(const char *call, const char *text, size_t length)
{
    FILE *file = log_file ? fopen(log_file, "a") : NULL;
    if (!file) return;
    fprintf(file, "%s ", call);
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\n') fputs("\\n", file); else fputc(text[i], file);
    fputc('\n', file);
    fclose(file);
}

static void *done(const char *call, const char *text, size_t length)
{
    char line[100];
    note(call, text, length);
    snprintf(line, sizeof line, "crash %s", call);
    if (has(line)) abort();
    snprintf(line, sizeof line, "hang %s", call);
    if (has(line)) for (;;) pause();
    snprintf(line, sizeof line, "%s ", call);
    const char *fails = argument("fail", line, 0);
    if (!fails) return NULL;
    struct error *error = calloc(1, sizeof *error);
    error->fatal = sscanf(fails, "%*s %d %d", &error->location, &error->type) == 2;
    return error;
}

void *bmiInitSystem(long version, const char *path, void **system)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    while (file && count < LINES && getline(&line, &size, file) > 0) {
        line[strcspn(line, "\n")] = 0;
        lines[count++] = strdup(line);
    }
    if (file) fclose(file);
    log_file = argument("log", NULL, 0);
    *system = &count;
    struct error *error = done("bmiInitSystem", path, strlen(path));
    if (!error && (!file || version != 1 || (has("needs-xml") && !dlsym(RTLD_DEFAULT, "xml2_single_is_here")))) {
        error = calloc(1, sizeof *error);
        error->fatal = 1, error->location = 1, error->type = 2;
    }
    return error;
}

void bmiFreeSystem(void *system) { (void)system; }
void *bmiInitMessage(void *system, void **message) { (void)system; *message = calloc(1, sizeof(struct message)); return done("bmiInitMessage", "", 0); }
void bmiFreeMessage(void *message) { free(message); }
void *bmiProcessConnection(const char *ip, void *m) { (void)m; return done("bmiProcessConnection", ip, strlen(ip)); }
void *bmiProcessFROM(const char *a, void *m) { (void)m; return done("bmiProcessFROM", a, strlen(a)); }
void *bmiOptinInit(void **optin) { *optin = calloc(1, sizeof(struct optin)); return NULL; }
void *bmiOptinMset(struct optin *optin, const char *text, char separator)
{
    snprintf(optin->text, sizeof optin->text, "%c %s", separator, text);
    return done("bmiOptinMset", optin->text, strlen(optin->text));
}
void bmiOptinFree(void *optin) { free(optin); }
void *bmiAccumulateTO(const char *a, struct optin *optin, void *m)
{
    char text[1024];
    (void)m;
    snprintf(text, sizeof text, "%s%s%s", a, optin ? " opted " : "", optin ? optin->text : "");
    return done("bmiAccumulateTO", text, strlen(text));
}
void *bmiEndTO(void *m) { (void)m; return done("bmiEndTO", "", 0); }
void *bmiAccumulateHeaders(const char *t, int n, void *m) { (void)m; return done("bmiAccumulateHeaders", t, n); }
void *bmiEndHeaders(void *m) { (void)m; return done("bmiEndHeaders", "", 0); }
void *bmiAccumulateBody(const char *t, int n, void *m) { (void)m; return done("bmiAccumulateBody", t, n); }
void *bmiEndBody(void *m) { (void)m; return done("bmiEndBody", "", 0); }
void *bmiEndMessage(void *m) { (void)m; return done("bmiEndMessage", "", 0); }

static struct verdict *read_verdict(const char *line)
{
    struct verdict *verdict = calloc(1, sizeof *verdict);
    snprintf(verdict->line, sizeof verdict->line, "%s", line);
    sscanf(line, "%*s %255s", verdict->address);
    if (!strncmp(line, "broken ", 7)) {
        verdict->error = calloc(1, sizeof *verdict->error);
        verdict->error->fatal = 1;
    }
    return verdict;
}

static void *access_verdict(struct message *message, void **verdict)
{
    *verdict = NULL;
    while (message->next < count && !*verdict) {
        const char *line = lines[message->next++];
        if (!strncmp(line, "verdict ", 8) || !strncmp(line, "broken ", 7)) *verdict = read_verdict(line);
    }
    return NULL;
}

void *bmiAccessFirstVerdict(struct message *message, void **verdict) { message->next = 0; return access_verdict(message, verdict); }
void *bmiAccessNextVerdict(struct message *message, void *before, void **verdict) { (void)before; return access_verdict(message, verdict); }

void *bmiCreateStrFromVerdict(struct verdict *verdict, char **text)
{
    *text = calloc(2, sizeof verdict->line);
    for (char *c = verdict->line, *to = *text; *c; c++) to += sprintf(to, "%02x", *c);
    if (has("lie")) (*text)[4] = '\n';
    return done("bmiCreateStrFromVerdict", "", 0);
}

void bmiFreeStr(char *text) { free(text); }

void *bmiCreateVerdictFromStr(const char *text, void **verdict)
{
    char line[512] = "";
    struct error *error = done("bmiCreateVerdictFromStr", "", 0);
    unsigned byte;
    for (int i = 0; i < 511 && sscanf(text + 2 * i, "%2x", &byte) == 1 && text[2 * i]; i++) line[i] = (char)byte;
    if (!error && strncmp(line, "verdict ", 8) && strncmp(line, "broken ", 7)) {
        error = calloc(1, sizeof *error);
        error->fatal = 1, error->location = 4, error->type = 5;
    }
    *verdict = error ? NULL : read_verdict(line);
    return error;
}

void bmiFreeVerdict(void *verdict) { free(verdict); }

void *bmiCreateOldStrFromVerdict(struct verdict *verdict, char **text)
{
    char rules[200] = "-";
    sscanf(verdict->line, "%*s %*s %*s %199s", rules);
    *text = calloc(1, sizeof rules + 8);
    sprintf(*text, "rules=%s", rules);
    return done("bmiCreateOldStrFromVerdict", "", 0);
}

void *bmiVerdictError(struct verdict *verdict) { return verdict->error; }

static const char *where(struct verdict *verdict)
{
    static char text[256];
    strcpy(text, "default");
    sscanf(verdict->line, "%*s %*s %255s", text);
    for (char *c = text; *c; c++) if (*c == '_') *c = ' ';
    return text;
}

int bmiVerdictDestinationIsDefault(struct verdict *verdict) { return !strcmp(where(verdict), "default"); }
const char *bmiVerdictAccessDestination(struct verdict *verdict) { return strcmp(where(verdict), "nowhere") ? where(verdict) : NULL; }
void *bmiVerdictAccessFirstRecipient(struct verdict *verdict) { return verdict; }
void *bmiVerdictAccessNextRecipient(struct verdict *verdict, void *before) { (void)verdict; (void)before; return NULL; }
const char *bmiRecipientAccessAddress(struct verdict *verdict) { return verdict->address; }

int bmiVerdictRuleFired(struct verdict *verdict, int rule)
{
    char rules[200] = "";
    sscanf(verdict->line, "%*s %*s %*s %199s", rules);
    for (char *word = strtok(rules, ","); word; word = strtok(NULL, ","))
        if (atoi(word) == rule) return 1;
    return 0;
}

int bmiErrorIsFatal(struct error *error) { return error && error->fatal; }
int bmiErrorGetLocation(struct error *error) { return error->location; }
int bmiErrorGetType(struct error *error) { return error->type; }
