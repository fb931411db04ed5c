"""Poll IMAP mailboxes for bounces and complaints."""
