"""Methods of class-incremental learning, one file each; see docs/adding-a-method.md."""
