"""How much work a call is, whatever else the machine does meanwhile."""

import sys
import threading
import time


def spent(f, *args):
    "Processor seconds of `f(*args)`"
    start = time.process_time()
    f(*args)
    return time.process_time() - start


def unit():
    "A fixed piece of work in plain Python, some 30 ms on the machine where the bounds were set"
    seen = {}
    for i in range(300_000):
        seen[i % 977] = seen.get(i % 977, 0) + i


def work(f, *args, times=1):
    """Processor time of `f(*args)`, the least of `times`, in units measured beside it: neither waiting for a busy
    machine nor a slow one counts"""
    units, took = [spent(unit)], []
    for _ in range(times):
        took.append(spent(f, *args))
        units.append(spent(unit))
    return min(took) / min(units)


def calls(f, *args):
    "How many functions `f(*args)` calls, those written in C and those of threads that it starts included"
    n = 0

    def count(frame, event, arg):
        nonlocal n
        n += event in ('call', 'c_call')

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        f(*args)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return n
