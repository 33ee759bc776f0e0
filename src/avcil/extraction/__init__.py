"""From clips to a feature store: reading, encoding, and the engines that run both."""
