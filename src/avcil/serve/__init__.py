"""Serve a model as a web page and an HTTP API; extra [serve]."""
