/*
 * Loads libasound when it is first called, so that the program starts where it is not installed.
 *
 * The trampolines (trampolines.S) define what the `alsa` crate links to, and come here for the address behind each.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>

#define FAILS(name) { #name, 0 },
#define EMPTY(name) { #name, 1 },
static const struct {
    const char *name;
    /* What stands in for it answers 0 instead of an error. */
    int empty;
} symbols[] = {
#include "symbols.inc"
};
_Static_assert(sizeof symbols / sizeof symbols[0] == CADENCE_ALSA_SYMBOLS, "build.rs counted something else");

extern void *cadence_alsa_slots[CADENCE_ALSA_SYMBOLS] __attribute__((visibility("hidden")));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void *library;

/* libasound explains its errors on standard error, where a screen may be drawn: the caller gets them as codes. */
static void say_nothing(const char *file, int line, const char *function, int error, const char *format, ...) {
    (void)file, (void)line, (void)function, (void)error, (void)format;
}

/* The same from 1.2.14 on. */
static void log_nothing(int priority, int interface, const char *file, int line, const char *function, int error,
                        const char *format, va_list arguments) {
    (void)priority, (void)interface, (void)file, (void)line, (void)function, (void)error, (void)format, (void)arguments;
}

static void load(void) {
    /* Never closed: plugins of it leave threads behind. */
    library = dlopen("libasound.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    int (*set_error_handler)(void *) = (int (*)(void *))dlsym(library, "snd_lib_error_set_handler");
    if (set_error_handler) set_error_handler((void *)say_nothing);
    void *(*set_log_handler)(void *) = (void *(*)(void *))dlsym(library, "snd_lib_log_set_handler");
    if (set_log_handler) set_log_handler((void *)log_nothing);
}

/* "Can not access a needed shared library": nothing else that is called answers this. */
static long absent(void) { return -ELIBACC; }

static long nothing(void) { return 0; }

/* Address of the function with this index, or of what stands in for it. Called by the trampolines, from any thread. */
__attribute__((visibility("hidden"))) void *cadence_alsa_resolve(unsigned index) {
    pthread_once(&once, load);
    void *found = library ? dlsym(library, symbols[index].name) : NULL;
    if (!found) found = symbols[index].empty ? (void *)nothing : (void *)absent;
    __atomic_store_n(&cadence_alsa_slots[index], found, __ATOMIC_RELEASE);
    return found;
}
