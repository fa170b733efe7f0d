"""What a person at the gateway asks for; reads only.

The status, what waits to go up, what was refused, and a replay of what is stored. `../cli.py`
gathers the commands.
"""
