"""What every model has in common, and checks of saved ones."""
