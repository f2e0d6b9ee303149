"""Threads and subprocesses."""

import hashlib
import queue
import subprocess
import sys
import threading

results: queue.Queue[tuple[int, str]] = queue.Queue()


def work(number: int) -> None:
    results.put((number, hashlib.sha256(bytes(number)).hexdigest()[:8]))


threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(results.queue))
commands = [[sys.executable, "-c", f"print({number} ** 2)"] for number in range(3)]
children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
print([int(child.communicate()[0]) for child in children])
print(subprocess.check_output("echo $((6 * 7)) | tr 4 5", shell=True, text=True), end="")
