"Work for `autogets.executors`, in a module that workers in other processes can import"

import os
import signal
import time
from pathlib import Path


def squares(offset, numbers):
    return [offset + n * n for n in numbers]


def where(seconds, numbers):
    "The process that each of `numbers` was worked on in"
    out = []
    for _ in numbers:
        time.sleep(seconds)
        out.append(os.getpid())
    return out


def sizes(log, seconds, numbers):
    "Writes a line with the size of each chunk; a number takes `seconds`"
    with open(log, 'a') as f:
        f.write(f'{len(numbers)}\n')
    time.sleep(seconds * len(numbers))
    return numbers


def fatal_once(mark, numbers):
    "Squares; the first process that comes to 13 is killed"
    for n in numbers:
        time.sleep(0.01)
        if n == 13 and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return [n * n for n in numbers]


def fatal(numbers):
    "Squares; every process that comes to 13 is killed"
    if 13 in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return [n * n for n in numbers]


def picky(numbers):
    "Refuses 5 and 6, the latter sooner"
    for n in numbers:
        if n in (5, 6):
            time.sleep(0.3 * (6 - n))
            raise ValueError(f'not {n}')
    return numbers


class Odd(Exception):
    "Cannot be made again from its arguments"

    def __init__(self, a, b):
        super().__init__(f'{a} and {b}')


def odd(numbers):
    raise Odd(1, 2)
