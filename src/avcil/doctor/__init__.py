"""What is installed, what works, and what to do about the rest: `avcil doctor`.

`checks.find_checks` lists what is looked at; `examination.examine` looks. A check is a function that tries something
and gives findings; what could crash or hang is tried in a process of its own.
"""
