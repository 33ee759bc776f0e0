"""The network: attention, heads, fused operators."""
