"""The element-wise half of guided attention, once for each kind of machine."""
