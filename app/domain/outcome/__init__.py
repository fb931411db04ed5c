"""What a server's reply or a fault means."""
