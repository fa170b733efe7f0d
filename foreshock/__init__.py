"""The front door: the `foreshock` command and the demo that composes all roles.

In: a command line. Out: one of the roles' commands, imported only when it is asked for.
Open `cli` first; `demo` runs the whole loop in one terminal.
"""

__version__ = "0.1.0"
