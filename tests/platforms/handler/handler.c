/*
 * Ends with the exit code 0 when a signal handler is called with the stack
 * that the ABI of amd64 promises, else with how many bytes it is off.
 */

#define SYS_rt_sigaction 13
#define SYS_rt_sigreturn 15
#define SYS_getpid 39
#define SYS_kill 62
#define SYS_exit 60
#define SIGUSR1 10
#define SA_RESTORER 0x04000000

struct sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};

static long call(long number, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static volatile long off = -1;

/* Its first instruction sees the stack as the kernel has left it. */
void handler(int signal);
void restorer(void);
__asm__("handler:\n"
        "  lea 8(%rsp), %rax\n"
        "  and $15, %rax\n"
        "  mov %rax, off(%rip)\n"
        "  ret\n"
        "restorer:\n"
        "  mov $15, %eax\n"
        "  syscall\n");

void _start(void)
{
    struct sigaction action = {handler, SA_RESTORER, restorer, 0};

    call(SYS_rt_sigaction, SIGUSR1, (long)&action, 0, 8);
    call(SYS_kill, call(SYS_getpid, 0, 0, 0, 0), SIGUSR1, 0, 0);
    /* Still -1, 255, when the handler was not called. */
    call(SYS_exit, off, 0, 0, 0);
    __builtin_unreachable();
}
