"""The console: pages for a browser, which ask the API in the same process."""
