"""The ingress: checks the token, publishes the raw body, answers. No parsing, no database."""
