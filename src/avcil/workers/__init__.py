"""Worker processes: parts of the program that may crash, hang or run out of memory without ending the rest."""
