"""Templates to text and HTML, in processes of their own: whoever writes one is not trusted."""
