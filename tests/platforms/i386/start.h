/*
 * What a program for i386 needs without a C library: its start, its end, system calls by
 * interrupt, and lines of hexadecimal numbers.
 */
#pragma once

__asm__(".globl _start\n"
	"_start:\n"
	"	mov %esp, %ebp\n"
	"	and $-16, %esp\n"
	"	call run\n"
	"	mov %eax, %ebx\n"
	"	mov $1, %eax\n"
	"	int $0x80\n");

static long system_call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c)
			 : "memory");
	return result;
}

static char text[1 << 16];
static unsigned text_length;

static void flush(void)
{
	system_call(4, 1, (long)text, text_length);
	text_length = 0;
}

static void put(const char *string)
{
	while (*string)
		text[text_length++] = *string++;
	if (text_length > sizeof text - 256)
		flush();
}

static void put_hex(unsigned value)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		text[text_length++] = "0123456789abcdef"[value >> shift & 15];
}
