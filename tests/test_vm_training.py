"""The order of the interpreters' functions, from what callgrind and nm say."""

from __future__ import annotations

from tools.vm.training import function_order

# Lines are a number and a cost; the line behind "calls=" has what was called took.
PROFILE = """\
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir

fl=(1) main.c
fn=(1) main
10 100
cfn=(2) translate
calls=2 20
+2 900
* 20

fn=(2)
20 300
cfi=(2) table.c
cfn=(3) look_up
calls=40 5
-3 400
cfn=(4) translate'2
calls=1 20
21 150
fi=(2)
7 50

fn=(3)
5 400

fn=(4)
20 150

fn=(5) 0x0a000000
0 5000
"""
SYMBOLS = """\
08049000 000003e8 T main
0804a000 00000064 t translate
0804b000 00000010 T look_up
0804c000 00000020 T never_called
0804d000 00000004 D data
         U memcpy
"""


def test_functions_are_ordered_by_their_own_cost_for_their_size() -> None:
    # look_up: 400 in 16 bytes; translate, with its recursion: 500 in 100; main: 120 in 1000.
    assert function_order([PROFILE], SYMBOLS) == ["look_up", "translate", "main"]


def test_programs_count_the_same_however_long_they_ran() -> None:
    short = "fn=(1) first\n1 10\n"
    long = "fn=(1) second\n1 6000\nfn=(2) first\n1 4000\n"
    symbols = "08049000 00000020 T first\n08049020 00000020 T second\n"
    assert function_order([short, long], symbols) == ["first", "second"]


def test_a_tiny_function_is_not_taken_for_a_dense_one() -> None:
    profile = "fn=(1) tiny\n1 20\nfn=(2) hot\n1 30\n"
    symbols = "08049000 00000001 T tiny\n08049010 00000010 T hot\n"
    assert function_order([profile], symbols) == ["hot", "tiny"]
