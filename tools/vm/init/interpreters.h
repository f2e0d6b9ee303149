/* Programs of other processors, which the kernel hands to an interpreter. */
#ifndef INTERPRETERS_H
#define INTERPRETERS_H

/*
 * Registers each file of a directory, named after its processor as uname(1)
 * has it, as the interpreter of that processor's ELF programs.  A directory
 * that is missing, or a name that is not known, is none.
 */
void interpreters_register(const char *directory);

/* Why a program that the kernel does not execute (ENOEXEC) is none of its. */
const char *interpreters_explain(const char *program);

#endif
