"""What a person at the gateway asks for, beside the running agent.

The status, what waits to go up, what was rejected, and a replay of what is stored. All of it only
reads, but for `second_look.take`, which stores rejected messages that can be read by now while the
agent is stopped. `../cli.py` gathers the commands, each in a file `*_cli.py`.
"""
