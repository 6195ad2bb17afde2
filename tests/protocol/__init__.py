"""The protocol against a real Redis: every verb, every trace that once killed or leaked a session, every flow."""
