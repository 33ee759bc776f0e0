"""A recognizer served to people (a page) and to programs (an HTTP API); extra [serve]."""
