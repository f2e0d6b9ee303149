// Conway's Game of Life in a terminal. Run it with: tcc -run life.c
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    struct winsize size = {0};
    ioctl(1, TIOCGWINSZ, &size);
    int rows = size.ws_row > 4 ? (size.ws_row - 2) * 2 : 44;
    int columns = size.ws_col > 4 ? size.ws_col - 1 : 79;
    unsigned char *now = calloc(rows, columns), *next = calloc(rows, columns);

    srand(time(NULL));
    for (int i = 0; i < rows * columns; i++)
        now[i] = rand() % 4 == 0;

    printf("\033[2J\033[?25l");
    for (int generation = 0; generation < 200; generation++) {
        printf("\033[H");
        for (int y = 0; y < rows; y += 2) {
            // Two cells share one character: the upper and the lower half.
            for (int x = 0; x < columns; x++) {
                int upper = now[y * columns + x];
                int lower = y + 1 < rows && now[(y + 1) * columns + x];
                fputs(upper ? (lower ? "█" : "▀") : (lower ? "▄" : " "), stdout);
            }
            putchar('\n');
        }
        fflush(stdout);
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < columns; x++) {
                int neighbours = 0;
                for (int dy = -1; dy <= 1; dy++)
                    for (int dx = -1; dx <= 1; dx++)
                        if (dy || dx)
                            neighbours += now[(y + dy + rows) % rows * columns
                                              + (x + dx + columns) % columns];
                next[y * columns + x] =
                    neighbours == 3 || (neighbours == 2 && now[y * columns + x]);
            }
        memcpy(now, next, rows * columns);
        usleep(50000);
    }
    printf("\033[?25h");
    return 0;
}
