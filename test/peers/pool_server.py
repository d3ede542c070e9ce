"""multiprocessing.Pool, called by threads of this process as the commands on stdin say.

Each line is a JSON object {"workers": W} (once), {"callers": C, "seconds": S} or {"callers": C, "seconds": S, "kill_after": K};
each answer is a line of JSON with what became of the calls.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time

from function import echo

# A call whose worker was killed is never answered: the pool knows nothing of it.
PATIENCE = 2.0


def work(request: bytes) -> bytes:
    return json.dumps(echo(**json.loads(request))).encode()


def run(pool, request: bytes, callers: int, seconds: float, kill_after: float = 0.0) -> dict:
    times, failed = [], 0
    lock = threading.Lock()
    until = time.monotonic() + seconds

    def call_until_the_end() -> None:
        nonlocal failed
        mine, lost = [], 0
        while time.monotonic() < until:
            began = time.perf_counter_ns()
            try:
                json.loads(pool.apply_async(work, (request,)).get(PATIENCE))
                mine.append(time.perf_counter_ns() - began)
            except multiprocessing.TimeoutError:
                lost += 1
        with lock:
            times.extend(mine)
            failed += lost

    threads = [threading.Thread(target=call_until_the_end) for _ in range(callers)]
    for thread in threads:
        thread.start()
    if kill_after:
        time.sleep(kill_after)
        os.kill(pool._pool[0].pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    return {"times": times, "failed": failed}


if __name__ == "__main__":
    pool, request = None, b""
    for line in sys.stdin:
        command = json.loads(line)
        if "workers" in command:
            request = command["request"].encode()
            pool = multiprocessing.Pool(command["workers"])
            answer = {}
        else:
            answer = run(pool, request, **command)
        answer["pids"] = [p.pid for p in pool._pool]
        print(json.dumps(answer), flush=True)
    pool.terminate()
