/*
 * Prints what a 32-bit program gets of a 64-bit processor and kernel: instructions that 64-bit code
 * does not have, segments, ways into the kernel, thread-local storage and signals. None of it
 * depends on addresses or on the processor's age.
 */
#include "start.h"

static void line(const char *name, unsigned a, unsigned b)
{
	put(name);
	put(" ");
	put_hex(a);
	put(" ");
	put_hex(b);
	put("\n");
}

/* -- Signals --------------------------------------------------------------------------------- */

enum { SIGILL = 4, SIGTRAP = 5, SIGFPE = 8, SIGUSR1 = 10, SIGSEGV = 11 };
enum { SA_SIGINFO = 4, SA_RESTORER = 0x4000000, SA_ONSTACK = 0x8000000, SA_NODEFER = 0x40000000 };
enum { GS, FS, ES, DS, EDI, ESI, EBP, ESP, EBX, EDX, ECX, EAX, TRAP, ERROR, EIP, CS, EFLAGS };

struct context {
	unsigned flags, link, stack[3], registers[19];
	unsigned char *fpu;
};

void restore(void);
__asm__("restore: mov $173, %eax\n int $0x80\n"); /* rt_sigreturn */

static unsigned seen[4];
static unsigned resume;

static void handle(int number, unsigned *information, struct context *context)
{
	seen[0] = number;
	seen[1] = information[2]; /* si_code */
	seen[2] = context->registers[TRAP];
	seen[3] = context->registers[ERROR];
	/* Floating point of the handler's own, which must not be the interrupted code's. */
	__asm__ volatile("fninit; fldpi; fldpi");
	context->registers[EFLAGS] &= ~0x100; /* no further single step */
	if (resume) {
		context->registers[EIP] = resume;
	} else if (number != SIGUSR1) {
		line("unexpected signal", number, context->registers[EIP]);
		flush();
		system_call(1, 1, 0, 0);
	}
}

static void on(int number)
{
	struct { void *handler; unsigned flags; void (*restorer)(void); unsigned mask[2]; } action = {
		handle, SA_SIGINFO | SA_RESTORER | SA_NODEFER | SA_ONSTACK, restore, { 0, 0 }
	};
	long result;

	__asm__ volatile("int $0x80" : "=a"(result)
			 : "0"(174), "b"(number), "c"(&action), "d"(0), "S"(8) : "memory");
	if (result)
		line("sigaction", number, result);
}

static void report(const char *name)
{
	line(name, seen[0], seen[1]);
	line(name, seen[2], seen[3]);
	seen[0] = seen[1] = seen[2] = seen[3] = resume = 0;
}

/* Executes what raises a signal and goes on behind it. */
#define RAISES(name, instructions)                                                         \
	do {                                                                               \
		__asm__ volatile("movl $9f, %0\n" instructions "\n9:"                      \
				 : "=m"(resume) : : "eax", "ebx", "ecx", "edx", "memory"); \
		report(name);                                                              \
	} while (0)

/* -- Instructions ------------------------------------------------------------------------------ */

#define DECIMAL(name, instruction, mask)                                               \
	static unsigned name(unsigned ax, unsigned *flags)                             \
	{                                                                              \
		__asm__ volatile("push %1; popf; " instruction "; pushf; pop %1"       \
				 : "+a"(ax), "+r"(*flags) : : "cc");                   \
		*flags &= mask;                                                        \
		return ax;                                                             \
	}

DECIMAL(aaa, "aaa", 0x11)
DECIMAL(aas, "aas", 0x11)
DECIMAL(daa, "daa", 0xd5)
DECIMAL(das, "das", 0xd5)
DECIMAL(aam, "aam", 0xc4)
DECIMAL(aam_7, "aam $7", 0xc4)
DECIMAL(aad, "aad", 0xc4)
DECIMAL(salc, ".byte 0xd6", 1)

static void decimal(void)
{
	static const struct { const char *name; unsigned (*function)(unsigned, unsigned *); } ALL[] = {
		{ "aaa", aaa }, { "aas", aas }, { "daa", daa }, { "das", das }, { "aam", aam },
		{ "aam 7", aam_7 }, { "aad", aad }, { "salc", salc },
	};

	for (unsigned i = 0; i < sizeof ALL / sizeof *ALL; i++) {
		unsigned sum = 0, all = 0;

		for (unsigned ax = 0; ax < 0x10000; ax += 37)
			for (unsigned set = 0; set < 4; set++) {
				unsigned flags = 0x202 | (set & 1) | (set & 2) << 3;

				sum = sum * 31 + ALL[i].function(ax | 0xabcd0000, &flags);
				all = all * 33 + flags;
			}
		line(ALL[i].name, sum, all);
	}
}

static void stack_and_pointers(void)
{
	unsigned a, b, c, d;
	static unsigned bounds[2] = { 10, 20 };
	static struct { unsigned offset; unsigned short selector; } __attribute__((packed)) pointer;
	static unsigned short words[4] = { 1, 2, 3, 4 };

	__asm__ volatile("mov $1, %%eax; mov $2, %%ecx; mov $3, %%edx; mov $5, %%esi; mov $6, %%edi\n"
			 "pusha\n mov 28(%%esp), %%eax; mov 24(%%esp), %%ecx; mov 4(%%esp), %%edx\n"
			 "movl $77, 28(%%esp)\n mov %%eax, %2\n mov %%edx, %3\n popa\n"
			 "mov %%eax, %0\n mov %%esi, %1"
			 : "=m"(a), "=m"(b), "=m"(c), "=m"(d) : : "eax", "ecx", "edx", "esi", "edi");
	line("pusha", a, b);
	line("pusha", c, d);
	__asm__ volatile("mov %%esp, %0; pushaw; sub %%esp, %0; popaw" : "=m"(a) : : "cc");
	__asm__ volatile("mov %%esp, %%edx; push %%es; push %%fs; pushw %%ds; sub %%esp, %%edx\n"
			 "popw %%ds; pop %%fs; pop %%es"
			 : "=d"(b) : : "cc");
	line("push of segments", a, b);
	__asm__ volatile("mov %%esp, %%ecx; enter $32, $3; mov %%ecx, %0; sub %%esp, %0; leave"
			 : "=&r"(a) : : "ecx", "memory", "cc");
	line("enter", a, 0);
	__asm__ volatile("mov $15, %%eax; bound %%eax, %1; mov $1, %0" : "=r"(a) : "m"(bounds) : "eax");
	line("bound", a, 0);
	pointer.offset = (unsigned)words;
	__asm__ volatile("mov %%ds, %0" : "=r"(pointer.selector));
	__asm__ volatile("push %%es; les %2, %%eax; mov %%es:4(%%eax), %0; mov %%es, %1; pop %%es"
			 : "=&r"(a), "=&r"(b) : "m"(pointer) : "eax");
	line("les", a, b);
	__asm__ volatile("lfs %2, %%eax; mov %%fs:2(%%eax), %0; mov %%fs, %1; mov $0, %%eax\n"
			 "mov %%eax, %%fs" : "=&r"(a), "=&r"(b) : "m"(pointer) : "eax");
	line("lfs", a, b);
	a = 0x28, b = 0x202;
	__asm__ volatile("arpl %w2, %w0; pushf; pop %1" : "+r"(a), "=r"(b) : "r"(3) : "cc");
	line("arpl", a, b & 0x40);
	/* What 64-bit code has as prefixes */
	a = 0x7fffffff, b = 0x80000000;
	__asm__ volatile(".byte 0x40; .byte 0x4b" : "+a"(a), "+b"(b) : : "cc");
	line("inc and dec", a, b);
	/* Addresses of 16 bits, and those that go beyond 4 GiB */
	__asm__ volatile("mov $0x12345678, %%ebx; mov $0x11112222, %%esi; lea 16(%%bx,%%si), %0\n"
			 "addr16 lea -2(%%di), %1" : "=&r"(a), "=&r"(b) : "D"(0x99990001) : "ebx", "esi");
	line("lea", a, b);
	__asm__ volatile("mov $0xffffff00, %%eax; mov 0x100(%%eax,%1), %0"
			 : "=r"(a) : "r"((unsigned)bounds + 4) : "eax");
	line("wrapped address", a, 0);
	__asm__ volatile("mov $0x10003, %%ecx; xor %0, %0\n1: inc %0; addr16 loop 1b; mov %%ecx, %1"
			 : "=&r"(a), "=&r"(b) : : "ecx", "cc");
	line("loop", a, b);
	__asm__ volatile("mov $0x10000, %%ecx; xor %0, %0; jcxz 1f; inc %0\n1: jecxz 2f; inc %0\n2:"
			 : "=&r"(a) : : "ecx", "cc");
	line("jcxz", a, 0);
	/* All registers of the string instructions are of 32 bits. */
	unsigned char from[16] = "string of bytes", to[16] = { 0 };
	unsigned esi = (unsigned)from, edi = (unsigned)to, ecx = 15;
	__asm__ volatile("rep movsb" : "+S"(esi), "+D"(edi), "+c"(ecx) : : "memory");
	line("movsb", esi - (unsigned)from, edi - (unsigned)to);
	line("movsb", ecx, to[3]);
}

/* -- Segments ------------------------------------------------------------------------------------- */

struct description {
	unsigned entry, base, limit;
	unsigned flags; /* seg_32bit, contents, read_exec_only, limit_in_pages, not_present, useable */
};

static unsigned thread_data[4] = { 0x11111111, 0x22222222, 0x33333333, 0x44444444 };

static void segments(void)
{
	struct description thread = { -1, (unsigned)thread_data, 0xfffff, 0x51 };
	struct description local = { 3, (unsigned)thread_data, 7, 0x41 };
	unsigned a, b, code;
	long result;

	result = system_call(243, (long)&thread, 0, 0); /* set_thread_area */
	__asm__ volatile("mov %2, %%gs; mov %%gs:4, %0; movl $5, %%gs:8; mov %%gs, %1"
			 : "=&r"(a), "=&r"(b) : "r"(thread.entry * 8 + 3) : "memory");
	line("set_thread_area", result, a);
	line("set_thread_area", thread_data[2], b - thread.entry * 8);
	/* A base below, by which addresses wrap as C libraries have it for what lies before it */
	__asm__ volatile("mov %%gs:-4(%1), %0" : "=r"(a) : "r"(8));
	line("below the base", a, 0);
	system_call(20, 0, 0, 0);
	__asm__ volatile("mov %%gs:0, %0" : "=r"(a));
	line("after a system call", a, 0);

	result = system_call(123, 1, (long)&local, sizeof local); /* modify_ldt */
	if (result == -38) {
		line("modify_ldt", 0, 0);
	} else {
		__asm__ volatile("mov %1, %%fs; mov %%fs:4, %0" : "=r"(a) : "r"(3 * 8 + 7));
		line("modify_ldt", result, a);
		__asm__ volatile("lsl %1, %0" : "=r"(a) : "r"(3 * 8 + 7) : "cc");
		line("lsl", a, 0);
	}
	__asm__ volatile("mov $0, %%eax; mov %%eax, %%fs" : : : "eax");
	/* There and back through 64-bit code, which the same kernel gives every program */
	__asm__ volatile("mov %%cs, %0" : "=r"(code));
	line("code segment", code, 0);
	__asm__ volatile("lcall $0x33, $1f\n jmp 2f\n"
			 "1: .byte 0x48, 0xb8, 0, 0, 0, 0, 2, 0, 0, 0\n" /* mov $0x200000000, %rax */
			 ".byte 0x48, 0xc1, 0xe8, 0x20\n"                  /* shr $32, %rax */
			 "lret\n2:" : "=a"(a) : : "memory", "cc");
	line("64-bit code", a, 0);
	__asm__ volatile("push %%cs; push $1f; lret\n1: mov $1, %0" : "=r"(a));
	__asm__ volatile("pushf; push %%cs; push $1f; iret\n1: mov $1, %0" : "=r"(b));
	line("lret and iret", a, b);
}

/* -- Ways into the kernel ----------------------------------------------------------------------------- */

static unsigned vdso_entry;

static void kernel(void)
{
	unsigned a, b, high;

	/* getpid is not the same everywhere; that of a bad descriptor is. */
	line("int 0x80", system_call(6, -1, 0, 0), 0);
	if (vdso_entry) {
		__asm__ volatile("mov %%esi, %1; call *%2; sub %%esi, %1"
				 : "=a"(a), "=&D"(b) : "r"(vdso_entry), "0"(6), "b"(-1) : "memory", "cc");
		line("vdso", a, b);
	}
	/* Six arguments: mmap2 of a page at a place of its own, whose contents are zero */
	__asm__ volatile("push %%ebp; mov $-1, %%edi; xor %%ebp, %%ebp; int $0x80; pop %%ebp"
			 : "=a"(a) : "0"(192), "b"(0x20000000), "c"(8192), "d"(3), "S"(0x32) : "edi", "memory");
	*(volatile unsigned *)(a + 4096) = 9;
	line("mmap2", a, *(volatile unsigned *)a);
	if (vdso_entry) {
		__asm__ volatile("push %%ebp; mov $-1, %%edi; xor %%ebp, %%ebp; call *%6; pop %%ebp"
				 : "=a"(a) : "0"(192), "b"(0x20004000), "c"(8192), "d"(3), "S"(0x32),
				   "m"(vdso_entry) : "edi", "memory");
		line("mmap2 by vdso", a, *(volatile unsigned *)a);
	}
	/* 64-bit values in two registers: lseek of a descriptor that is none */
	__asm__ volatile("int $0x80" : "=a"(a) : "0"(140), "b"(-1), "c"(1), "d"(2), "S"(&high), "D"(0)
			 : "memory");
	line("_llseek", a, 0);
}

static void signals(void)
{
	unsigned a, b;
	long double value;
	static unsigned char stack[16384];
	struct { void *address; int flags; unsigned size; } alternative = { stack, 0, sizeof stack };

	on(SIGUSR1), on(SIGSEGV), on(SIGFPE), on(SIGILL), on(SIGTRAP);
	a = system_call(20, 0, 0, 0);
	__asm__ volatile("fninit; fld1; fldl2t; fadd %%st, %%st(1)\n"
			 "int $0x80\n fxch; fstpt %1; fstp %%st"
			 : "=a"(b), "=m"(value) : "0"(37), "b"(a), "c"(SIGUSR1) : "memory");
	line("kill", b, ((unsigned *)&value)[1]);
	report("kill");
	line("sigaltstack", system_call(186, (long)&alternative, 0, 0), 0);
	RAISES("read of nothing", "mov 0x10, %%eax");
	RAISES("write of nothing", "movl $1, 0x10");
	RAISES("write of code", "movl $1, _start");
	RAISES("kernel's address", "mov 0xfffff000, %%eax");
	RAISES("hlt", "hlt");
	RAISES("bad segment", "mov $0x1234, %%eax; mov %%eax, %%es");
	RAISES("bad interrupt", "int $0x70");
	RAISES("ud2", "ud2");
	RAISES("division by 0", "xor %%ecx, %%ecx; div %%ecx");
	RAISES("division overflow", "mov $1, %%ecx; mov $2, %%edx; div %%ecx");
	RAISES("aam 0", "aam $0");
	RAISES("int3", "int3");
	RAISES("int1", ".byte 0xf1");
	RAISES("into", "mov $0x7fffffff, %%eax; inc %%eax; into");
	RAISES("bound", "pushl $2; pushl $1; mov $3, %%eax; bound %%eax, (%%esp)");
	RAISES("single step", "pushf; orl $0x100, (%%esp); popf; nop");
	RAISES("x87", "fninit; pushl $0x37b; fldcw (%%esp); pop %%eax; fld1; fldz; fdivrp; fwait");
	__asm__ volatile("fnclex; fninit");
	RAISES("call of nothing", "mov $0x10, %%eax; call *%%eax");
	RAISES("in", "in $0x60, %%al");
	RAISES("cli", "cli");
}

int run(void)
{
	unsigned *at;

	__asm__ volatile("mov %%ebp, %0" : "=r"(at));
	at = *(unsigned **)at; /* what %esp was at the start: see start.h */
	for (at += at[0] + 2; *at; at++) {
	}
	for (at++; at[0]; at += 2)
		if (at[0] == 32) /* AT_SYSINFO */
			vdso_entry = at[1];
	decimal();
	stack_and_pointers();
	segments();
	kernel();
	signals();
	flush();
	return 0;
}
