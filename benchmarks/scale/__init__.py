"""What a number of messages a day takes: processes, databases, disks."""
