/* Programs of other processors, which the kernel hands to an interpreter. */
#ifndef INTERPRETERS_H
#define INTERPRETERS_H

/*
 * Registers each file of a directory, named after its processor as uname(1)
 * has it, as the interpreter of that processor's ELF programs.  A directory
 * that is missing, or a name that is not known, is none.
 */
void interpreters_register(const char *directory);

/*
 * Runs small programs with the registered interpreters, in the background.  It
 * is the host that gains: the emulator compiles code that has been executed for
 * a while, and so does the browser with the emulator.  Where this was done while
 * the image's layers are fetched, the image's first program starts faster.
 */
void interpreters_begin_warm_up(void);

/* Before the container is started; no other child process may be there yet. */
void interpreters_end_warm_up(void);

/* Why a program that the kernel does not execute (ENOEXEC) is none of its. */
const char *interpreters_explain(const char *program);

#endif
