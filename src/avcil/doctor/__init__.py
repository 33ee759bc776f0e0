"""`avcil doctor`: tests each part of the installation with a small example, and gives advice.

`checks.py` lists the checks and `examination.py` runs them. A check is a function that yields results. Checks that
could crash or hang run in their own processes.
"""
