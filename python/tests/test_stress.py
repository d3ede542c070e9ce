"""Who reads while a tool runs, and what a cancel may hit: races, many times over.

Times are the subject here: the tools take from nothing to several ticks of the
helper, and pings and cancels come at any moment of that.
"""

import os
import random
import time
import unittest

from tests.fakehost import WorkerTest, state

ROUNDS = int(os.environ.get("SNAKEPIT_STRESS", "1000"))
LONGEST = 0.014  # almost three ticks


class StressTest(WorkerTest):
    def test_calls_pings_and_cancels_at_random(self):
        seed = int(os.environ.get("SNAKEPIT_SEED", random.randrange(1 << 32)))
        chance = random.Random(seed)
        host = self.host()
        host.handlers["host.call"] = lambda params, parts: {"value": params["args"]["a"] + params["args"]["b"]}
        version, count, vars = 1, 0, {"count": 0}
        outcomes = {"value": 0, "cancelled": 0}
        for i in range(ROUNDS):
            with self.subTest(seed=seed, round=i):
                tool = chance.choice(["nap", "spin", "chatter", "ask", "anap", "trickle", "atrickle", "echo"])
                seconds = chance.choice([0, 0, 0.0005, chance.uniform(0, LONGEST)])
                params = {} if tool == "echo" else {"session": state(version, vars, id="s")}
                args = {"value": i} if tool == "echo" else {"seconds": seconds}
                streams = "trickle" in tool
                window = chance.choice([2, 1 << 30]) if streams else 1 << 30
                call = host.start(tool, args, stream=streams, window=window, **params)
                pings = []
                cancelled = False
                for _ in range(chance.randrange(3)):
                    time.sleep(chance.choice([0, chance.uniform(0, LONGEST)]))
                    if chance.random() < 0.5:
                        pings.append(host.request("ping", {}))
                    else:
                        host.cancel(call)
                        cancelled = True
                answers = {}
                while len(answers) < 1 + len(pings):
                    message = host.receive()
                    if message.method is None:
                        number = message.header["id"]
                        self.assertNotIn(number, answers)
                        answers[number] = message
                    elif message.method == "chunk":
                        self.assertEqual(message.params["call"], call)
                        host.credit(call, 1)
                    else:
                        host.take(message)
                for ping in pings:
                    self.assertEqual(answers[ping].result, {})
                answer = answers[call]
                if tool != "echo":
                    vars = None  # the worker holds them now
                if answer.error is not None:
                    self.assertTrue(cancelled, answer)
                    self.assertEqual(answer.code, -32002, answer)
                    outcomes["cancelled"] += 1
                    continue
                outcomes["value"] += 1
                if tool == "echo":
                    self.assertEqual(answer.value(), i)
                    continue
                count += 1
                version += 1
                self.assertEqual(answer.result["change"], {"set": {"count": count}, "unset": []})
                if not streams:
                    self.assertEqual(answer.value(), count)
        self.assertGreater(min(outcomes.values()), ROUNDS // 20, f"{outcomes}: not much was tested, seed {seed}")
        host.ping()

    def test_every_moment_of_a_cancel(self):
        """A tool that would never end by itself, cancelled earlier or later.

        A signal that comes just before a blocking call does not wake it.
        """
        host = self.host()
        bodies = ["time.sleep(1e6)", "threading.Event().wait()", "while True: pass", "for i in range(3): yield i"]
        for i in range(ROUNDS // 2):
            body = bodies[i % len(bodies)]
            tool = "run_stream" if "yield" in body else "run"
            with self.subTest(round=i, body=body):
                call = host.start(tool, {"code": "time.sleep(0.006)\n" + body}, stream=True, window=1)
                end = time.perf_counter() + i % 111 * 0.00012
                while time.perf_counter() < end:
                    pass
                host.cancel(call)
                self.assertEqual(host.answer(call).code, -32002)
        host.ping()


if __name__ == "__main__":
    unittest.main()
