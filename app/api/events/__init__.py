"""Read and follow events."""
