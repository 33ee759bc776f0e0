"""Encoders from models of the Hugging Face Hub or a local folder."""
