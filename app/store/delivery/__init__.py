"""What workers share: lanes, permits, queue statistics."""
