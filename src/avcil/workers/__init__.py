"""Worker processes, which may crash, hang or run out of memory without ending the program."""
