"""Send messages, and read, change, export and erase them."""
