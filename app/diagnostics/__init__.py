"""Find problems before delivery does: verify, EHLO trials, machine checks."""
