"""`strop judge --serve`: the judge behind HTTP, for trainers and harnesses that live in another environment.

    server.py            where it may listen, start, graceful end
    connections.py       one connection: deadlines, and room for others when there are too many
    gate.py              what is asked of every request before anything reads it: token, size, time
    desk.py              the judges, the queue in front of them, and what is counted
    app.py               the application: health, metrics, errors, OpenAPI
    batch.py             Strop's own endpoint: tasks and programs in, verdicts out as they come
    sandbox_fusion.py    the endpoints of SandboxFusion, on the same judge
    rewards.py           reward endpoints of OpenRLHF and NeMo-Gym
    execution.py         a whole program run for its output; `run_harness.py` is its part inside the sandbox

One server is one circle of trust: everybody with its token may send checks, and checks can falsify verdicts of the
judge they run in (`docs/judge.md`). Programs are hostile as ever.
"""
