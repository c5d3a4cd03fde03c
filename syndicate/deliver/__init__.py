"""Mail reaches readers: the SMTP client, the classes of its answers, the embedded mailbox. No SQL."""
