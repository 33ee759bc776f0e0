"""Encoders made of models from the Hugging Face hub or a local folder."""
